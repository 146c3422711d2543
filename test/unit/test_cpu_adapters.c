/* SPDX-License-Identifier: MIT */
/*
 * Adapters: bit for bit the sums that backend tables are promised, added to what the linear gives without them; the
 * same bits in any company; and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_part.h"

enum { D_IN = 70, D_OUT = 301, N_VOCAB = 530, MAX_RANK = 21, N_SLOT = 4 };

/* Tensors: a linear of x and its bias, another linear of x, the head. */
enum { FIRST, BIAS, SECOND, HEAD };

static const uint32_t tensor_out[] = {D_OUT, 0, D_OUT, N_VOCAB},
                      tensor_in[] = {D_IN, 0, D_IN, D_OUT};

typedef struct slot_part {
    uint32_t slot, tensor, rank;
} slot_part;

/* What the slots hold; slot 3 stays empty. */
static const slot_part parts[] = {{0, FIRST, 1}, {0, SECOND, 16}, {1, FIRST, 21},
                                  {1, HEAD, 8},  {1, SECOND, 3},  {2, HEAD, 17}};

static float *part_a[LLRTI_COUNT(parts)], *part_b[LLRTI_COUNT(parts)];

static int make_parts(void **state)
{
    uint64_t seed = 77;
    for (size_t i = 0; i < LLRTI_COUNT(parts); i++) {
        part_a[i] = cpu_floats(&seed, (size_t)parts[i].rank * tensor_in[parts[i].tensor], 0.2f, 0);
        part_b[i] = cpu_floats(&seed, (size_t)parts[i].rank * tensor_out[parts[i].tensor], 0.2f, 0);
    }
    return 0;
}

static int free_parts(void **state)
{
    for (size_t i = 0; i < LLRTI_COUNT(parts); i++) {
        free(part_a[i]);
        free(part_b[i]);
    }
    return 0;
}

static void put_parts(part_run *r)
{
    for (uint32_t slot = 0; slot < N_SLOT - 1; slot++) {
        llrt_adapter_part list[LLRTI_COUNT(parts)];
        llrt_error err = LLRT_ERROR_INIT;
        uint32_t n = 0;
        for (size_t i = 0; i < LLRTI_COUNT(parts); i++)
            if (parts[i].slot == slot && parts[i].tensor < r->p->m.desc.n_tensor)
                list[n++] =
                    (llrt_adapter_part){parts[i].tensor, parts[i].rank, part_a[i], part_b[i]};
        const uint64_t n_alloc = r->h.n_alloc;
        if (r->h.table.adapter_put(r->runtime, slot, list, n, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(r->h.n_alloc, n_alloc);
    }
}

/* out = head(gather(first(x) + second(x))), or first(x) alone. */
static part *make_part(bool is_alone, llrt_type type)
{
    part *const p = part_new(31);
    const uint32_t x = part_input(p, 1, D_IN, 1, 0);
    uint32_t y[2];
    for (int i = 0; i < 2; i++) {
        y[i] = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, D_OUT);
        llrt_op *const op = part_op(p, LLRT_OP_LINEAR, &x, 1, y[i]);
        op->weight[0] = part_tensor(p, i ? "second" : "first", type, D_IN, D_OUT, 0, 0.2f, 0);
        if (i == 0) op->weight[1] = part_tensor(p, "bias", LLRT_TYPE_F32, D_OUT, 1, 0, 1, 0);
        if (is_alone) return p;
    }
    const uint32_t sum = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, D_OUT),
                   wanted = cpu_add_value(&p->m, LLRT_ROWS_OUT, 1, D_OUT),
                   logits = cpu_add_value(&p->m, LLRT_ROWS_OUT, 1, N_VOCAB);
    part_op(p, LLRT_OP_ADD, y, 2, sum);
    part_op(p, LLRT_OP_GATHER, &sum, 1, wanted);
    part_op(p, LLRT_OP_HEAD, &wanted, 1, logits)->weight[0] =
        part_tensor(p, "head", type, D_OUT, N_VOCAB, 0, 0.1f, 0);
    return p;
}

