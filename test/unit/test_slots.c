/* SPDX-License-Identifier: MIT */
/*
 * Slots of pages: a random walk of sessions that enter calls, take, share and give to pages is
 * compared with plain lists that are searched through; what was promised can always be taken;
 * nothing leaks, nothing is used twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "slots.h"

enum { SLOTS = 24, SPARE = 4, PAGES = 40, SESSIONS = 9, STEPS = 100000 };

/* What is known of everything without counters and lists. */
typedef struct plain {
    llrti_slots slots;
    bool is_held[SESSIONS][SLOTS];
    bool is_in_call[SESSIONS];
    uint32_t promise[SESSIONS]; /* the pool's view */
    uint32_t promised[SESSIONS];
    uint32_t lent[SESSIONS], is_lent[SESSIONS];
    uint32_t owner[SLOTS], rank[SLOTS];
    uint64_t kept_at[SLOTS]; /* when it came to the list it is in */
    uint64_t now;
    uint32_t n_refused, n_evicted;
} plain;

static uint32_t count_holders(const plain *p, uint32_t slot, bool is_in_call)
{
    uint32_t n = 0;
    for (int i = 0; i < SESSIONS; i++) n += p->is_held[i][slot] && p->is_in_call[i] == is_in_call;
    return n;
}

static bool is_held(const plain *p, uint32_t slot)
{
    return count_holders(p, slot, true) + count_holders(p, slot, false) > 0;
}

static uint32_t count_lent(const plain *p)
{
    uint32_t n = 0;
    for (int i = 0; i < SESSIONS; i++) n += p->is_lent[i];
    return n;
}

static uint32_t room(const plain *p)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        used += count_holders(p, i, true) + (count_holders(p, i, false) > 0);
    for (int i = 0; i < SESSIONS; i++) used += p->promised[i];
    assert_true(used <= SLOTS);
    used -= count_lent(p);
    assert_true(used <= SLOTS - SPARE);
    return SLOTS - SPARE - used;
}

static void compare(const plain *p)
{
    uint32_t n_free = 0, n_kept = 0, n_paid = 0, n_promised = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        const llrti_slot *const s = &p->slots.slot[i];
        assert_int_equal(s->n_call, count_holders(p, i, true));
        assert_int_equal(s->n_idle, count_holders(p, i, false));
        assert_int_equal(s->owner, p->owner[i]);
        n_free += !is_held(p, i) && p->owner[i] == LLRTI_SLOT_NONE;
        n_kept += !is_held(p, i) && p->owner[i] != LLRTI_SLOT_NONE;
        n_paid += s->n_call + (s->n_idle > 0);
    }
    for (uint32_t k = 0; k < PAGES; k++) {
        uint32_t wanted = LLRTI_SLOT_NONE;
        for (uint32_t i = 0; i < SLOTS; i++)
            if (p->owner[i] == k) wanted = i;
        assert_int_equal(llrti_slots_of(&p->slots, k), wanted);
    }
    for (int i = 0; i < SESSIONS; i++) {
        assert_int_equal(p->promise[i], p->promised[i]);
        assert_int_equal(p->lent[i], p->is_lent[i]);
        n_promised += p->promised[i];
    }
    assert_int_equal(p->slots.n_free, n_free);
    assert_int_equal(p->slots.n_kept, n_kept);
    assert_int_equal(p->slots.n_paid, n_paid);
    assert_int_equal(p->slots.n_promised, n_promised);
    assert_int_equal(p->slots.n_evicted, p->n_evicted);
    assert_int_equal(llrti_slots_room(&p->slots), room(p));
    assert_int_equal(llrti_slots_spare(&p->slots), SPARE - count_lent(p));
}

static void let_go(plain *p, int session, uint32_t slot)
{
    p->is_held[session][slot] = false;
    p->kept_at[slot] = ++p->now;
}

static void begin_call(plain *p, int i, uint32_t more)
{
    uint32_t n_held = 0, n_alone = 0;
    for (uint32_t k = 0; k < SLOTS; k++) {
        n_held += p->is_held[i][k];
        n_alone += p->is_held[i][k] && count_holders(p, k, false) == 1;
        if (p->is_held[i][k])
            assert_int_equal(llrti_slots_is_alone(&p->slots, k), count_holders(p, k, false) == 1);
    }
    const bool is_possible = n_held + more - n_alone <= room(p);
    assert_int_equal(llrti_slots_promise(&p->slots, &p->promise[i], n_held + more, n_alone),
                     is_possible);
    if (!is_possible) {
        p->n_refused++;
        return;
    }
    for (uint32_t k = 0; k < SLOTS; k++)
        if (p->is_held[i][k]) llrti_slots_enter(&p->slots, &p->promise[i], k);
    p->is_in_call[i] = true;
    p->promised[i] = more;
}

