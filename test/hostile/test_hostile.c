/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend against the formulas of backend.h and against the CPU backend.
 *
 * Small networks that use every operator are built by hand. With float32 weights their outputs are
 * held against a computation in double over whole sequences; with weights of every element type the
 * same steps run on two sides, the plug-in, the CPU backend, or both in two stages, and logits,
 * hidden values, pages, states, sums of squares and selections must agree bit for bit.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <llrt/backend.h>

#include "cpu_backend.h"
#include "isa.h"
#include "net_drive.h"
#include "net_reference.h"

/* ---- The formulas ---- */

#define STEP_MAX 16

/* What a step computed, and of which tokens. */
typedef struct record {
    outcome out;
    uint32_t n_seq, n_out, row_begin[2], n_row[2], first[2], out_row[DRIVE_ROWS];
    int which[2];
} record;

typedef struct formulas {
    net *n;
    counting_host host;
    side s;
    script x;
    reference r;
    record record[STEP_MAX];
    uint32_t n_record, n_token[2];
    double *square[NET_MAX];
    uint64_t *count[NET_MAX];
    double worst;
} formulas;

static void record_step(formulas *f)
{
    record *const c = &f->record[f->n_record++];
    side_step(&f->s, &f->x.step, &c->out);
    c->n_seq = f->x.step.n_seq;
    c->n_out = f->x.step.n_out;
    memcpy(c->out_row, f->x.out_row, sizeof c->out_row);
    for (uint32_t i = 0; i < c->n_seq; i++) {
        c->which[i] = f->x.seq[i].page[0] == f->x.t[1].table[0];
        c->row_begin[i] = f->x.seq[i].row_begin;
        c->n_row[i] = f->x.seq[i].n_row;
        c->first[i] = (uint32_t)f->x.seq[i].pos_begin;
        const uint32_t end = c->first[i] + c->n_row[i];
        if (end > f->n_token[c->which[i]]) f->n_token[c->which[i]] = end;
    }
}

static void run_reference(formulas *f, int which, uint32_t n_token)
{
    const timeline *const t = &f->x.t[which];
    const uint32_t width = f->n->value[f->n->op[0].out].width;
    float *const embedding = malloc(n_token * width * sizeof *embedding);
    reference_adapter adapter[2];
    for (uint32_t i = 0; i < t->n_adapter; i++)
        adapter[i] = (reference_adapter){f->x.part[t->adapter[i]], f->x.n_part[t->adapter[i]],
                                         t->adapter_scale[i]};
    for (uint32_t i = 0, given = 0; i < n_token; i++)
        if (t->token[i] < 0)
            memcpy(embedding + given++ * width, t->embedding + i * NET_WIDTH,
                   width * sizeof(float));
    const reference_input in = {.n = n_token,
                                .token = t->token,
                                .embedding = embedding,
                                .position = t->position,
                                .token_type = t->type,
                                .end = t->end,
                                .adapter = adapter,
                                .n_adapter = t->n_adapter};
    reference_run(&f->r, &in);
    free(embedding);
}

/* All rows of a record that belong to the sequence the reference has computed. */
static void check_record(formulas *f, const record *c, int which)
{
    for (uint32_t o = 0; o < f->n->program.n_output; o++) {
        const uint32_t value = f->n->output[o];
        const llrt_value *const v = &f->n->value[value];
        const size_t width = (size_t)v->n_head * v->width;
        const bool is_wanted = v->rows == LLRT_ROWS_OUT;
        double largest = 0;
        for (uint32_t i = 0; i < f->n_token[which] * width; i++)
            largest = fmax(largest, fabs(f->r.value[value][i]));
        for (uint32_t k = 0;
             k < (is_wanted ? c->n_out : c->row_begin[c->n_seq - 1] + c->n_row[c->n_seq - 1]);
             k++) {
            const uint32_t row = is_wanted ? c->out_row[k] : k;
            const uint32_t s = c->n_seq > 1 && row >= c->row_begin[1];
            if (c->which[s] != which) continue;
            const uint32_t t = c->first[s] + row - c->row_begin[s];
            for (size_t j = 0; j < width; j++) {
                const double is = (double)c->out.value[o][k * width + j];
                const double error = fabs(is - f->r.value[value][t * width + j]) / largest;
                f->worst = fmax(f->worst, error);
                if (!(error < 1e-4))
                    fail_msg("%s: output %u, token %u, element %zu: %g, not %g", f->n->name, o, t,
                             j, is, f->r.value[value][t * width + j]);
            }
        }
    }
}