static void set_adapters(part *p)
{
    static const uint32_t slot[PART_SEQ][3] = {{1, 0, 3}, {0, 0, 0}, {2, 1, 0}};
    static const float scale[PART_SEQ][3] = {{0.5f, -2, 1}, {0, 0, 0}, {1.25f, 0, 0.75f}};
    static const uint32_t n[PART_SEQ] = {3, 0, 3};
    p->limits.n_adapter = N_SLOT;
    p->limits.adapter_rank = MAX_RANK;
    for (uint32_t s = 0; s < PART_SEQ; s++) {
        p->adapter[s] = slot[s];
        p->adapter_scale[s] = scale[s];
        p->n_adapter[s] = n[s];
    }
    p->prepare = put_parts;
}

/* One adapter's part for one row, in the promised order. */
static void add_part(size_t index, float scale, const float *x, float *out)
{
    float t[MAX_RANK];
    const uint32_t rank = parts[index].rank, d_in = tensor_in[parts[index].tensor];
    for (uint32_t r = 0; r < rank; r++) {
        t[r] = 0;
        for (uint32_t k = 0; k < d_in; k++) t[r] = fmaf(part_a[index][r * d_in + k], x[k], t[r]);
    }
    for (uint32_t o = 0; o < tensor_out[parts[index].tensor]; o++) {
        float dot = 0;
        for (uint32_t r = 0; r < rank; r++) dot = fmaf(part_b[index][o * rank + r], t[r], dot);
        out[o] = fmaf(scale, dot, out[o]);
    }
}

static void test_parts_are_added_in_order(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_BF16};
    for (uint32_t i = 0; i < 4; i++) {
        part *const p = make_part(true, type[i % 2]);
        const part_config c = {.n_worker = 1 + i, .precision = LLRT_PRECISION_PORTABLE};
        part_run *const without = part_open(p, &c);
        part_run_alone(without, 100);
        set_adapters(p);
        part_run *const with = part_open(p, &c);
        part_run_mixed(with);
        for (uint32_t s = 0; s < PART_SEQ; s++)
            for (uint32_t t = 0; t < part_length[s]; t++) {
                float *const y = without->y[s] + t * D_OUT;
                for (uint32_t k = 0; k < p->n_adapter[s]; k++)
                    for (size_t j = 0; j < LLRTI_COUNT(parts); j++)
                        if (parts[j].slot == p->adapter[s][k] && parts[j].tensor == FIRST)
                            add_part(j, p->adapter_scale[s][k], p->x[s][0] + t * D_IN, y);
            }
        part_assert_same(without, with, "adapters");
        part_close(without);
        part_close(with);
        part_free(p);
    }
}

static void test_same_bits(void **state)
{
    part *const p = make_part(false, LLRT_TYPE_F16);
    set_adapters(p);
    part_check_same_bits(p, LLRT_PRECISION_PORTABLE);
    part_free(p);
}

/* The head runs for the wanted rows; each takes its own sequence's adapters. */
static void test_wanted_rows_find_their_sequence(void **state)
{
    part *const p = make_part(false, LLRT_TYPE_F32);
    set_adapters(p);
    part_run *const all = part_open(p, &(part_config){.n_worker = 2}), *const some = part_open(
                                                                           p, &(part_config){
                                                                                  .n_worker = 2});
    const uint32_t count[PART_SEQ] = {9, 5, 7}, wanted[] = {0, 8, 9, 13, 15, 20};
    llrt_error err = LLRT_ERROR_INIT;
    part_step(all, 9, 5, 7);
    part_step_data *const d = part_describe(some, count);
    memcpy(d->out_row, wanted, sizeof wanted);
    d->step.n_out = LLRTI_COUNT(wanted);
    assert_int_equal(some->h.table.step_submit(some->runtime, &d->step, &err), LLRT_OK);
    assert_int_equal(some->h.table.step_wait(some->runtime, &err), LLRT_OK);
    for (uint32_t i = 0; i < LLRTI_COUNT(wanted); i++) {
        float row[N_VOCAB];
        const uint32_t s = wanted[i] < 9 ? 0 : wanted[i] < 14 ? 1 : 2;
        const uint32_t t = wanted[i] - (s == 0 ? 0 : s == 1 ? 9 : 14);
        assert_int_equal(some->h.table.value_read(some->runtime, p->output[0], i, 1, row, &err),
                         LLRT_OK);
        assert_memory_equal(row, all->y[s] + t * N_VOCAB, sizeof row);
    }
    part_step_free(d);
    part_close(all);
    part_close(some);
    part_free(p);
}