static void repay(plain *p, int i)
{
    llrti_slots_repay(&p->slots, &p->promise[i], &p->lent[i], 1);
    p->promised[i]--;
    p->is_lent[i]--;
}

/* What was lent is given up before the call ends. */
static void end_call(plain *p, int i)
{
    for (uint32_t k = 0; k < SLOTS && p->promised[i] < p->is_lent[i]; k++) {
        if (!p->is_held[i][k]) continue;
        llrti_slots_release(&p->slots, &p->promise[i], k);
        let_go(p, i, k);
        p->promised[i]++;
    }
    while (p->is_lent[i]) repay(p, i);
    for (uint32_t k = 0; k < SLOTS; k++)
        if (p->is_held[i][k]) llrti_slots_leave(&p->slots, k);
    llrti_slots_unpromise(&p->slots, &p->promise[i], p->promise[i]);
    p->is_in_call[i] = false;
    p->promised[i] = 0;
}

/*
 * A free one if there is any, else the one that has been kept longest, of rank 0 if there is any.
 */
static void check_taken(plain *p, uint32_t slot)
{
    assert_true(slot < SLOTS);
    assert_false(is_held(p, slot));
    if (p->owner[slot] == LLRTI_SLOT_NONE) return;
    for (uint32_t k = 0; k < SLOTS; k++) {
        if (is_held(p, k) || k == slot) continue;
        assert_int_not_equal(p->owner[k], LLRTI_SLOT_NONE);
        assert_true(p->rank[k] > p->rank[slot] ||
                    (p->rank[k] == p->rank[slot] && p->kept_at[k] > p->kept_at[slot]));
    }
    p->owner[slot] = LLRTI_SLOT_NONE;
    p->n_evicted++;
}

/* The first slot from this one on that the session holds, or any when it holds none. */
static uint32_t next_held(const plain *p, int session, uint32_t slot)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (p->is_held[session][(slot + i) % SLOTS]) return (slot + i) % SLOTS;
    return slot;
}

static void act_in_call(plain *p, int i, uint32_t what, uint32_t slot)
{
    if (what < 7 && p->promised[i]) {
        const uint32_t taken = llrti_slots_take(&p->slots, &p->promise[i]);
        check_taken(p, taken);
        p->is_held[i][taken] = true;
        p->promised[i]--;
    } else if (what < 8 && p->promised[i] && !p->is_held[i][slot] &&
               (is_held(p, slot) || p->owner[slot] != LLRTI_SLOT_NONE)) {
        llrti_slots_hold(&p->slots, &p->promise[i], slot);
        p->is_held[i][slot] = true;
        p->promised[i]--;
    } else if (what < 14 && p->is_held[i][slot = next_held(p, i, slot)]) {
        llrti_slots_release(&p->slots, &p->promise[i], slot);
        let_go(p, i, slot);
        p->promised[i]++;
    } else if (what == 14) {
        end_call(p, i);
    } else if (what == 15 && p->promised[i] > p->is_lent[i]) {
        llrti_slots_unpromise(&p->slots, &p->promise[i], 1);
        p->promised[i]--;
    } else if (what == 16 && count_lent(p) < SPARE) {
        llrti_slots_lend(&p->slots, &p->promise[i], &p->lent[i], 1);
        p->promised[i]++;
        p->is_lent[i]++;
    } else if (what == 17 && p->promised[i] && p->is_lent[i]) {
        repay(p, i);
    }
}

static void act_outside(plain *p, int i, uint32_t what, uint32_t slot)
{
    if (what < 2) {
        begin_call(p, i, slot % 8);
    } else if (what > 2 && p->is_held[i][slot = next_held(p, i, slot)]) {
        llrti_slots_idle_release(&p->slots, slot);
        let_go(p, i, slot);
    } else if (what == 2 && !p->is_held[i][slot] &&
               (is_held(p, slot) || p->owner[slot] != LLRTI_SLOT_NONE)) {
        const bool is_possible = count_holders(p, slot, false) > 0 || room(p) > 0;
        assert_int_equal(llrti_slots_idle_hold(&p->slots, slot), is_possible);
        p->is_held[i][slot] = is_possible;
    }
}

