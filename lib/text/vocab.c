/* SPDX-License-Identifier: MIT */
/*
 * The vocabulary store. All text lies in one block that is reserved once, because the
 * map borrows its keys from there. Sizes are checked when reserving; setting can't fail.
 */
#include "vocab.h"

#include <assert.h>
#include <string.h>

#include "error.h"

void llrti_vocab_init(llrti_vocab *vocab, llrti_mem *mem)
{
    memset(vocab, 0, sizeof *vocab);
    vocab->mem = mem;
    llrti_map_init(&vocab->map, mem, LLRT_MEMORY_HOST);
    for (size_t i = 0; i < 256; i++) vocab->byte_id[i] = LLRT_TOKEN_NONE;
}

llrt_status llrti_vocab_reserve(llrti_vocab *vocab, size_t n_id, size_t n_text, llrt_error *err)
{
    if (n_id == 0 || n_id > LLRTI_VOCAB_MAX)
        return llrti_fail(err, LLRT_ERR_FORMAT, "found a vocabulary of %zu ids, expected 1 to %u",
                          n_id, LLRTI_VOCAB_MAX);
    if (n_text > UINT32_MAX)
        return llrti_fail(err, LLRT_ERR_FORMAT,
                          "found %zu bytes of token text, expected less than 4 GiB", n_text);
    vocab->entry = llrti_calloc(vocab->mem, n_id, sizeof *vocab->entry, LLRT_MEMORY_HOST);
    vocab->text = llrti_alloc(vocab->mem, n_text, LLRT_MEMORY_HOST);
    if (!vocab->entry || !vocab->text)
        return llrti_fail_nomem(err, "the vocabulary", n_id * sizeof *vocab->entry + n_text);
    vocab->n_vocab = vocab->n = vocab->n_entry = (uint32_t)n_id;
    vocab->text_capacity = n_text;
    return LLRT_OK;
}

void llrti_vocab_set(llrti_vocab *vocab, uint32_t id, const char *text, size_t n_text,
                     llrt_token_type type, float score)
{
    assert(id < vocab->n_vocab && n_text <= vocab->text_capacity - vocab->n_text);
    llrti_vocab_entry *const entry = &vocab->entry[id];
    entry->at = (uint32_t)vocab->n_text;
    entry->n = (uint32_t)n_text;
    entry->type = (uint8_t)type;
    entry->score = score;
    if (n_text) memcpy(vocab->text + vocab->n_text, text, n_text);
    vocab->n_text += n_text;
    if (entry->n > vocab->n_text_max) vocab->n_text_max = entry->n;
}

static llrt_status put_type(llrti_vocab *vocab, llrt_token_type type, llrt_error *err)
{
    for (uint32_t id = 0; id < vocab->n_vocab; id++) {
        const llrti_vocab_entry *const entry = &vocab->entry[id];
        if (entry->type != type || entry->n == 0) continue;
        if (llrti_map_put(&vocab->map, vocab->text + entry->at, entry->n, id, NULL) < 0)
            return llrti_fail_nomem(err, "the vocabulary's index", vocab->n_vocab * (size_t)32);
    }
    return LLRT_OK;
}

llrt_status llrti_vocab_index(llrti_vocab *vocab, bool with_unused, llrt_error *err)
{
    size_t n = 0;
    for (uint32_t id = 0; id < vocab->n_vocab; id++) {
        llrti_vocab_entry *const entry = &vocab->entry[id];
        if (entry->type == 0) entry->type = LLRT_TOKEN_UNUSED;
        n += entry->n != 0 && entry->type != LLRT_TOKEN_CONTROL &&
             entry->type != LLRT_TOKEN_UNKNOWN && entry->type != LLRT_TOKEN_BYTE;
    }
    if (!llrti_map_reserve(&vocab->map, n))
        return llrti_fail_nomem(err, "the vocabulary's index", llrti_map_bytes(n));
    LLRTI_TRY(put_type(vocab, LLRT_TOKEN_NORMAL, err));
    LLRTI_TRY(put_type(vocab, LLRT_TOKEN_USER_DEFINED, err));
    if (with_unused) LLRTI_TRY(put_type(vocab, LLRT_TOKEN_UNUSED, err));
    return LLRT_OK;
}

int32_t llrti_vocab_add_helper(llrti_vocab *vocab, uint32_t of, uint32_t at, uint32_t n)
{
    if (vocab->n == vocab->n_entry) {
        const uint32_t room = vocab->n_entry + vocab->n_entry / 8 + 64;
        llrti_vocab_entry *const entry =
            llrti_realloc(vocab->mem, vocab->entry, room * sizeof *vocab->entry, LLRT_MEMORY_HOST);
        if (!entry) return LLRT_TOKEN_NONE;
        vocab->entry = entry;
        vocab->n_entry = room;
    }
    const uint32_t start = vocab->entry[of].at + at;
    if (llrti_map_put(&vocab->map, vocab->text + start, n, vocab->n, NULL) < 0)
        return LLRT_TOKEN_NONE;
    vocab->entry[vocab->n] = (llrti_vocab_entry){.at = start, .n = n, .type = LLRT_TOKEN_UNUSED};
    return (int32_t)vocab->n++;
}

void llrti_vocab_free(llrti_vocab *vocab)
{
    llrti_map_free(&vocab->map);
    llrti_free(vocab->mem, vocab->text);
    llrti_free(vocab->mem, vocab->entry);
    vocab->text = NULL;
    vocab->entry = NULL;
}
