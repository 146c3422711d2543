/* SPDX-License-Identifier: MIT */
/*
 * What the CPU backend must refuse, count and survive: wrong programs and steps, the memory plan, failing
 * allocations, cancelling, calls out of order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdatomic.h>

#include "cpu_fixture.h"

/* ---- Wrong programs ------------------------------------------------------------------------- */

static llrt_op *find_op(cpu_model *m, llrt_op_kind kind)
{
    for (uint32_t i = 0; i < m->program.n_op; i++)
        if (m->op[i].kind == kind) return &m->op[i];
    fail_msg("no op of kind %u", kind);
    return NULL;
}

enum wrong {
    WRONG_KIND,
    WRONG_IN,
    WRONG_OUT,
    WRONG_N_IN,
    WRONG_TWICE,
    WRONG_BEFORE,
    WRONG_WEIGHT,
    WRONG_SHAPE,
    WRONG_BIAS,
    WRONG_GAIN,
    WRONG_NO_GAIN,
    WRONG_EPS,
    WRONG_N_ROT,
    WRONG_ROT_ODD,
    WRONG_FREQ_NAN,
    WRONG_FREQ_NULL,
    WRONG_PAIRS,
    WRONG_KV,
    WRONG_MASK,
    WRONG_SCALE,
    WRONG_GROUP,
    WRONG_ACT,
    WRONG_LOGITS,
    WRONG_LOGITS_ROWS,
    WRONG_OUTPUT,
    WRONG_VALUE_ROWS,
    WRONG_VALUE_WIDTH,
    WRONG_TYPE,
    WRONG_KV_TYPE,
    WRONG_ISA,
    WRONG_DEVICE,
    WRONG_DIM,
    WRONG_PRECISION,
    WRONG_PAGE_GROUP,
    WRONG_V_IN_K,
    WRONG_V_WIDER,
    WRONG_V_INPUT,
    WRONG_HEADS,
    WRONG_SINK,
    WRONG_SINK_SIZE,
    WRONG_SLOPE,
    WRONG_AXIS,
    WRONG_LIMIT,
    WRONG_OFFSET,
    WRONG_TYPES,
    WRONG_N_KINDS
};

