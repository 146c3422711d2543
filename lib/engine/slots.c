/* SPDX-License-Identifier: MIT */
/*
 * Reference counts, promises, and the lists of slots nobody holds. Everything is constant time; see
 * slots.h for the states and for who pays.
 */
#include "slots.h"

#include <assert.h>
#include <string.h>

#include "error.h"

size_t llrti_slots_bytes(uint32_t n_slot, uint32_t n_page)
{
    if (n_slot == 0) return 0;
    return n_slot * sizeof(llrti_slot) + n_page * sizeof(uint32_t) + 2 * LLRTI_ALLOC_HEADER;
}

llrt_status llrti_slots_create(llrti_mem *mem, llrti_slots *slots,
                               const llrti_slots_options *options, llrt_error *err)
{
    const uint32_t n = options->n_slot;
    memset(slots, 0, sizeof *slots);
    slots->is_metered = options->is_metered;
    slots->is_ranked = options->is_ranked;
    slots->n_spare = options->n_spare;
    slots->free_first = LLRTI_SLOT_NONE;
    for (int i = 0; i < 2; i++) slots->oldest[i] = slots->newest[i] = LLRTI_SLOT_NONE;
    if (n == 0) return LLRT_OK;
    slots->slot = llrti_calloc(mem, n, sizeof *slots->slot, LLRT_MEMORY_HOST);
    slots->of_page = llrti_alloc(mem, options->n_page * sizeof(uint32_t), LLRT_MEMORY_HOST);
    if (!slots->slot || !slots->of_page) {
        llrti_slots_free(mem, slots);
        return llrti_fail_nomem(err, "the slots of pages", llrti_slots_bytes(n, options->n_page));
    }
    for (uint32_t i = 0; i < options->n_page; i++) slots->of_page[i] = LLRTI_SLOT_NONE;
    for (uint32_t i = 0; i < n; i++) {
        slots->slot[i].owner = LLRTI_SLOT_NONE;
        slots->slot[i].next = i + 1 < n ? i + 1 : LLRTI_SLOT_NONE;
    }
    slots->free_first = 0;
    slots->n_slot = slots->n_free = n;
    return LLRT_OK;
}

void llrti_slots_free(llrti_mem *mem, llrti_slots *slots)
{
    llrti_free(mem, slots->slot);
    llrti_free(mem, slots->of_page);
    memset(slots, 0, sizeof *slots);
}

/* ---- Lists ---- */

static bool is_held(const llrti_slot *s)
{
    return s->n_idle + s->n_call > 0;
}

static void link_kept(llrti_slots *slots, uint32_t slot)
{
    llrti_slot *const s = &slots->slot[slot];
    uint32_t *const newest = &slots->newest[s->rank];
    s->prev = *newest;
    s->next = LLRTI_SLOT_NONE;
    if (*newest == LLRTI_SLOT_NONE)
        slots->oldest[s->rank] = slot;
    else
        slots->slot[*newest].next = slot;
    *newest = slot;
    slots->n_kept++;
}

static void unlink_kept(llrti_slots *slots, uint32_t slot)
{
    const llrti_slot *const s = &slots->slot[slot];
    if (s->prev == LLRTI_SLOT_NONE)
        slots->oldest[s->rank] = s->next;
    else
        slots->slot[s->prev].next = s->next;
    if (s->next == LLRTI_SLOT_NONE)
        slots->newest[s->rank] = s->prev;
    else
        slots->slot[s->next].prev = s->prev;
    slots->n_kept--;
}

static void link_free(llrti_slots *slots, uint32_t slot)
{
    slots->slot[slot].next = slots->free_first;
    slots->free_first = slot;
    slots->n_free++;
}

/* After the last holder went. */
static void settle(llrti_slots *slots, uint32_t slot)
{
    const llrti_slot *const s = &slots->slot[slot];
    if (is_held(s)) return;
    if (s->owner == LLRTI_SLOT_NONE)
        link_free(slots, slot);
    else
        link_kept(slots, slot);
}

/* Before the first holder comes. */
static void unsettle(llrti_slots *slots, uint32_t slot)
{
    const llrti_slot *const s = &slots->slot[slot];
    if (is_held(s)) return;
    assert(s->owner != LLRTI_SLOT_NONE);
    unlink_kept(slots, slot);
}

/* ---- In a call ---- */

uint32_t llrti_slots_room(const llrti_slots *slots)
{
    if (!slots->is_metered) return UINT32_MAX;
    const uint32_t used = slots->n_paid + slots->n_promised - slots->n_lent;
    assert(used + slots->n_spare <= slots->n_slot);
    return slots->n_slot - slots->n_spare - used;
}

uint32_t llrti_slots_spare(const llrti_slots *slots)
{
    return slots->is_metered ? slots->n_spare - slots->n_lent : UINT32_MAX;
}

void llrti_slots_lend(llrti_slots *slots, uint32_t *promise, uint32_t *lent, uint32_t n)
{
    slots->n_promised += n;
    slots->n_lent += n;
    *promise += n;
    *lent += n;
}

