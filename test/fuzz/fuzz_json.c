/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader on any bytes; every node of what it accepts is visited.
 */
#include "json.h"

#include "fuzz_support.h"

static uint64_t visit(const llrti_json *node)
{
    uint64_t sum = node->type;
    if (node->key) sum += (uint8_t)node->key[node->n_key] + strlen(node->key);
    if (node->type == LLRTI_JSON_STRING) {
        FUZZ_CHECK(node->value.s[node->n] == 0);
        for (uint32_t i = 0; i < node->n; i++) sum += (uint8_t)node->value.s[i];
    }
    if (node->type != LLRTI_JSON_ARRAY && node->type != LLRTI_JSON_OBJECT) return sum;
    for (uint32_t i = 0; i < node->n; i++) {
        const llrti_json *child = &node->value.first[i];
        if (node->type == LLRTI_JSON_ARRAY) FUZZ_CHECK(llrti_json_at(node, i) == child);
        FUZZ_CHECK((child->key != NULL) == (node->type == LLRTI_JSON_OBJECT));
        sum += visit(child);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    llrti_mem mem;
    llrti_json_doc *doc;
    llrt_error err = LLRT_ERROR_INIT;
    llrti_mem_init(&mem, NULL);
    const llrt_status status = llrti_json_parse(&mem, (const char *)data, size, &doc, &err);
    FUZZ_CHECK((status == LLRT_OK) == (doc != NULL));
    if (doc) {
        volatile uint64_t sum = visit(llrti_json_root(doc));
        (void)sum;
    } else {
        FUZZ_CHECK(err.status == status && err.text[0]);
    }
    llrti_json_free(doc);
    FUZZ_CHECK(atomic_load(&mem.total_live) == 0);
    return 0;
}