/* An emptied slot, a slot filled anew, a sequence without adapters. */
static void test_slots_change_between_steps(void **state)
{
    part *const p = make_part(false, LLRT_TYPE_F32);
    part_run *const without = part_open(p, &(part_config){.n_worker = 1});
    part_run_alone(without, 64);
    set_adapters(p);
    part_run *const with = part_open(p, &(part_config){.n_worker = 1}), *const changed = part_open(
                                                                            p, &(part_config){
                                                                                   .n_worker = 1});
    part_run_alone(with, 64);
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t slot = 0; slot < N_SLOT; slot++)
        assert_int_equal(changed->h.table.adapter_put(changed->runtime, slot, NULL, 0, &err),
                         LLRT_OK);
    part_run_alone(changed, 64);
    part_assert_same(without, changed, "empty slots");
    put_parts(changed);
    memset(changed->n_done, 0, sizeof changed->n_done);
    for (uint32_t s = 0; s < PART_SEQ; s++) changed->slot[s] = LLRT_NONE;
    part_run_alone(changed, 64);
    part_assert_same(with, changed, "filled again");
    assert_memory_equal(with->y[1], without->y[1], part_length[1] * N_VOCAB * sizeof(float));
    assert_memory_not_equal(with->y[0], without->y[0], part_length[0] * N_VOCAB * sizeof(float));
    assert_memory_not_equal(with->y[2], without->y[2], part_length[2] * N_VOCAB * sizeof(float));
    part_close(without);
    part_close(with);
    part_close(changed);
    part_free(p);
}

static void test_wrong_parts_are_refused(void **state)
{
    part *const p = make_part(false, LLRT_TYPE_F32);
    set_adapters(p);
    part_run *const r = part_open(p, &(part_config){.n_worker = 1}), *const good = part_open(
                                                                         p, &(part_config){
                                                                                .n_worker = 1});
    for (int wrong = 0; wrong < 8; wrong++) {
        llrt_adapter_part list[2] = {{FIRST, 1, part_a[0], part_b[0]},
                                     {SECOND, 3, part_a[4], part_b[4]}};
        uint32_t slot = 0;
        const char *word = "second";
        llrt_error err = LLRT_ERROR_INIT;
        switch (wrong) {
        case 0:
            slot = N_SLOT;
            word = "slot 4";
            break;
        case 1:
            list[1].tensor = 4;
            word = "tensor 4";
            break;
        case 2:
            list[1].tensor = BIAS;
            word = "bias";
            break;
        case 3:
            list[1].rank = 0;
            break;
        case 4:
            list[1].rank = MAX_RANK + 1;
            break;
        case 5:
            list[1].b = NULL;
            break;
        case 6:
            list[1].a = NULL;
            break;
        default:
            list[1].tensor = FIRST;
            word = "both";
            break;
        }
        if (r->h.table.adapter_put(r->runtime, slot, list, 2, &err) != LLRT_ERR_ARGUMENT ||
            !strstr(err.text, word))
            fail_msg("change %d: \"%s\"", wrong, err.text);
    }
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(r->h.table.adapter_put(r->runtime, 0, NULL, 1, &err), LLRT_ERR_ARGUMENT);
    part_run_alone(r, 64);
    part_run_alone(good, 64);
    part_assert_same(good, r, "what was refused changed nothing");
    r->n_done[0] = 0;
    const uint32_t count[PART_SEQ] = {1, 0, 0};
    part_step_data *const d = part_describe(r, count);
    assert_int_equal(r->h.table.step_submit(r->runtime, &d->step, &err), LLRT_OK);
    assert_int_equal(r->h.table.adapter_put(r->runtime, 0, NULL, 0, &err), LLRT_ERR_STATE);
    assert_int_equal(r->h.table.step_wait(r->runtime, &err), LLRT_OK);
    part_step_free(d);
    part_close(r);
    part_close(good);
    part_free(p);
}

