/* SPDX-License-Identifier: MIT */
/*
 * The inside of llrt_adapter, and the set of adapters that a session computes with.
 *
 * An adapter is one slot of every stage's runtime; the matrices are the backends', what is kept
 * here is small. Which slots are taken is under the engine's lock; a slot is filled between steps,
 * and only while no session uses it. A set never changes: sessions and their forks share it.
 */
#ifndef LLRTI_ADAPTER_IMPL_H
#define LLRTI_ADAPTER_IMPL_H

#include <llrt/adapter.h>

#include "engine_impl.h"

struct llrt_adapter {
    llrt_engine *engine; /* kept */
    atomic_uint n_ref;
    uint32_t slot;
    uint32_t n_weight, rank;
    uint64_t n_parameter;
    llrti_hash128 hash; /* of all it changes */
};

/** The adapters of a session; reference counted. NULL stands for none. */
typedef struct llrti_adapter_set {
    atomic_uint n_ref;
    uint32_t n;
    llrti_hash128 hash;     /* of adapters and scales, in order */
    llrt_adapter **adapter; /* (n) */
    uint32_t *slot;         /* (n) */
    float *scale;           /* (n) */
} llrti_adapter_set;

/** Bytes llrti_adapter_create_slots requests, of class HOST. */
size_t llrti_adapter_slot_bytes(const llrt_engine *engine);
llrt_status llrti_adapter_create_slots(llrt_engine *engine, llrt_error *err);
void llrti_adapter_free_slots(llrt_engine *engine);

llrti_adapter_set *llrti_adapter_set_ref(llrti_adapter_set *set); /* NULL is fine */
/** Not under the engine's lock. NULL is fine. */
void llrti_adapter_set_unref(llrt_engine *engine, llrti_adapter_set *set);

/** What sessions with these adapters share prefixes under. */
uint64_t llrti_adapter_salt(const llrti_adapter_set *set, uint64_t salt);
/** What sessions with these adapters are saved under, from the model's fingerprint. */
void llrti_adapter_fingerprint(const llrti_adapter_set *set, const uint8_t model[16],
                               uint8_t out[16]);

#endif
