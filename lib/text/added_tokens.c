/* SPDX-License-Identifier: MIT */
/*
 * Matching of added tokens. Where a byte can begin a pattern, the range of patterns that
 * agree with the text so far is narrowed by binary search, one byte at a time; a pattern that ends
 * there is the shortest of its range and so comes first.
 */
#include "added_tokens.h"

#include <string.h>

#include "sort.h"
#include "unicode_class.h"

void llrti_added_tokens_init(llrti_added_tokens *set, llrti_mem *mem)
{
    memset(set, 0, sizeof *set);
    set->mem = mem;
}

bool llrti_added_tokens_add(llrti_added_tokens *set, llrti_added_token token)
{
    if (token.n == 0) return true;
    if (!llrti_vec_reserve(set->mem, &set->list, set->list.n + 1, LLRT_MEMORY_HOST)) return false;
    set->list.data[set->list.n++] = token;
    return true;
}

static int compare_text(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    if (order) return order;
    return n_a < n_b ? -1 : n_a > n_b;
}

static int compare_tokens(const void *a, const void *b, void *ctx)
{
    const llrti_added_token *const x = a, *const y = b;
    const int order = compare_text(x->text, x->n, y->text, y->n);
    if (order) return order;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void free_text(llrti_added_tokens *set, const llrti_added_token *token)
{
    if (set->is_owner) llrti_free(set->mem, (char *)(uintptr_t)token->text);
}

void llrti_added_tokens_finish(llrti_added_tokens *set)
{
    llrti_added_token *const list = set->list.data;
    if (set->list.n == 0) return;
    llrti_sort(list, set->list.n, sizeof *list, compare_tokens, NULL);
    size_t kept = 1;
    for (size_t i = 1; i < set->list.n; i++) {
        if (compare_text(list[kept - 1].text, list[kept - 1].n, list[i].text, list[i].n) != 0)
            list[kept++] = list[i];
        else
            free_text(set, &list[i]);
    }
    set->list.n = kept;
    for (size_t i = 0; i < kept; i++) {
        const uint8_t byte = (uint8_t)list[i].text[0];
        set->first[byte + 1]++;
        set->is_first[byte] = 1;
    }
    for (size_t byte = 0; byte < 256; byte++) set->first[byte + 1] += set->first[byte];
}

int32_t llrti_added_tokens_find(const llrti_added_tokens *set, const char *text, size_t n)
{
    size_t low = 0, high = set->list.n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const llrti_added_token *const token = &set->list.data[middle];
        const int order = compare_text(token->text, token->n, text, n);
        if (order == 0) return token->id;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return LLRT_TOKEN_NONE;
}

/* The character class just before text[at]; looks back four bytes at most. */
static uint32_t class_before(const char *text, size_t from, size_t at, size_t *n_char)
{
    size_t start = at - 1;
    while (start > from && at - start < 4 && ((uint8_t)text[start] & 0xc0) == 0x80) start--;
    const uint32_t class = llrti_unicode_class_at(text + start, at - start, n_char);
    if (start + *n_char == at) return class;
    *n_char = 1;
    return 0;
}

static bool is_alone(const char *text, size_t n, size_t start, size_t end)
{
    size_t n_char;
    if (start > 0 && (class_before(text, 0, start, &n_char) & LLRTI_CLASS_WORD)) return false;
    return end == n || !(llrti_unicode_class_at(text + end, n - end, &n_char) & LLRTI_CLASS_WORD);
}

/* First index in [low, high) whose pattern's byte at `depth` is at least `byte`. */
static size_t lower_bound(const llrti_added_token *list, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((uint8_t)list[middle].text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const llrti_added_token *match_at(const llrti_added_tokens *set, const char *text, size_t n,
                                         size_t at, bool with_special, uint64_t *n_op)
{
    const llrti_added_token *const list = set->list.data, *best = NULL;
    size_t low = set->first[(uint8_t)text[at]], high = set->first[(uint8_t)text[at] + 1];
    for (size_t depth = 1; low < high; depth++) {
        const llrti_added_token *const token = &list[low];
        ++*n_op;
        if (token->n == depth) {
            if ((with_special || !(token->flags & LLRTI_ADDED_SPECIAL)) &&
                (!(token->flags & LLRTI_ADDED_SINGLE_WORD) || is_alone(text, n, at, at + depth)))
                best = token;
            low++;
        }
        if (at + depth >= n) break;
        const unsigned byte = (uint8_t)text[at + depth];
        low = lower_bound(list, low, high, depth, byte);
        high = lower_bound(list, low, high, depth, byte + 1);
    }
    return best;
}

llrti_added_match llrti_added_tokens_next(const llrti_added_tokens *set, const char *text, size_t n,
                                          size_t from, bool with_special, uint64_t *n_op)
{
    if (set->list.n > 0) {
        for (size_t at = from; at < n; at++) {
            if (!set->is_first[(uint8_t)text[at]]) continue;
            const llrti_added_token *const token = match_at(set, text, n, at, with_special, n_op);
            if (!token) continue;
            size_t start = at, end = at + token->n, n_char;
            while ((token->flags & LLRTI_ADDED_LSTRIP) && start > from &&
                   (class_before(text, from, start, &n_char) & LLRTI_CLASS_SPACE))
                start -= n_char;
            while ((token->flags & LLRTI_ADDED_RSTRIP) && end < n &&
                   (llrti_unicode_class_at(text + end, n - end, &n_char) & LLRTI_CLASS_SPACE))
                end += n_char;
            return (llrti_added_match){start, end, token->id};
        }
    }
    return (llrti_added_match){n, n, LLRT_TOKEN_NONE};
}

void llrti_added_tokens_free(llrti_added_tokens *set)
{
    for (size_t i = 0; i < set->list.n; i++) free_text(set, &set->list.data[i]);
    llrti_vec_free(set->mem, &set->list);
}