static void act_on_page(plain *p, uint32_t what, uint32_t page, uint32_t slot, uint32_t other)
{
    const uint32_t owned = llrti_slots_of(&p->slots, page);
    if (what < 10 && is_held(p, slot) && p->owner[slot] == LLRTI_SLOT_NONE) {
        llrti_slots_give(&p->slots, slot, page);
        if (owned != LLRTI_SLOT_NONE) p->owner[owned] = LLRTI_SLOT_NONE;
        p->owner[slot] = page;
        p->rank[slot] = p->slots.is_ranked;
    } else if (what == 10) {
        llrti_slots_drop(&p->slots, page);
        if (owned != LLRTI_SLOT_NONE) p->owner[owned] = LLRTI_SLOT_NONE;
    } else if (what < 13 && llrti_slots_of(&p->slots, other) == LLRTI_SLOT_NONE) {
        llrti_slots_move(&p->slots, page, other);
        if (owned != LLRTI_SLOT_NONE) p->owner[owned] = other;
    } else if (what >= 13) {
        const bool is_ranked = p->slots.is_ranked, is_up = slot % 2;
        llrti_slots_rank(&p->slots, page, is_up);
        if (is_ranked && owned != LLRTI_SLOT_NONE) {
            p->rank[owned] = is_up;
            p->kept_at[owned] = ++p->now;
        }
    }
}

static void walk(bool is_ranked)
{
    llrti_mem mem;
    test_heap heap;
    plain *const p = calloc(1, sizeof *p);
    const llrti_slots_options options = {SLOTS, PAGES, SPARE, true, is_ranked};
    uint64_t seed = 21 + is_ranked;
    test_mem_init(&mem, &heap);
    assert_int_equal(llrti_slots_create(&mem, &p->slots, &options, NULL), LLRT_OK);
    for (int i = 0; i < SLOTS; i++) p->owner[i] = LLRTI_SLOT_NONE;
    for (int step = 0; step < STEPS; step++) {
        const int i = (int)(next_random(&seed) % SESSIONS);
        const uint32_t slot = next_random(&seed) % SLOTS, what = next_random(&seed);
        if (what % 3 == 0)
            act_on_page(p, what / 3 % 16, next_random(&seed) % PAGES, slot,
                        next_random(&seed) % PAGES);
        else if (p->is_in_call[i])
            act_in_call(p, i, what / 3 % 18, slot);
        else
            act_outside(p, i, what / 3 % 8, slot);
        compare(p);
    }
    print_message("%u refused, %u evicted\n", p->n_refused, p->n_evicted);
    assert_true(p->n_refused > 1000 && p->n_evicted > 1000);
    for (int i = 0; i < SESSIONS; i++) {
        if (p->is_in_call[i]) end_call(p, i);
        for (uint32_t k = 0; k < SLOTS; k++)
            if (p->is_held[i][k]) act_outside(p, i, 4, k);
    }
    for (uint32_t k = 0; k < PAGES; k++) act_on_page(p, 10, k, 0, 0);
    compare(p);
    assert_int_equal(p->slots.n_free, SLOTS);
    llrti_slots_free(&mem, &p->slots);
    assert_int_equal(heap.n_live, 0);
    free(p);
}

static void test_random_walk(void **state)
{
    (void)state;
    walk(false);
    walk(true);
}

static void test_bytes_are_those_requested(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 3, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        llrti_mem mem;
        test_heap heap;
        llrti_slots slots;
        const llrti_slots_options options = {sizes[i], 17, 0, true, true};
        test_mem_init(&mem, &heap);
        assert_int_equal(llrti_slots_create(&mem, &slots, &options, NULL), LLRT_OK);
        assert_int_equal(heap.live, llrti_slots_bytes(sizes[i], 17));
        assert_int_equal(llrti_slots_of(&slots, 16), LLRTI_SLOT_NONE);
        llrti_slots_drop(&slots, 3);
        llrti_slots_move(&slots, 3, 4);
        llrti_slots_rank(&slots, 3, true);
        llrti_slots_free(&mem, &slots);
        assert_int_equal(heap.n_live, 0);
        for (size_t k = 1; sizes[i] && k <= 2; k++) {
            test_mem_init(&mem, &heap);
            heap.fail_at = k;
            assert_int_equal(llrti_slots_create(&mem, &slots, &options, NULL), LLRT_ERR_NOMEM);
            assert_int_equal(heap.n_live, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walk),
        cmocka_unit_test(test_bytes_are_those_requested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