/* Changes one thing. Returns a word the error's text must contain; its status goes to *status. */
static const char *spoil(cpu_model *m, enum wrong wrong, llrt_status *status)
{
    static const uint32_t device[1] = {1};
    static const float slope[6] = {0, 0.5f, 0.25f, 1, 2, NAN};
    static const uint8_t axis[8] = {0, 1, 2, 0, 1, 2, 0, 3};
    *status = LLRT_ERR_ARGUMENT;
    switch (wrong) {
    case WRONG_KIND:
        m->op[3].kind = 99;
        *status = LLRT_ERR_UNSUPPORTED;
        return "op 3";
    case WRONG_IN:
        find_op(m, LLRT_OP_ADD)->in[1] = 5000;
        return "ADD";
    case WRONG_OUT:
        find_op(m, LLRT_OP_ADD)->out = LLRT_NONE;
        return "ADD";
    case WRONG_N_IN:
        find_op(m, LLRT_OP_ATTENTION)->n_in = 2;
        return "ATTENTION";
    case WRONG_TWICE:
        m->op[2].out = m->op[1].out;
        return "op 2";
    case WRONG_BEFORE:
        find_op(m, LLRT_OP_GLU)->in[0] = m->program.logits;
        return "GLU";
    case WRONG_WEIGHT:
        find_op(m, LLRT_OP_LINEAR)->weight[0] = m->desc.n_tensor;
        return "LINEAR";
    case WRONG_SHAPE:
        find_op(m, LLRT_OP_LINEAR)->weight[0] = 0;
        return "embed";
    case WRONG_BIAS:
        find_op(m, LLRT_OP_LINEAR)->weight[1] = 1;
        return "gain";
    case WRONG_GAIN:
        find_op(m, LLRT_OP_RMS_NORM)->weight[0] = 0;
        return "RMS_NORM";
    case WRONG_NO_GAIN:
        find_op(m, LLRT_OP_EMBED)->weight[0] = LLRT_NONE;
        return "EMBED";
    case WRONG_EPS:
        find_op(m, LLRT_OP_RMS_NORM)->u.norm.eps = NAN;
        return "eps";
    case WRONG_N_ROT:
        find_op(m, LLRT_OP_ROPE)->u.rope.n_rot = 22;
        return "n_rot";
    case WRONG_ROT_ODD:
        find_op(m, LLRT_OP_ROPE)->u.rope.n_rot = 7;
        return "n_rot";
    case WRONG_FREQ_NAN:
        m->inv_freq[1] = NAN;
        return "inv_freq";
    case WRONG_FREQ_NULL:
        find_op(m, LLRT_OP_ROPE)->u.rope.inv_freq = NULL;
        return "inv_freq";
    case WRONG_PAIRS:
        find_op(m, LLRT_OP_ROPE)->u.rope.pairs = 2;
        *status = LLRT_ERR_UNSUPPORTED;
        return "pairing";
    case WRONG_KV:
        find_op(m, LLRT_OP_ATTENTION)->u.attention.kv = 9;
        return "kv slot 9";
    case WRONG_MASK:
        find_op(m, LLRT_OP_ATTENTION)->u.attention.mask = 2;
        *status = LLRT_ERR_UNSUPPORTED;
        return "mask";
    case WRONG_SCALE:
        find_op(m, LLRT_OP_ATTENTION)->u.attention.scale = INFINITY;
        return "scale";
    case WRONG_GROUP:
        m->kv[0].n_head = 4;
        return "query heads";
    case WRONG_ACT:
        find_op(m, LLRT_OP_GLU)->u.act.act = 99;
        *status = LLRT_ERR_UNSUPPORTED;
        return "activation 99";
    case WRONG_LOGITS:
        m->program.logits = 4000;
        return "output";
    case WRONG_LOGITS_ROWS:
        m->program.logits = 0;
        return "logits";
    case WRONG_OUTPUT:
        m->output[0] = 4000;
        return "output";
    case WRONG_VALUE_ROWS:
        m->value[3].rows = 2;
        *status = LLRT_ERR_UNSUPPORTED;
        return "value 3";
    case WRONG_VALUE_WIDTH:
        m->value[3].width = 0;
        return "value 3";
    case WRONG_TYPE:
        m->tensor_desc[0].type = 77;
        *status = LLRT_ERR_UNSUPPORTED;
        return "77";
    case WRONG_KV_TYPE:
        m->desc.kv_type = LLRT_TYPE_Q4_0;
        *status = LLRT_ERR_UNSUPPORTED;
        return "Q4_0";
    case WRONG_ISA:
        m->desc.isa = "avx9000";
        *status = LLRT_ERR_UNSUPPORTED;
        return "ref";
    case WRONG_DEVICE:
        m->desc.n_device = 1;
        m->desc.device = device;
        *status = LLRT_ERR_UNSUPPORTED;
        return "device";
    case WRONG_DIM:
        m->tensor_desc[0].n_dim = 5;
        return "embed";
    case WRONG_PAGE_GROUP:
        m->kv[1].group = 2;
        *status = LLRT_ERR_UNSUPPORTED;
        return "kv slot 1: page group 2";
    case WRONG_V_IN_K:
        m->kv[1].v_in_k = 2;
        *status = LLRT_ERR_UNSUPPORTED;
        return "v_in_k 2";
    case WRONG_V_WIDER:
        m->kv[1].v_in_k = 1;
        m->kv[1].v_dim = m->kv[1].k_dim + 1;
        return "at most K's 20";
    case WRONG_V_INPUT:
        m->kv[0].v_in_k = 1;
        return "3 inputs, expected 2";
    case WRONG_HEADS:
        m->value[find_op(m, LLRT_OP_ATTENTION)->out].n_head = 1u << 31;
        return "heads";
    case WRONG_SINK:
        find_op(m, LLRT_OP_ATTENTION)->weight[0] = m->desc.n_tensor;
        return "ATTENTION";
    case WRONG_SINK_SIZE:
        find_op(m, LLRT_OP_ATTENTION)->weight[0] = 1;
        return "expected 6 elements";
    case WRONG_SLOPE:
        find_op(m, LLRT_OP_ATTENTION)->u.attention.slope = slope;
        return "slope";
    case WRONG_AXIS:
        find_op(m, LLRT_OP_ROPE)->u.rope.axis = axis;
        return "axis 3 of pair 7";
    case WRONG_LIMIT:
        find_op(m, LLRT_OP_GLU)->u.act.limit = -1;
        return "limit";
    case WRONG_OFFSET:
        find_op(m, LLRT_OP_GLU)->u.act.offset = INFINITY;
        return "offset";
    case WRONG_TYPES:
        find_op(m, LLRT_OP_RMS_NORM)->kind = LLRT_OP_TOKEN_TYPE;
        find_op(m, LLRT_OP_TOKEN_TYPE)->weight[0] = 3;
        return "TOKEN_TYPE";
    default:
        m->desc.precision = 9;
        *status = LLRT_ERR_UNSUPPORTED;
        return "precision";
    }
}

