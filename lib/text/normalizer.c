/* SPDX-License-Identifier: MIT */
/*
 * Normalization steps. Each reads one buffer and fills the other of the scratch.
 *
 * Unicode forms: valid runs are decomposed code point by code point with utf8proc (its own
 * whole-string functions allocate with malloc and sort marks in quadratic time), runs of marks
 * are put into canonical order by a stable merge sort, and utf8proc composes. Everything is
 * linear but for the sorting of marks, n log n.
 */
#include "normalizer.h"

#include <string.h>

#include <utf8proc.h>

#include "error.h"
#include "utf8.h"

void llrti_normalizer_init(llrti_normalizer *normalizer, llrti_mem *mem)
{
    memset(normalizer, 0, sizeof *normalizer);
    normalizer->mem = mem;
}

static char *copy_string(const llrti_normalizer *normalizer, const char *text, size_t *n)
{
    char *const copy = llrti_strndup(normalizer->mem, text, *n, LLRT_MEMORY_HOST);
    if (copy && normalizer->is_folding_space) *n = llrti_normalizer_fold(copy, *n, copy);
    return copy;
}

llrt_status llrti_normalizer_add(llrti_normalizer *normalizer, llrti_normalizer_kind kind,
                                 const char *a, size_t n_a, const char *b, size_t n_b,
                                 llrt_error *err)
{
    if (normalizer->n_step == LLRTI_NORMALIZER_STEPS)
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "found more than %d normalization steps",
                          LLRTI_NORMALIZER_STEPS);
    llrti_normalizer_step *const step = &normalizer->step[normalizer->n_step++];
    *step = (llrti_normalizer_step){.kind = kind, .n_a = n_a, .n_b = n_b};
    if (a && !(step->a = copy_string(normalizer, a, &step->n_a)))
        return llrti_fail_nomem(err, "a normalization step", n_a);
    if (b && !(step->b = copy_string(normalizer, b, &step->n_b)))
        return llrti_fail_nomem(err, "a normalization step", n_b);
    const bool is_idle = kind == LLRTI_NORMALIZE_REPLACE && step->n_a == step->n_b &&
                         memcmp(step->a, step->b, step->n_a) == 0;
    if (is_idle) { /* " " by U+2581 after folding */
        llrti_free(normalizer->mem, step->a);
        llrti_free(normalizer->mem, step->b);
        *step = (llrti_normalizer_step){0};
        normalizer->n_step--;
    }
    return LLRT_OK;
}

void llrti_normalizer_free(llrti_normalizer *normalizer)
{
    for (uint32_t i = 0; i < normalizer->n_step; i++) {
        llrti_free(normalizer->mem, normalizer->step[i].a);
        llrti_free(normalizer->mem, normalizer->step[i].b);
    }
    normalizer->n_step = 0;
}

void llrti_normalizer_scratch_init(llrti_normalizer_scratch *scratch, llrti_mem *mem)
{
    memset(scratch, 0, sizeof *scratch);
    scratch->mem = mem;
}

void llrti_normalizer_scratch_free(llrti_normalizer_scratch *scratch)
{
    llrti_vec_free(scratch->mem, &scratch->text[0]);
    llrti_vec_free(scratch->mem, &scratch->text[1]);
    llrti_vec_free(scratch->mem, &scratch->point);
    llrti_vec_free(scratch->mem, &scratch->order);
}

static const char *find_block(const char *text, size_t n, const char *what, size_t n_what)
{
    const char *const end = text + n;
    while (n_what && (size_t)(end - text) >= n_what) {
        text = memchr(text, what[0], (size_t)(end - text) - n_what + 1);
        if (!text) return NULL;
        if (memcmp(text, what, n_what) == 0) return text;
        text++;
    }
    return NULL;
}

static const char folded_space[3] = {(char)0xe2, (char)0x96, (char)0x81};

size_t llrti_normalizer_fold(const char *text, size_t n, char *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && memcmp(text + i, folded_space, 3) == 0) {
            out[kept++] = ' ';
            i += 3;
        } else {
            out[kept++] = text[i++];
        }
    }
    return kept;
}

typedef struct buffer {
    llrti_normalizer_scratch *scratch;
    int which; /* of scratch->text, the one to write */
} buffer;

/* Room in the buffer being written for n more bytes; NULL without memory. */
static char *grow(buffer *to, size_t n)
{
    llrti_normalizer_scratch *const s = to->scratch;
    size_t total;
    if (!llrti_add_size(s->text[to->which].n, n, &total) ||
        !llrti_vec_reserve(s->mem, &s->text[to->which], total, LLRT_MEMORY_HOST))
        return NULL;
    return s->text[to->which].data + s->text[to->which].n;
}

static bool append(buffer *to, const char *text, size_t n)
{
    char *const at = grow(to, n);
    if (!at) return false;
    if (n) memcpy(at, text, n);
    to->scratch->text[to->which].n += n;
    return true;
}

static bool replace_all(buffer *to, const llrti_normalizer_step *step, const char *text, size_t n)
{
    const char *const end = text + n;
    for (;;) {
        const char *const hit = find_block(text, (size_t)(end - text), step->a, step->n_a);
        if (!hit) return append(to, text, (size_t)(end - text));
        if (!append(to, text, (size_t)(hit - text)) || !append(to, step->b, step->n_b))
            return false;
        text = hit + step->n_a;
    }
}