static void keep_squares(formulas *f)
{
    for (uint32_t i = 0; i < f->n->n_tensor; i++) {
        const llrt_tensor_desc *const t = &f->n->tensor[i];
        f->square[i] = malloc(t->dim[0] * t->dim[2] * sizeof(double));
        f->count[i] = malloc(t->dim[2] * sizeof(uint64_t));
        side_squares(&f->s, i, f->square[i], f->count[i]);
    }
}

/* Those of tensors that multiply rows of all tokens. */
static void check_squares(const formulas *f)
{
    for (uint32_t i = 0; i < f->n->n_tensor; i++) {
        const llrt_tensor_desc *const t = &f->n->tensor[i];
        double largest = 0;
        for (uint64_t j = 0; j < t->dim[0] * t->dim[2]; j++)
            largest = fmax(largest, f->r.square[i][j]);
        for (uint64_t j = 0; largest > 0 && j < t->dim[2]; j++)
            assert_int_equal(f->count[i][j], f->r.count[i][j]);
        for (uint64_t j = 0; largest > 0 && j < t->dim[0] * t->dim[2]; j++)
            if (!(fabs(f->square[i][j] - f->r.square[i][j]) <= 1e-4 * largest))
                fail_msg("%s: squares of %s: %g, not %g", f->n->name, t->name, f->square[i][j],
                         f->r.square[i][j]);
    }
}

static void check_formulas(uint32_t kind)
{
    static const uint32_t device[2] = {0, 1};
    const llrt_backend *const backend[2] = {&drive_hostile, &drive_hostile};
    formulas *const f = calloc(1, sizeof *f);
    f->n = net_create(kind, true);
    counting_host_init(&f->host);
    const llrt_model_desc desc = net_desc(f->n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    side_open(&f->s, backend, device, &f->host.host, f->n, &desc, 0);
    script_create(&f->x, f->n);
    side_adapt(&f->s, &f->x);
    reference_create(&f->r, f->n);
    for (;;) {
        if (script_is_rewinding(&f->x)) keep_squares(f);
        if (!script_next(&f->x)) break;
        record_step(f);
        if (!f->n->is_whole) continue;
        for (uint32_t i = 0; i < f->x.step.n_seq; i++) {
            const record *const c = &f->record[f->n_record - 1];
            f->n_token[c->which[i]] = c->n_row[i];
            run_reference(f, c->which[i], c->n_row[i]);
            check_record(f, c, c->which[i]);
        }
    }
    if (f->n->is_whole) keep_squares(f);
    for (int which = 0; which < 2 && !f->n->is_whole; which++) {
        run_reference(f, which, f->n_token[which]);
        for (uint32_t i = 0; i < f->n_record; i++) check_record(f, &f->record[i], which);
    }
    check_squares(f);
    print_message("%s: largest difference %.2g of the largest value\n", f->n->name, f->worst);
    for (uint32_t i = 0; i < f->n_record; i++) outcome_free(&f->record[i].out);
    for (uint32_t i = 0; i < NET_MAX; i++) {
        free(f->square[i]);
        free(f->count[i]);
    }
    reference_free(&f->r);
    script_free(&f->x);
    side_close(&f->s);
    assert_int_equal(f->host.total, 0);
    net_free(f->n);
    free(f);
}

static void test_means_what_the_formulas_say(void **state)
{
    for (uint32_t kind = 0; kind < NET_KINDS; kind++) check_formulas(kind);
}

/* ---- Same bits ---- */

/* Two sides of a comparison: which backends, and where they are cut. */
typedef struct pair {
    const llrt_backend *a[2], *b[2];
    uint32_t cut_a, cut_b;
    const char *isa_b;
} pair;

static void check_pair(const pair *p, uint32_t kind, llrt_type kv_type, llrt_precision precision)
{
    static const uint32_t device_a[2] = {0, 0}, device_b[2] = {0, 0};
    char what[128];
    counting_host host;
    side s[2];
    script x;
    outcome out[2];
    counting_host_init(&host);
    net *const n = net_create(kind, false);
    llrt_model_desc desc = net_desc(n, kv_type, precision);
    snprintf(what, sizeof what, "%s, kv type %u, precision %u, cut %u and %u, %s", n->name, kv_type,
             precision, p->cut_a, p->cut_b, p->isa_b ? p->isa_b : "");
    side_open(&s[0], p->a, device_a, &host.host, n, &desc, p->cut_a);
    desc.isa = p->isa_b;
    side_open(&s[1], p->b, device_b, &host.host, n, &desc, p->cut_b);
    script_create(&x, n);
    for (int i = 0; i < 2; i++) side_adapt(&s[i], &x);
    while (script_next(&x)) {
        for (int i = 0; i < 2; i++) side_step(&s[i], &x.step, &out[i]);
        outcome_compare(n, &out[0], &out[1], &x.step, what);
        for (int i = 0; i < 2; i++) outcome_free(&out[i]);
    }
    side_compare(&s[0], &s[1], &x, kv_type, what);
    script_free(&x);
    for (int i = 0; i < 2; i++) side_close(&s[i]);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static const llrt_type kv_types[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};

static void load_cpu(llrt_backend *cpu)
{
    cpu->struct_size = sizeof *cpu;
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, cpu, NULL), LLRT_OK);
}