void llrti_slots_repay(llrti_slots *slots, uint32_t *promise, uint32_t *lent, uint32_t n)
{
    assert(n <= *lent);
    llrti_slots_unpromise(slots, promise, n);
    slots->n_lent -= n;
    *lent -= n;
}

bool llrti_slots_promise(llrti_slots *slots, uint32_t *promise, uint32_t n, uint32_t n_alone)
{
    if (n > n_alone && n - n_alone > llrti_slots_room(slots)) return false;
    slots->n_promised += n;
    *promise += n;
    return true;
}

void llrti_slots_unpromise(llrti_slots *slots, uint32_t *promise, uint32_t n)
{
    assert(n <= *promise);
    slots->n_promised -= n;
    *promise -= n;
}

static void pay(llrti_slots *slots, uint32_t *promise)
{
    llrti_slots_unpromise(slots, promise, 1);
    slots->n_paid++;
}

uint32_t llrti_slots_take(llrti_slots *slots, uint32_t *promise)
{
    uint32_t slot = slots->free_first;
    if (slot != LLRTI_SLOT_NONE) {
        slots->free_first = slots->slot[slot].next;
        slots->n_free--;
    } else {
        slot = slots->oldest[0] != LLRTI_SLOT_NONE ? slots->oldest[0] : slots->oldest[1];
        assert(slot != LLRTI_SLOT_NONE);
        unlink_kept(slots, slot);
        slots->of_page[slots->slot[slot].owner] = LLRTI_SLOT_NONE;
        slots->slot[slot].owner = LLRTI_SLOT_NONE;
        slots->n_evicted++;
    }
    pay(slots, promise);
    slots->slot[slot].n_call = 1;
    return slot;
}

void llrti_slots_hold(llrti_slots *slots, uint32_t *promise, uint32_t slot)
{
    unsettle(slots, slot);
    pay(slots, promise);
    slots->slot[slot].n_call++;
}

void llrti_slots_release(llrti_slots *slots, uint32_t *promise, uint32_t slot)
{
    assert(slots->slot[slot].n_call > 0);
    slots->slot[slot].n_call--;
    slots->n_paid--;
    slots->n_promised++;
    ++*promise;
    settle(slots, slot);
}

void llrti_slots_enter(llrti_slots *slots, uint32_t *promise, uint32_t slot)
{
    llrti_slot *const s = &slots->slot[slot];
    assert(s->n_idle > 0);
    if (--s->n_idle == 0) slots->n_paid--;
    s->n_call++;
    pay(slots, promise);
}

void llrti_slots_leave(llrti_slots *slots, uint32_t slot)
{
    llrti_slot *const s = &slots->slot[slot];
    assert(s->n_call > 0);
    s->n_call--;
    if (s->n_idle++ > 0) slots->n_paid--;
}

/* ---- Outside of calls ---- */

bool llrti_slots_idle_hold(llrti_slots *slots, uint32_t slot)
{
    llrti_slot *const s = &slots->slot[slot];
    if (s->n_idle == 0 && llrti_slots_room(slots) == 0) return false;
    unsettle(slots, slot);
    if (s->n_idle++ == 0) slots->n_paid++;
    return true;
}

void llrti_slots_idle_release(llrti_slots *slots, uint32_t slot)
{
    llrti_slot *const s = &slots->slot[slot];
    assert(s->n_idle > 0);
    if (--s->n_idle == 0) slots->n_paid--;
    settle(slots, slot);
}

/* ---- Pages ---- */

void llrti_slots_give(llrti_slots *slots, uint32_t slot, uint32_t page)
{
    llrti_slots_drop(slots, page);
    slots->slot[slot].owner = page;
    slots->slot[slot].rank = slots->is_ranked;
    slots->of_page[page] = slot;
}

void llrti_slots_move(llrti_slots *slots, uint32_t from, uint32_t to)
{
    const uint32_t slot = llrti_slots_of(slots, from);
    if (slot == LLRTI_SLOT_NONE) return;
    slots->of_page[from] = LLRTI_SLOT_NONE;
    slots->of_page[to] = slot;
    slots->slot[slot].owner = to;
}

void llrti_slots_drop(llrti_slots *slots, uint32_t page)
{
    const uint32_t slot = llrti_slots_of(slots, page);
    if (slot == LLRTI_SLOT_NONE) return;
    slots->of_page[page] = LLRTI_SLOT_NONE;
    slots->slot[slot].owner = LLRTI_SLOT_NONE;
    if (is_held(&slots->slot[slot])) return;
    unlink_kept(slots, slot);
    link_free(slots, slot);
}

void llrti_slots_rank(llrti_slots *slots, uint32_t page, bool is_held_now)
{
    const uint32_t slot = llrti_slots_of(slots, page);
    if (slot == LLRTI_SLOT_NONE || !slots->is_ranked) return;
    const bool is_kept = !is_held(&slots->slot[slot]);
    if (is_kept) unlink_kept(slots, slot);
    slots->slot[slot].rank = is_held_now;
    if (is_kept) link_kept(slots, slot);
}
