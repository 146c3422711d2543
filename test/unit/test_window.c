/* SPDX-License-Identifier: MIT */
/*
 * Models with windowed layers: sessions hold the window and a page or two, go back as far as that and what is
 * cached reaches, and give the same bits however little room there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "session_walk.h"
#include "window.h"

/* All layers windowed, or every second; windows that do and do not end with pages. */
static const tiny_shape shapes[] = {{"llama", 70}, {"gemma2", 70}, {"llama", 128}, {"gemma2", 1}};
enum { N_SHAPE = sizeof shapes / sizeof shapes[0] };

static void test_random_walks(void **state)
{
    (void)state;
    for (int k = 0; k < N_SHAPE; k++) {
        tiny_source tiny;
        walk w = {0};
        tiny_init_of(&tiny, &shapes[k], 30);
        llrt_engine *const alone = open_tiny(&tiny);
        assert_int_equal(alone->window, shapes[k].window);
        walk_make(&w, alone);
        llrt_engine_close(alone);
        for (int round = 0; round < 3; round++) {
            llrt_engine_options o = test_options(&tiny);
            o.kv_tok = round == 0 ? 6400 : 1500;
            if (round == 1) o.n_step_seq = 3;
            if (round == 2) o.kv_window_tok = 64 * (llrti_window_most(shapes[k].window) + 3);
            o.n_step_tok = round ? 50 + 64 * (uint32_t)round : 128;
            w.engine = open_tiny_with(&tiny, &o);
            w.seed = (uint64_t)(k * 10 + round);
            w.n_full = w.n_refused = w.n_back = w.n_done = 0;
            walk_run(&w, 3000);
            assert_true(w.n_done > 500 && w.n_back > 50);
            llrt_engine_close(w.engine);
        }
        walk_free(&w);
        tiny_free(&tiny);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