/* Cut in the middle. */
static void test_two_stages_equal_one(void **state)
{
    for (uint32_t kind = 0; kind < NET_KINDS; kind++) {
        net *const n = net_create(kind, false);
        const uint32_t cut = (n->op[n->program.n_op - 1].layer + 1) / 2;
        const pair p = {{&drive_hostile, NULL}, {&drive_hostile, &drive_hostile}, 0, cut, NULL};
        if (cut) check_pair(&p, kind, LLRT_TYPE_F16, LLRT_PRECISION_F32);
        net_free(n);
    }
}

static void test_same_bits_as_reference(void **state)
{
    llrt_backend cpu = {0};
    load_cpu(&cpu);
    const pair p = {{&drive_hostile, NULL}, {&cpu, NULL}, 0, 0, "ref"};
    for (uint32_t kind = 0; kind < NET_KINDS; kind++)
        for (uint32_t i = kind % 2; i < 4; i += 2)
            check_pair(&p, kind, kv_types[i], i / 2 ? LLRT_PRECISION_PORTABLE : LLRT_PRECISION_F32);
}

/*
 * float32 and portable arithmetic mean the same on every instruction set; those between the first
 * vectors and the best of this machine have kernels of their own for few operators only.
 */
static void test_same_bits_with_vectors(void **state)
{
    llrt_backend cpu = {0};
    const char *level;
    load_cpu(&cpu);
    for (uint32_t i = 1; (level = llrti_isa_level(i)) != NULL; i++) {
        if (i > 1 && llrti_isa_level(i + 1)) continue;
        for (uint32_t kind = 0; kind < NET_KINDS; kind++) {
            const pair p = {{&drive_hostile, NULL}, {&cpu, NULL}, 0, 0, level};
            check_pair(&p, kind, kind % 2 ? LLRT_TYPE_Q8_0 : LLRT_TYPE_BF16,
                       (i + kind) % 2 ? LLRT_PRECISION_F32 : LLRT_PRECISION_PORTABLE);
        }
    }
}

/* Cut after any layer, one half on the CPU and the other on the plug-in. */
static void test_same_bits_with_mixed_stages(void **state)
{
    llrt_backend cpu = {0};
    load_cpu(&cpu);
    for (uint32_t kind = 0; kind < NET_KINDS; kind++) {
        net *const n = net_create(kind, false);
        const uint32_t last = n->op[n->program.n_op - 1].layer;
        for (uint32_t cut = 1; cut <= last; cut++) {
            const bool is_low = (cut + kind) % 2;
            const pair p = {{&cpu, NULL},
                            {is_low ? &cpu : &drive_hostile, is_low ? &drive_hostile : &cpu},
                            0,
                            cut,
                            NULL};
            check_pair(&p, kind, kv_types[(cut + kind) % 4],
                       cut % 2 ? LLRT_PRECISION_PORTABLE : LLRT_PRECISION_F32);
        }
        net_free(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_means_what_the_formulas_say),
        cmocka_unit_test(test_two_stages_equal_one),
        cmocka_unit_test(test_same_bits_as_reference),
        cmocka_unit_test(test_same_bits_with_vectors),
        cmocka_unit_test(test_same_bits_with_mixed_stages),
    };
    return cmocka_run_group_tests_name("hostile", tests, drive_load, drive_unload);
}