static void test_wrong_steps_are_refused(void **state)
{
    static const uint32_t twice[] = {1, 2, 1}, beyond[] = {1, N_SLOT, 0};
    static const float nan_scale[] = {1, NAN, 1};
    part *const p = make_part(false, LLRT_TYPE_F32);
    set_adapters(p);
    part_run *const r = part_open(p, &(part_config){.n_worker = 1});
    for (int wrong = 0; wrong < 6; wrong++) {
        const uint32_t count[PART_SEQ] = {2, 2, 2};
        const char *word = "sequence 2";
        llrt_error err = LLRT_ERROR_INIT;
        part_step_data *const d = part_describe(r, count);
        llrt_step_seq *const seq = &d->seq[2];
        if (wrong == 0) seq->adapter = twice;
        if (wrong == 1) seq->adapter = beyond;
        if (wrong == 2) seq->adapter_scale = nan_scale;
        if (wrong == 3) seq->adapter = NULL;
        if (wrong == 4) seq->adapter_scale = NULL;
        if (wrong == 5) seq->n_adapter = N_SLOT + 1;
        if (part_submit(r, d, &err) != LLRT_ERR_ARGUMENT || !strstr(err.text, word))
            fail_msg("change %d: \"%s\"", wrong, err.text);
        part_step_free(d);
    }
    part_close(r);
    part_free(p);
}

static void test_plan_memory_cancel_and_damage(void **state)
{
    part *const p = make_part(false, LLRT_TYPE_F32);
    set_adapters(p);
    for (uint32_t i = 0; i < 3; i++) {
        llrt_memory_use a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        llrt_error err = LLRT_ERROR_INIT;
        cpu_host h;
        const part_config c = {.n_worker = 1 + i};
        p->limits.n_adapter = N_SLOT + i;
        part_check_plan(p, &c);
        cpu_host_open(&h, 1);
        const llrt_model_desc d = part_desc(p, &c);
        assert_int_equal(h.table.plan(&h.host, &d, &p->limits, &a, &b, &err), LLRT_OK);
        assert_int_equal(b.bytes[LLRT_MEMORY_WEIGHTS], (uint64_t)p->limits.n_adapter * MAX_RANK *
                                                           (2 * (D_IN + D_OUT) + D_OUT + N_VOCAB) *
                                                           sizeof(float));
        p->limits.adapter_rank = 0;
        assert_int_equal(h.table.plan(&h.host, &d, &p->limits, &a, &b, &err), LLRT_ERR_ARGUMENT);
        assert_non_null(strstr(err.text, "rank"));
        p->limits.adapter_rank = MAX_RANK;
        cpu_host_close(&h);
    }
    p->limits.n_adapter = N_SLOT;
    part_check_no_memory(p);
    part_check_cancel(p);
    part_check_damage(p, 1);
    part_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_added_in_order),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_wanted_rows_find_their_sequence),
        cmocka_unit_test(test_slots_change_between_steps),
        cmocka_unit_test(test_wrong_parts_are_refused),
        cmocka_unit_test(test_wrong_steps_are_refused),
        cmocka_unit_test(test_plan_memory_cancel_and_damage),
    };
    return cmocka_run_group_tests(tests, make_parts, free_parts);
}