static void test_wrong_programs_are_refused_by_name(void **state)
{
    const cpu_config c = cpu_config_small();
    for (int wrong = 0; wrong < WRONG_N_KINDS; wrong++) {
        cpu_model *const m = malloc(sizeof *m);
        llrt_error err = LLRT_ERROR_INIT;
        llrt_status expected;
        llrt_memory_use a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        void *model = m;
        assert_non_null(m);
        cpu_model_build(m, &c);
        cpu_host_open(&m->h, 1);
        const char *const word = spoil(m, (enum wrong)wrong, &expected);
        const llrt_status status = m->h.table.model_create(&m->h.host, &m->desc, &model, &err);
        if (status != expected || !strstr(err.text, word))
            fail_msg("change %d: status %d and \"%s\", expected %d and \"%s\"", wrong, status,
                     err.text, expected, word);
        assert_null(model);
        assert_int_equal(m->h.table.plan(&m->h.host, &m->desc, &c.limits, &a, &b, &err), expected);
        cpu_host_close(&m->h);
        for (uint32_t i = 0; i < m->desc.n_tensor; i++) cpu_tensor_free(&m->tensor[i]);
        free(m);
    }
}

/* Random damage to a program's numbers: an error or a model, never a crash; the sanitizers watch. */
static void test_random_damage_is_survived(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = malloc(sizeof *m), *const pristine = malloc(sizeof *m);
    uint64_t seed = 11;
    assert_non_null(m);
    assert_non_null(pristine);
    cpu_model_build(pristine, &c);
    cpu_host_open(&pristine->h, 1);
    for (int round = 0; round < 20000; round++) {
        llrt_error err = LLRT_ERROR_INIT;
        void *model = NULL;
        memcpy(m->value, pristine->value, sizeof m->value);
        memcpy(m->op, pristine->op, sizeof m->op);
        m->program = pristine->program;
        m->program.value = m->value;
        m->program.op = m->op;
        llrt_model_desc desc = pristine->desc;
        desc.program = &m->program;
        for (uint32_t k = 0; k <= cpu_random(&seed) % 3; k++) {
            llrt_op *const op = &m->op[cpu_random(&seed) % m->program.n_op];
            const uint32_t number =
                cpu_random(&seed) % 3 ? cpu_random(&seed) % 100 : cpu_random(&seed);
            switch (cpu_random(&seed) % 6) {
            case 0:
                op->kind = number % 26;
                break;
            case 1:
                op->in[cpu_random(&seed) % 6] = number;
                break;
            case 2:
                op->out = number;
                break;
            case 3:
                op->weight[cpu_random(&seed) % 2] = number;
                break;
            case 4:
                op->n_in = number % 8;
                break;
            default:
                m->value[cpu_random(&seed) % m->program.n_value].width = number % 256;
                break;
            }
            if (op->kind == LLRT_OP_ROPE && op->u.rope.inv_freq != pristine->inv_freq)
                op->kind = LLRT_OP_ADD;
        }
        if (pristine->h.table.model_create(&pristine->h.host, &desc, &model, &err) == LLRT_OK)
            pristine->h.table.model_free(model);
        else
            assert_true(err.text[0] != 0);
    }
    cpu_host_close(&pristine->h);
    for (uint32_t i = 0; i < pristine->desc.n_tensor; i++) cpu_tensor_free(&pristine->tensor[i]);
    free(m);
    free(pristine);
}

