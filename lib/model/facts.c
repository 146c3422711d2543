/* SPDX-License-Identifier: MIT */
/* Facts; see facts.h. Lists are short, so finding is a walk. */
#include "facts.h"

#include <string.h>

#include "text.h"

void llrti_facts_init(llrti_facts *facts, llrti_mem *mem)
{
    memset(facts, 0, sizeof *facts);
    facts->mem = mem;
    llrti_arena_init(&facts->arena, mem, LLRT_MEMORY_HOST);
}

void llrti_facts_free(llrti_facts *facts)
{
    for (size_t i = 0; i < facts->fact.n; i++)
        llrti_vec_free(facts->mem, &facts->fact.data[i].layer);
    llrti_vec_free(facts->mem, &facts->fact);
    llrti_vec_free(facts->mem, &facts->tensor);
    llrti_arena_free(&facts->arena);
}

/* The entry to fill, or NULL when there is nothing to do. */
static llrti_fact *entry_for(llrti_facts *facts, const char *key, llrti_meta_type type,
                             bool is_given)
{
    if (!facts || !key) return NULL;
    for (size_t i = 0; i < facts->fact.n; i++) {
        llrti_fact *const known = &facts->fact.data[i];
        if (strcmp(known->key, key) != 0) continue;
        if (known->is_given || !is_given) return NULL;
        known->type = type;
        known->is_given = true;
        return known;
    }
    const char *const own = llrti_arena_strndup(&facts->arena, key, strlen(key));
    if (!own || !llrti_vec_reserve(facts->mem, &facts->fact, facts->fact.n + 1, LLRT_MEMORY_HOST)) {
        facts->is_short = true;
        return NULL;
    }
    llrti_fact *const added = &facts->fact.data[facts->fact.n++];
    memset(added, 0, sizeof *added);
    added->key = own;
    added->type = type;
    added->is_given = is_given;
    return added;
}

void llrti_facts_u32(llrti_facts *facts, const char *key, uint32_t value, bool is_given)
{
    llrti_fact *const fact = entry_for(facts, key, LLRTI_META_U32, is_given);
    if (fact) fact->u = value;
}

void llrti_facts_f64(llrti_facts *facts, const char *key, double value, bool is_given)
{
    llrti_fact *const fact = entry_for(facts, key, LLRTI_META_F32, is_given);
    if (fact) fact->f = value;
}

void llrti_facts_bool(llrti_facts *facts, const char *key, bool value)
{
    llrti_fact *const fact = entry_for(facts, key, LLRTI_META_BOOL, true);
    if (fact) fact->u = value;
}

void llrti_facts_string(llrti_facts *facts, const char *key, llrti_string value)
{
    llrti_fact *const fact = entry_for(facts, key, LLRTI_META_STRING, true);
    if (!fact) return;
    fact->s = (llrti_string){llrti_arena_strndup(&facts->arena, value.data, value.n), value.n};
    if (!fact->s.data) {
        facts->is_short = true;
        fact->s.n = 0;
    }
}

void llrti_facts_u32_layer(llrti_facts *facts, const char *key, uint32_t layer, uint32_t value)
{
    if (!facts || !key) return;
    (void)entry_for(facts, key, LLRTI_META_U32, true);
    for (size_t i = 0; i < facts->fact.n; i++) {
        llrti_fact *const fact = &facts->fact.data[i];
        if (strcmp(fact->key, key) != 0) continue;
        if (!llrti_vec_reserve(facts->mem, &fact->layer, (size_t)layer + 1, LLRT_MEMORY_HOST)) {
            facts->is_short = true;
            return;
        }
        while (fact->layer.n <= layer) fact->layer.data[fact->layer.n++] = value;
        fact->layer.data[layer] = value;
        fact->u = value;
    }
}

void llrti_facts_correct_u32(llrti_facts *facts, const char *key, uint32_t value)
{
    llrti_facts_u32(facts, key, value, true);
    for (size_t i = 0; facts && i < facts->fact.n; i++) {
        llrti_fact *const fact = &facts->fact.data[i];
        if (strcmp(fact->key, key) != 0) continue;
        fact->type = LLRTI_META_U32;
        fact->u = value;
        fact->layer.n = 0;
    }
}

void llrti_facts_tensor(llrti_facts *facts, const char *name, const float *value, uint32_t n)
{
    if (!facts) return;
    for (size_t i = 0; i < facts->tensor.n; i++)
        if (strcmp(facts->tensor.data[i].name, name) == 0) return;
    const char *const own = llrti_arena_strndup(&facts->arena, name, strlen(name));
    float *const copy = llrti_arena_alloc(&facts->arena, n * sizeof *copy, 16);
    if (!own || !copy ||
        !llrti_vec_reserve(facts->mem, &facts->tensor, facts->tensor.n + 1, LLRT_MEMORY_HOST)) {
        facts->is_short = true;
        return;
    }
    memcpy(copy, value, n * sizeof *copy);
    facts->tensor.data[facts->tensor.n++] = (llrti_fact_tensor){own, copy, n};
}

void llrti_facts_problem(llrti_facts *facts, const char *text)
{
    if (facts && !facts->problem[0])
        llrti_text_format(facts->problem, sizeof facts->problem, "%s", text);
}