static bool trim_spaces(buffer *to, const char *text, size_t n)
{
    char *const out = grow(to, n);
    if (!out) return false;
    size_t kept = 0;
    while (n > 0 && text[n - 1] == ' ') n--;
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' || (kept > 0 && out[kept - 1] != ' ')) out[kept++] = text[i];
    to->scratch->text[to->which].n += kept;
    return true;
}

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Stable merge sort of marks by combining class; `space` holds n. */
static void sort_marks(int32_t *mark, int32_t *space, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            const size_t middle = start + width < n ? start + width : n;
            const size_t end = start + 2 * width < n ? start + 2 * width : n;
            size_t a = start, b = middle;
            for (size_t k = start; k < end; k++) {
                const bool left = a < middle && (b >= end || combining_class(mark[a]) <=
                                                                 combining_class(mark[b]));
                space[k] = left ? mark[a++] : mark[b++];
            }
        }
        memcpy(mark, space, n * sizeof *mark);
    }
}

/* Appends the code points of a valid run, decomposed and ordered. */
static bool decompose(llrti_normalizer_scratch *s, const char *text, size_t n,
                      utf8proc_option_t options)
{
    s->point.n = 0;
    for (size_t at = 0; at < n;) {
        uint32_t c;
        int boundary = 0;
        at += llrti_utf8_decode(text + at, n - at, &c);
        if (!llrti_vec_reserve(s->mem, &s->point, s->point.n + 32, LLRT_MEMORY_HOST)) return false;
        /* At most 18 code points come of one (U+FDFA). */
        const utf8proc_ssize_t got = utf8proc_decompose_char(
            (utf8proc_int32_t)c, s->point.data + s->point.n, 32, options, &boundary);
        if (got < 0 || got > 32)
            s->point.data[s->point.n++] = (int32_t)c;
        else
            s->point.n += (size_t)got;
    }
    if (!llrti_vec_reserve(s->mem, &s->order, s->point.n, LLRT_MEMORY_HOST)) return false;
    int32_t *const point = s->point.data;
    for (size_t at = 0; at < s->point.n;) {
        size_t end = at;
        while (end < s->point.n && combining_class(point[end]) != 0) end++;
        if (end > at + 1) sort_marks(point + at, s->order.data, end - at);
        at = end > at ? end : at + 1;
    }
    return true;
}

static bool apply_form(buffer *to, llrti_normalizer_kind kind, const char *text, size_t n)
{
    llrti_normalizer_scratch *const s = to->scratch;
    const bool is_compat = kind == LLRTI_NORMALIZE_NFKC || kind == LLRTI_NORMALIZE_NFKD;
    const bool is_composed = kind == LLRTI_NORMALIZE_NFC || kind == LLRTI_NORMALIZE_NFKC;
    const utf8proc_option_t options = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                          (is_compat ? UTF8PROC_COMPAT : 0));
    while (n > 0) {
        size_t ascii = 0;
        while (ascii < n && (uint8_t)text[ascii] < 0x80) ascii++;
        size_t run = ascii;
        if (ascii < n) { /* back one: marks may compose with the last ASCII character */
            ascii -= ascii > 0;
            run = llrti_utf8_valid_prefix(text, n);
        }
        if (!append(to, text, ascii)) return false;
        if (run > ascii) {
            if (!decompose(s, text + ascii, run - ascii, options)) return false;
            utf8proc_ssize_t n_point = (utf8proc_ssize_t)s->point.n;
            if (is_composed)
                n_point = utf8proc_normalize_utf32(
                    s->point.data, n_point,
                    (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
            if (n_point < 0) n_point = 0;
            char *out = grow(to, (size_t)n_point * 4);
            if (!out) return false;
            for (utf8proc_ssize_t i = 0; i < n_point; i++) {
                const size_t length = llrti_utf8_encode((uint32_t)s->point.data[i], out);
                out += length;
                s->text[to->which].n += length;
            }
        }
        text += run;
        n -= run;
        if (n > 0 && (uint8_t)text[0] >= 0x80) { /* no character begins here */
            if (!append(to, text, 1)) return false;
            text++;
            n--;
        }
    }
    return true;
}

static bool run_step(buffer *to, const llrti_normalizer_step *step, const char *text, size_t n)
{
    switch (step->kind) {
    case LLRTI_NORMALIZE_PREPEND:
        return (n == 0 || append(to, step->a, step->n_a)) && append(to, text, n);
    case LLRTI_NORMALIZE_REPLACE:
        return replace_all(to, step, text, n);
    case LLRTI_NORMALIZE_TRIM_SPACES:
        return trim_spaces(to, text, n);
    case LLRTI_NORMALIZE_NFC:
    case LLRTI_NORMALIZE_NFD:
    case LLRTI_NORMALIZE_NFKC:
    case LLRTI_NORMALIZE_NFKD:
        return apply_form(to, step->kind, text, n);
    }
    return false;
}

llrt_status llrti_normalizer_run(const llrti_normalizer *normalizer,
                                 llrti_normalizer_scratch *scratch, const char **text, size_t *n,
                                 llrt_error *err)
{
    buffer to = {scratch, 0};
    if (normalizer->is_folding_space && find_block(*text, *n, folded_space, 3)) {
        scratch->text[0].n = 0;
        char *const out = grow(&to, *n);
        if (!out) return llrti_fail_nomem(err, "normalized text", *n);
        scratch->text[0].n = llrti_normalizer_fold(*text, *n, out);
        *text = out;
        *n = scratch->text[0].n;
        to.which = 1;
    }
    for (uint32_t i = 0; i < normalizer->n_step; i++) {
        scratch->text[to.which].n = 0;
        /* The buffer exists even for empty text, so that the result is never NULL. */
        if (!grow(&to, *n + 16) || !run_step(&to, &normalizer->step[i], *text, *n))
            return llrti_fail_nomem(err, "normalized text", *n);
        *text = scratch->text[to.which].data;
        *n = scratch->text[to.which].n;
        to.which = 1 - to.which;
    }
    return LLRT_OK;
}