/* ---- Wrong steps ---------------------------------------------------------------------------- */

static void test_wrong_steps_are_refused(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = cpu_model_open(&c);
    int32_t token[4] = {1, 2, 3, 4}, best[4];
    float logit[4];
    uint32_t page[2] = {0, 1}, out_row[2] = {0, 3};
    llrt_step_seq seq = {.n_row = 4, .n_page = 1, .page = {page}};
    llrt_select select = {.out_row = 1, .n_best = 4, .repetition = 1};
    llrt_select_result result = {.token = best, .logit = logit};
    const int32_t bad_id[1] = {130};
    const float bias[1] = {0};
    const llrt_step_desc good = {.struct_size = sizeof good,
                                 .n_row = 4,
                                 .n_seq = 1,
                                 .n_out = 2,
                                 .n_select = 1,
                                 .token = token,
                                 .seq = &seq,
                                 .out_row = out_row,
                                 .select = &select,
                                 .result = &result};
    for (int i = 0; i < 22; i++) {
        llrt_error err = LLRT_ERROR_INIT;
        llrt_step_desc step = good;
        const llrt_select saved_select = select;
        const llrt_step_seq saved_seq = seq;
        switch (i) {
        case 0:
            token[1] = 130;
            break;
        case 1:
            token[1] = -2;
            break;
        case 2:
            token[1] = -1;
            break; /* no embedding */
        case 3:
            page[0] = c.limits.n_page[0];
            break;
        case 4:
            seq.pos_begin = -1;
            break;
        case 5:
            seq.pos_begin = 61;
            break; /* needs a second page */
        case 6:
            seq.pos_begin = INT32_MAX;
            break;
        case 7:
            seq.n_row = 5;
            break;
        case 8:
            seq.n_row = 3;
            break;
        case 9:
            seq.row_begin = 1;
            break;
        case 10:
            out_row[1] = 4;
            break;
        case 11:
            out_row[1] = 0;
            break;
        case 12:
            step.program = 1;
            break;
        case 13:
            step.n_row = 0;
            break;
        case 14:
            step.n_row = c.limits.n_row + 1;
            break;
        case 15:
            step.n_seq = c.limits.n_seq + 1;
            break;
        case 16:
            step.n_out = c.limits.n_out + 1;
            break;
        case 17:
            select.out_row = 2;
            break;
        case 18:
            select.n_best = LLRT_SELECT_MAX + 1;
            break;
        case 19:
            select.n_bias = 1, select.bias_token = bad_id, select.bias = bias;
            break;
        case 20:
            step.token = NULL;
            break;
        default:
            step.result = NULL;
            break;
        }
        const llrt_status status = m->h.table.step_submit(m->runtime, &step, &err);
        if (status != LLRT_ERR_ARGUMENT || !err.text[0])
            fail_msg("change %d: status %d, \"%s\"", i, status, err.text);
        assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_ERR_STATE);
        token[1] = 2, page[0] = 0, out_row[1] = 3, select = saved_select, seq = saved_seq;
    }
    llrt_error err = LLRT_ERROR_INIT;
    float row[256];
    assert_int_equal(m->h.table.value_read(m->runtime, m->program.logits, 0, 1, row, &err),
                     LLRT_ERR_STATE);
    assert_int_equal(m->h.table.step_submit(m->runtime, &good, &err), LLRT_OK);
    assert_int_equal(m->h.table.step_submit(m->runtime, &good, &err), LLRT_ERR_STATE);
    assert_int_equal(m->h.table.page_copy(m->runtime, 0, 0, 1, 4, &err), LLRT_ERR_STATE);
    assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
    assert_int_equal(m->h.table.value_read(m->runtime, m->program.logits, 0, 3, row, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.value_read(m->runtime, 1, 0, 1, row, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.value_read(m->runtime, m->output[0], 0, 1, row, &err), LLRT_OK);
    assert_int_equal(m->h.table.page_copy(m->runtime, 0, c.limits.n_page[0], 0, 1, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.page_copy(m->runtime, 0, 1, 0, 65, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.page_read(m->runtime, 0, 0, 1, row, 7, &err), LLRT_ERR_ARGUMENT);
    cpu_model_close(m);
}

/* What a step of pages in two groups, flags and token types must keep to. */
static void test_steps_reach_only_pages_that_exist(void **state)
{
    cpu_config c = cpu_config_small();
    c.is_grouped = 1;
    c.window = 70;
    c.limits.n_page[1] = 3;
    cpu_model *const m = cpu_model_open(&c);
    const int32_t token[2] = {1, 2};
    const uint32_t full[4] = {0, 1, 2, 23}, none_before[4] = {LLRT_NONE, 2, 0, 1},
                   none_seen[4] = {LLRT_NONE, LLRT_NONE, 0, 1}, too_large[4] = {0, 1, 2, 3};
    static const struct {
        int table,
            pos_begin; /* of the window group: 0 none_before, 1 none_seen, 2 too_large, 3 NULL */
        uint32_t n_page, flags;
        llrt_status status;
    } cases[] = {
        {0, 133, 3, 0, LLRT_OK}, /* 64 is the first position that 133 sees */
        {0, 133, 3, 1, LLRT_OK},
        {0, 132, 3, 0, LLRT_ERR_ARGUMENT}, /* and 63 that 132 sees */
        {1, 133, 3, 0, LLRT_ERR_ARGUMENT},
        {1, 197, 4, 0, LLRT_OK},
        {1, 196, 4, 0, LLRT_ERR_ARGUMENT},
        {2, 190, 3, 0, LLRT_OK},
        {2, 191, 4, 0, LLRT_ERR_ARGUMENT},
        {3, 133, 3, 0, LLRT_ERR_ARGUMENT},
        {0, 191, 3, 0, LLRT_ERR_ARGUMENT}, /* its second row is on another page */
        {0, 191, 4, 0, LLRT_OK},
        {0, 133, 3, 2, LLRT_ERR_ARGUMENT}, /* no such flag */
    };
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        const uint32_t *const tables[4] = {none_before, none_seen, too_large, NULL};
        llrt_error err = LLRT_ERROR_INIT;
        const llrt_step_seq seq = {.n_row = 2,
                                   .pos_begin = cases[i].pos_begin,
                                   .n_page = cases[i].n_page,
                                   .flags = cases[i].flags,
                                   .page = {full, tables[cases[i].table]}};
        const llrt_step_desc step = {
            .struct_size = sizeof step, .n_row = 2, .n_seq = 1, .token = token, .seq = &seq};
        const llrt_status status = m->h.table.step_submit(m->runtime, &step, &err);
        if (status != cases[i].status) fail_msg("case %zu: status %d, \"%s\"", i, status, err.text);
        if (status == LLRT_OK) assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
    }
    cpu_model_close(m);
}

/* Programs that see whole sequences and add token types. */
static void test_steps_of_whole_sequences(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = malloc(sizeof *m);
    llrt_error err = LLRT_ERROR_INIT;
    assert_non_null(m);
    cpu_model_build(m, &c);
    find_op(m, LLRT_OP_ATTENTION)->u.attention.mask = LLRT_MASK_FULL;
    llrt_op *const op = find_op(m, LLRT_OP_RMS_NORM);
    op->kind = LLRT_OP_TOKEN_TYPE; /* one type: its weight has one row */
    cpu_host_open(&m->h, 1);
    if (m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err) < 0)
        fail_msg("%s", err.text);
    cpu_model_fill(m, m->model);
    assert_int_equal(m->h.table.runtime_create(m->model, &c.limits, &m->runtime, &err), LLRT_OK);
    const int32_t token[3] = {1, 2, 3};
    const uint32_t page[1] = {5};
    uint8_t type[3] = {0, 0, 0};
    llrt_step_seq seq = {.n_row = 3, .n_page = 1, .page = {page}};
    const llrt_step_desc step = {.struct_size = sizeof step,
                                 .n_row = 3,
                                 .n_seq = 1,
                                 .token = token,
                                 .token_type = type,
                                 .seq = &seq};
    for (int i = 0; i < 4; i++) {
        type[2] = i == 1;
        seq.pos_begin = i == 2;
        const llrt_status status = m->h.table.step_submit(m->runtime, &step, &err);
        assert_int_equal(status, i % 3 ? LLRT_ERR_ARGUMENT : LLRT_OK);
        if (i == 1) assert_non_null(strstr(err.text, "row 2 has token type 1"));
        if (i == 2) assert_non_null(strstr(err.text, "starts at position 1"));
        if (status == LLRT_OK) assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
    }
    cpu_model_close(m);
}

static void test_weights_must_be_complete(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = malloc(sizeof *m);
    llrt_error err = LLRT_ERROR_INIT;
    assert_non_null(m);
    cpu_model_build(m, &c);
    cpu_host_open(&m->h, 1);
    assert_int_equal(m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err), LLRT_OK);
    assert_int_equal(m->h.table.runtime_create(m->model, &c.limits, &m->runtime, &err),
                     LLRT_ERR_STATE);
    assert_null(m->runtime);
    assert_int_equal(m->h.table.weight_put(m->model, 0, 1, 1, m->tensor[0].bytes, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.weight_put(m->model, 0, 0, 1, m->tensor[0].bytes, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.weight_put(m->model, 0, 128, 64, m->tensor[0].bytes, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.weight_put(m->model, 999, 0, 64, m->tensor[0].bytes, &err),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.weight_put(m->model, 0, 0, 64, NULL, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(m->h.table.weight_put(m->model, 0, 0, 64, m->tensor[0].bytes, &err), LLRT_OK);
    assert_int_equal(m->h.table.model_finish(m->model, &err), LLRT_ERR_STATE);
    assert_non_null(strstr(err.text, "embed"));
    m->h.table.model_free(m->model);
    cpu_host_close(&m->h);
    for (uint32_t i = 0; i < m->desc.n_tensor; i++) cpu_tensor_free(&m->tensor[i]);
    free(m);
}

/* ---- Memory --------------------------------------------------------------------------------- */

static void test_plan_equals_what_is_requested(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (uint32_t i = 0; i < 8; i++) {
        cpu_config c = cpu_config_small();
        llrt_memory_use a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        llrt_error err = LLRT_ERROR_INIT;
        c.weight_type = type[i % 4];
        c.kv_type = type[(i + 1) % 4];
        c.precision = i % 3;
        c.weights = i >= 6 ? LLRT_WEIGHTS_MAPPED : LLRT_WEIGHTS_REPACKED;
        c.n_worker = 1 + i % 3;
        c.limits.n_row = 1 + 57 * i;
        c.limits.n_seq = 1 + i % 4;
        c.limits.n_out = i;
        c.limits.n_page[0] = 1 + 5 * i;
        c.is_grouped = i % 3 == 1;
        c.window = 20 * i;
        c.limits.n_page[1] = c.is_grouped || i % 2 ? 2 + 3 * i : 0;
        cpu_model *const m = malloc(sizeof *m);
        assert_non_null(m);
        cpu_model_build(m, &c);
        cpu_host_open(&m->h, c.n_worker);
        assert_int_equal(m->h.table.plan(&m->h.host, &m->desc, &c.limits, &a, &b, &err), LLRT_OK);
        for (int k = 0; k < LLRT_MEMORY_COUNT; k++) assert_int_equal(m->h.live[k], 0);
        assert_int_equal(m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err), LLRT_OK);
        cpu_model_fill(m, m->model);
        for (int k = 0; k < LLRT_MEMORY_COUNT; k++) assert_int_equal(m->h.live[k], a.bytes[k]);
        assert_int_equal(m->h.table.runtime_create(m->model, &c.limits, &m->runtime, &err),
                         LLRT_OK);
        for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
            assert_int_equal(m->h.live[k], a.bytes[k] + b.bytes[k]);
        const uint64_t n_alloc = m->h.n_alloc;
        cpu_seq s = cpu_seq_make(m, 0, 1 + i);
        const uint32_t n = 1;
        if (c.limits.n_out) assert_int_equal(cpu_seq_step(m, &s, &n, 1, &err), LLRT_OK);
        assert_int_equal(m->h.n_alloc, n_alloc); /* a step allocates nothing */
        cpu_seq_free(&s);
        cpu_model_close(m);
    }
}

static void test_absurd_limits_are_refused(void **state)
{
    cpu_config c = cpu_config_small();
    c.is_grouped = 1;
    c.limits.n_page[1] = 1;
    cpu_model *const m = cpu_model_open(&c);
    for (int i = 0; i < 6; i++) {
        llrt_runtime_limits limits = c.limits;
        llrt_error err = LLRT_ERROR_INIT;
        void *runtime = m;
        if (i == 0) limits.n_row = 0;
        if (i == 1) limits.n_row = UINT32_MAX;
        if (i == 2) limits.n_seq = 0;
        if (i == 3) limits.n_page[0] = 0;
        if (i == 4) limits.struct_size = 4;
        if (i == 5) limits.n_page[1] = 0;
        assert_int_equal(m->h.table.runtime_create(m->model, &limits, &runtime, &err),
                         LLRT_ERR_ARGUMENT);
        assert_null(runtime);
    }
    cpu_model_close(m);
}

static void test_every_failing_allocation_is_survived(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = malloc(sizeof *m);
    uint64_t n_failed = 0;
    assert_non_null(m);
    cpu_model_build(m, &c);
    cpu_host_open(&m->h, 1);
    for (uint64_t k = 1;; k++) {
        llrt_error err = LLRT_ERROR_INIT;
        void *runtime = NULL;
        m->h.n_alloc = 0;
        m->h.fail_at = k;
        llrt_status status = m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err);
        if (status == LLRT_OK) {
            cpu_model_fill(m, m->model);
            status = m->h.table.runtime_create(m->model, &c.limits, &runtime, &err);
            m->h.table.runtime_free(runtime);
            m->h.table.model_free(m->model);
        }
        for (int i = 0; i < LLRT_MEMORY_COUNT; i++) assert_int_equal(m->h.live[i], 0);
        if (status == LLRT_OK) break;
        assert_int_equal(status, LLRT_ERR_NOMEM);
        n_failed++;
    }
    assert_int_equal(n_failed, 5); /* tables and weights, tables, scratch and pages */
    m->h.fail_at = 0;
    cpu_host_close(&m->h);
    for (uint32_t i = 0; i < m->desc.n_tensor; i++) cpu_tensor_free(&m->tensor[i]);
    free(m);
}

/* ---- Cancelling ----------------------------------------------------------------------------- */

typedef struct fuse {
    atomic_int left, n_after; /* polls until it says stop, polls after that */
} fuse;

static int burn(void *ctx)
{
    fuse *const f = ctx;
    if (atomic_fetch_sub(&f->left, 1) > 0) return 0;
    atomic_fetch_add(&f->n_after, 1);
    return 1;
}

/* Cancelled at any poll, the step ends soon, and the sequence then continues with the right bits. */
static void test_cancel_at_any_poll(void **state)
{
    cpu_config c = cpu_config_small();
    c.n_worker = 2;
    cpu_model *const m = cpu_model_open(&c);
    cpu_seq expected = cpu_seq_make(m, 0, 200), found = cpu_seq_make(m, 1, 200);
    memcpy(found.token, expected.token, 200 * sizeof(int32_t));
    cpu_seq_run(m, &expected, 100);
    int n_cancelled = 0;
    for (int left = 0;; left++) {
        llrt_error err = LLRT_ERROR_INIT;
        fuse f;
        atomic_init(&f.left, left);
        atomic_init(&f.n_after, 0);
        const llrt_step_seq seq = {.n_row = 100, .n_page = 2, .page = {found.page}};
        const uint32_t out_row[1] = {99};
        llrt_step_desc step = {.struct_size = sizeof step,
                               .n_row = 100,
                               .n_seq = 1,
                               .n_out = 1,
                               .token = found.token,
                               .seq = &seq,
                               .out_row = out_row,
                               .poll_cancel = burn,
                               .poll_ctx = &f};
        float logits[256];
        assert_int_equal(m->h.table.step_submit(m->runtime, &step, &err), LLRT_OK);
        const llrt_status status = m->h.table.step_wait(m->runtime, &err);
        if (status == LLRT_OK) {
            assert_int_equal(atomic_load(&f.n_after), 0);
            assert_int_equal(
                m->h.table.value_read(m->runtime, m->program.logits, 0, 1, logits, &err), LLRT_OK);
            assert_memory_equal(logits, expected.logits + 99 * c.n_vocab,
                                c.n_vocab * sizeof(float));
            break;
        }
        assert_int_equal(status, LLRT_ERR_CANCELLED);
        assert_true(atomic_load(&f.n_after) <= 2 * (int)c.n_worker + 2);
        assert_int_equal(m->h.table.value_read(m->runtime, m->program.logits, 0, 1, logits, &err),
                         LLRT_ERR_STATE);
        n_cancelled++;
    }
    assert_true(n_cancelled > 50);
    cpu_seq_run(m, &found, 64);
    assert_memory_equal(found.logits, expected.logits, 200 * c.n_vocab * sizeof(float));
    cpu_seq_free(&expected);
    cpu_seq_free(&found);
    cpu_model_close(m);
}

static void test_entry_and_device(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_backend table = {.struct_size = sizeof table};
    llrt_device_info info = {.struct_size = sizeof info};
    uint32_t n = 0;
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION + 1, &table, &err),
                     LLRT_ERR_VERSION);
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, &table, &err), LLRT_OK);
    assert_string_equal(table.name, "cpu");
    assert_int_equal(table.struct_size, LLRT_BACKEND_V1_SIZE);
    assert_int_equal(table.device_count(&n, &err), LLRT_OK);
    assert_int_equal(n, 1);
    assert_int_equal(table.device_info(0, &info, &err), LLRT_OK);
    assert_string_equal(info.name, "cpu");
    assert_int_equal(info.kind, LLRT_DEVICE_CPU);
    assert_true(info.memory_total > 0);
    assert_int_equal(table.device_info(1, &info, &err), LLRT_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_programs_are_refused_by_name),
        cmocka_unit_test(test_random_damage_is_survived),
        cmocka_unit_test(test_wrong_steps_are_refused),
        cmocka_unit_test(test_steps_reach_only_pages_that_exist),
        cmocka_unit_test(test_steps_of_whole_sequences),
        cmocka_unit_test(test_weights_must_be_complete),
        cmocka_unit_test(test_plan_equals_what_is_requested),
        cmocka_unit_test(test_absurd_limits_are_refused),
        cmocka_unit_test(test_every_failing_allocation_is_survived),
        cmocka_unit_test(test_cancel_at_any_poll),
        cmocka_unit_test(test_entry_and_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
