/* SPDX-License-Identifier: MIT */
/*
 * The books of what a page can own beside itself: its part in the group of windowed layers, or the
 * recurrent state at its end. There is one pool of numbered slots for each; the bytes are in the
 * backends' runtimes.
 *
 *          take                    release, owned by a page
 *   FREE ---------> HELD <-------------------------------> KEPT
 *     ^              | release, not owned                    | evicted by a take, or its page went
 *     +--------------+---------------------------------------+
 *
 * Slots are held by sessions, several of them when they share pages. A slot that a page owns and
 * nobody holds is kept until room is needed: those of pages that sessions hold go last, within that
 * the least recently held go first.
 *
 * So that a call can fail for lack of slots only before it has changed anything, it is promised
 * beforehand as many as it will hold at once, and the promises are counted: a session in a call
 * pays for each slot it holds, all sessions outside of calls together for each slot they hold, and
 * what is paid for and what is promised is never more than there is. A session that lets go of a
 * slot in a call gets the promise back, whoever else holds the slot.
 *
 * What a step alone needs is lent from spare slots that are never promised to calls, so that
 * whether a call finds room does not depend on the step that happens to be in flight. All functions
 * are called under the engine's lock; only create allocates.
 */
#ifndef LLRTI_SLOTS_H
#define LLRTI_SLOTS_H

#include <llrt/backend.h>

#include "alloc.h"

#define LLRTI_SLOT_NONE LLRT_NONE

typedef struct llrti_slot {
    uint32_t n_idle;     /* holders outside of calls */
    uint32_t n_call;     /* holders in calls */
    uint32_t owner;      /* the page, or LLRTI_SLOT_NONE */
    uint32_t prev, next; /* in the free list (next only) or its list of kept ones */
    uint32_t rank; /* the list it goes to: 0, or 1 when a session holds the page and that counts */
} llrti_slot;

typedef struct llrti_slots {
    uint32_t n_slot, n_free, n_kept;
    uint32_t n_paid, n_promised; /* those lent included */
    uint32_t n_spare, n_lent;
    /*
     * False: a promise needs no room, since every slot is a held page's own and there are as many
     * as pages.
     */
    bool is_metered;
    bool is_ranked;
    uint32_t free_first;
    uint32_t oldest[2], newest[2]; /* of the kept ones, by rank */
    uint64_t n_evicted;
    llrti_slot *slot;  /* (n_slot) */
    uint32_t *of_page; /* (n_page): what a page owns, or LLRTI_SLOT_NONE */
} llrti_slots;

typedef struct llrti_slots_options {
    uint32_t n_slot, n_page; /* n_slot 0: there are none, and of_page finds none */
    uint32_t n_spare;        /* at most n_slot */
    bool is_metered, is_ranked;
} llrti_slots_options;

/** Bytes llrti_slots_create requests, of class HOST. */
size_t llrti_slots_bytes(uint32_t n_slot, uint32_t n_page);
llrt_status llrti_slots_create(llrti_mem *mem, llrti_slots *slots,
                               const llrti_slots_options *options, llrt_error *err);
void llrti_slots_free(llrti_mem *mem, llrti_slots *slots); /* a zeroed pool is fine */

/** What the page owns, or LLRTI_SLOT_NONE. */
static inline uint32_t llrti_slots_of(const llrti_slots *slots, uint32_t page)
{
    return slots->n_slot ? slots->of_page[page] : LLRTI_SLOT_NONE;
}

/* ---- In a call; `promise` is the session's count of slots it may still take ---- */

/** Slots that can still be promised. */
uint32_t llrti_slots_room(const llrti_slots *slots);
/**
 * Promises n slots to a session that is about to enter a call with slots of which it holds n_alone
 * alone (as llrti_slots_is_alone says); false when there is no room, and nothing changed.
 */
bool llrti_slots_promise(llrti_slots *slots, uint32_t *promise, uint32_t n, uint32_t n_alone);
/** Slots that can be lent to a step now. */
uint32_t llrti_slots_spare(const llrti_slots *slots);
/** Promises n of them; `lent` is the session's count. They are paid back out of promises. */
void llrti_slots_lend(llrti_slots *slots, uint32_t *promise, uint32_t *lent, uint32_t n);
void llrti_slots_repay(llrti_slots *slots, uint32_t *promise, uint32_t *lent, uint32_t n);
/** Gives up promises. */
void llrti_slots_unpromise(llrti_slots *slots, uint32_t *promise, uint32_t n);
/** A fresh slot, held in the call, evicting a kept one. */
uint32_t llrti_slots_take(llrti_slots *slots, uint32_t *promise);
void llrti_slots_hold(llrti_slots *slots, uint32_t *promise, uint32_t slot);
void llrti_slots_release(llrti_slots *slots, uint32_t *promise, uint32_t slot);
/** The holder outside of calls becomes one in a call, and back. */
void llrti_slots_enter(llrti_slots *slots, uint32_t *promise, uint32_t slot);
void llrti_slots_leave(llrti_slots *slots, uint32_t slot);

/* ---- Outside of calls ---- */

/** True when exactly one session outside of calls holds it. */
static inline bool llrti_slots_is_alone(const llrti_slots *slots, uint32_t slot)
{
    return slots->slot[slot].n_idle == 1;
}
/**
 * False when there is no room for it; always true for one that a session outside of calls holds.
 */
bool llrti_slots_idle_hold(llrti_slots *slots, uint32_t slot);
void llrti_slots_idle_release(llrti_slots *slots, uint32_t slot);

/* ---- Pages ---- */

/** The page, which a session holds, owns the held slot; what it owned before goes. */
void llrti_slots_give(llrti_slots *slots, uint32_t slot, uint32_t page);
/** What page `from` owns goes over to page `to`, which owns nothing. */
void llrti_slots_move(llrti_slots *slots, uint32_t from, uint32_t to);
/** The page owns nothing from now on. */
void llrti_slots_drop(llrti_slots *slots, uint32_t page);
/** The page is now held by a session, or by none. */
void llrti_slots_rank(llrti_slots *slots, uint32_t page, bool is_held);

#endif
