/* 8-bit regions: QLinear models must give the same bits as without optimisation, for sums are exact in both; Q/DQ ones
 * differ from the float graph by the steps in which float sums may round the other way. */
#include <math.h>

#include "model_builder.h"
#include "runtime/runtime.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

static tt_rng rng;

static int any(int lo, int hi) { return (int)tt_random_int(&rng, lo, hi); }

static void bytes(mb *b, const char *name, bool is_signed, int rank, const int64_t *dims) {
    tern_tensor *t = mb_constant(b, name, is_signed ? TERN_INT8 : TERN_UINT8, rank, dims);
    for (int64_t i = 0; i < tn_shape_count(&t->shape); i++) ((uint8_t *)t->data)[i] = (uint8_t)any(0, 255);
}

/* `count` 0: a scalar. */
static void quantisation(mb *b, const char *name, bool is_signed, int64_t count, float scale) {
    char text[64];
    snprintf(text, sizeof text, "%s_scale", name);
    tern_tensor *s = mb_constant(b, text, TERN_FLOAT, count ? 1 : 0, &count);
    for (int64_t i = 0; i < TN_MAX(count, 1); i++) ((float *)s->data)[i] = scale * (1 + (float)any(0, 100) / 100);
    snprintf(text, sizeof text, "%s_zero", name);
    tern_tensor *z = mb_constant(b, text, is_signed ? TERN_INT8 : TERN_UINT8, count ? 1 : 0, &count);
    for (int64_t i = 0; i < TN_MAX(count, 1); i++)
        ((uint8_t *)z->data)[i] = (uint8_t)(is_signed ? any(-40, 40) : any(90, 160));
}

static tern_session *session_of(tern_model *m, bool optimize, int threads) {
    tern_options o;
    tern_options_init(&o);
    o.optimize = optimize;
    o.threads = threads;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    return s;
}

static int count_ops(const tern_session *s, const char *op_type) {
    int n = 0;
    for (int i = 0; i < s->model->graph->n_nodes; i++) n += strcmp(s->model->graph->nodes[i]->op_type, op_type) == 0;
    return n;
}

static tern_tensor *run_with(tern_session *s, const tern_tensor *x) {
    tern_tensor *y = NULL;
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    return y;
}

/* The optimised session; its result is as far as `tolerance` from that of the graph as it is. */
static tern_session *check(tern_model *m, int rank, const int64_t *dims, double tolerance) {
    tern_session *plain = session_of(m, false, 1), *fused = session_of(m, true, 1), *many = session_of(m, true, 3);
    tern_tensor *x = mb_random_tensor(any(1, 1000), rank, dims);
    tern_tensor *a = run_with(plain, x), *b = run_with(fused, x), *c = run_with(many, x);
    assert_true(tn_shape_equal(&a->shape, &b->shape));
    assert_memory_equal(b->data, c->data, tn_tensor_bytes(b));
    for (int64_t i = 0; i < tn_shape_count(&a->shape); i++) {
        double p = tn_tensor_get_f64(a, i), q = tn_tensor_get_f64(b, i);
        if (!(fabs(p - q) <= tolerance)) fail_msg("element %d: %.9g, optimised %.9g", (int)i, p, q);
    }
    tern_tensor_free(x);
    tern_tensor_free(a);
    tern_tensor_free(b);
    tern_tensor_free(c);
    tern_session_free(plain);
    tern_session_free(many);
    return fused;
}

/* x as bytes: "q", with q_scale and q_zero. */
static void quantised_input(mb *b, bool is_signed, int rank, const int64_t *dims) {
    mb_begin_seed(b, 13, 3);
    mb_input(b, "x", TERN_FLOAT, rank, dims);
    quantisation(b, "q", is_signed, 0, 0.01f);
    mb_node(b, "QuantizeLinear", "x q_scale q_zero", "q");
}

typedef struct conv {
    int64_t ic, oc, groups, k, stride, pad;
    bool x_signed, w_signed, y_signed, per_channel, bias;
} conv;

static void int32s(mb *b, const char *name, int64_t n) {
    tern_tensor *t = mb_constant(b, name, TERN_INT32, 1, &n);
    for (int64_t i = 0; i < n; i++) ((int32_t *)t->data)[i] = any(-3000, 3000);
}

static void conv_attributes(tn_node *n, const conv *c) {
    mb_ints(n, "pads", 4, DIMS(c->pad, c->pad, c->pad, c->pad));
    mb_ints(n, "strides", 2, DIMS(c->stride, c->stride));
    if (c->groups > 1) mb_int(n, "group", c->groups);
}

/* QLinearConv from `in` to `out`, with constants named after `out`. */
static void add_qlinear(mb *b, const char *in, const char *out, const conv *c) {
    char args[300], name[40];
    snprintf(name, sizeof name, "%s_w", out);
    bytes(b, name, c->w_signed, 4, DIMS(c->oc, c->ic / c->groups, c->k, c->k));
    quantisation(b, name, c->w_signed, c->per_channel ? c->oc : 0, 0.02f);
    quantisation(b, out, c->y_signed, 0, 0.1f);
    snprintf(args, sizeof args, "%s %s_scale %s_zero %s %s_scale %s_zero %s_scale %s_zero %s_b", in, in, in, name, name,
             name, out, out, out);
    if (!c->bias) args[strlen(args) - strlen(out) - 3] = 0;
    if (c->bias) {
        snprintf(name, sizeof name, "%s_b", out);
        int32s(b, name, c->oc);
    }
    conv_attributes(mb_node(b, "QLinearConv", args, out), c);
}

static conv random_conv(int64_t ic) {
    conv c = {.ic = ic, .oc = any(1, 40), .groups = 1, .k = any(0, 1) ? 3 : 1, .stride = any(1, 2)};
    if (any(0, 2) == 0 && ic > 1) c.groups = c.oc = ic, c.k = any(0, 1) ? 3 : 5;
    c.pad = c.k / 2;
    c.w_signed = any(0, 1), c.y_signed = any(0, 1), c.per_channel = any(0, 1), c.bias = any(0, 1);
    return c;
}

static void test_qlinear_chain(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        rng = tt_rng_init((uint64_t)i);
        mb b;
        int64_t ic = any(1, 20), h = any(7, 15), n = any(1, 2);
        quantised_input(&b, any(0, 1), 4, DIMS(n, ic, h, h + 2));
        conv first = random_conv(ic), second = random_conv(first.oc);
        add_qlinear(&b, "q", "r", &first);
        add_qlinear(&b, "r", "s", &second);
        mb_node(&b, "DequantizeLinear", "s s_scale s_zero", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check(m, 4, DIMS(n, ic, h, h + 2), 0);
        assert_int_equal(count_ops(s, "QLinearConv"), 2);
        assert_int_equal(count_ops(s, "Reorder"), 1); /* before the float world again, nowhere else */
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* What the blocked kernels do not take stays as it is. */
static void test_qlinear_plain(void **state) {
    (void)state;
    rng = tt_rng_init(5);
    mb b;
    quantised_input(&b, false, 4, DIMS(1, 6, 9, 9));
    add_qlinear(&b, "q", "r", &(conv){.ic = 6, .oc = 4, .groups = 2, .k = 3, .stride = 1, .pad = 1});
    mb_node(&b, "DequantizeLinear", "r r_scale r_zero", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check(m, 4, DIMS(1, 6, 9, 9), 0);
    assert_int_equal(count_ops(s, "Reorder"), 0);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_conv_integer(void **state) {
    (void)state;
    rng = tt_rng_init(6);
    mb b;
    quantised_input(&b, true, 4, DIMS(1, 20, 9, 9));
    bytes(&b, "w", false, 4, DIMS(33, 20, 3, 3));
    quantisation(&b, "w", false, 0, 1);
    mb_node(&b, "ConvInteger", "q w q_zero w_zero", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check(m, 4, DIMS(1, 20, 9, 9), 0);
    assert_int_equal(count_ops(s, "Reorder"), 1);
    tern_session_free(s);
    tern_model_free(m);
}

static void dequantise(mb *b, const char *q, const char *parameters, const char *out) {
    char args[120];
    snprintf(args, sizeof args, "%s %s_scale %s_zero", q, parameters, parameters);
    mb_node(b, "DequantizeLinear", args, out);
}

/* Weights of a Q/DQ layer: "W"; and the bias "B", whose scale is that of x times that of w. */
static void add_weights(mb *b, int rank, const int64_t *dims, int64_t columns, bool is_signed) {
    bytes(b, "w", is_signed, rank, dims);
    quantisation(b, "w", is_signed, 0, 0.02f);
    dequantise(b, "w", "w", "W");
    int32s(b, "b", columns);
    float xs = *(const float *)mb_value(b, "q_scale")->constant->data;
    float ws = *(const float *)mb_value(b, "w_scale")->constant->data;
    mb_scalar(b, "b_scale", xs * ws);
    mb_node(b, "DequantizeLinear", "b b_scale", "B");
}

/* Q/DQ around Conv, with what may stand between Conv and QuantizeLinear. */
static void test_qdq_conv(void **state) {
    (void)state;
    static const char *const acts[] = {NULL, "Relu", "Clip"};
    for (int i = 0; i < 6; i++) {
        rng = tt_rng_init((uint64_t)i + 50);
        mb b;
        quantised_input(&b, i & 1, 4, DIMS(1, 20, 9, 9));
        add_weights(&b, 4, DIMS(37, 20, 3, 3), 37, any(0, 1));
        dequantise(&b, "q", "q", "X");
        conv_attributes(mb_node(&b, "Conv", "X W B", "c"), &(conv){.groups = 1, .stride = 1, .pad = 1});
        if (acts[i / 2]) {
            mb_scalar(&b, "lo", -1);
            mb_scalar(&b, "hi", 3);
            mb_node(&b, acts[i / 2], i / 2 == 2 ? "c lo hi" : "c", "a");
        }
        quantisation(&b, "r", any(0, 1), 0, 0.03f);
        mb_node(&b, "QuantizeLinear", acts[i / 2] ? "a r_scale r_zero" : "c r_scale r_zero", "r");
        dequantise(&b, "r", "r", "y");
        mb_output(&b, "y");
        float step = *(const float *)mb_value(&b, "r_scale")->constant->data;
        tern_model *m = mb_end(&b);
        tern_session *s = check(m, 4, DIMS(1, 20, 9, 9), 1.0001 * step);
        assert_int_equal(count_ops(s, "Conv") + count_ops(s, "Clip") + count_ops(s, "Relu"), 0);
        assert_int_equal(count_ops(s, "QLinearConv") + count_ops(s, "QConv"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* A block with a shortcut: the sum becomes the epilogue of the convolution before it. */
static void test_qdq_residual(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        rng = tt_rng_init((uint64_t)i + 80);
        mb b;
        quantised_input(&b, i & 1, 4, DIMS(1, 20, 9, 9));
        add_weights(&b, 4, DIMS(20, 20, 1, 1), 20, any(0, 1));
        dequantise(&b, "q", "q", "X");
        mb_node(&b, "Conv", "X W B", "c");
        quantisation(&b, "r", i & 2, 0, 0.03f);
        mb_node(&b, "QuantizeLinear", "c r_scale r_zero", "r");
        dequantise(&b, "r", "r", "R");
        mb_node(&b, "Add", i & 4 ? "R X" : "X R", "s");
        if (i >= 4) mb_node(&b, "Relu", "s", "a");
        quantisation(&b, "t", i & 1, 0, 0.04f);
        mb_node(&b, "QuantizeLinear", i >= 4 ? "a t_scale t_zero" : "s t_scale t_zero", "t");
        dequantise(&b, "t", "t", "T");
        mb_node(&b, "GlobalAveragePool", "T", "g");
        mb_node(&b, "QuantizeLinear", "g t_scale t_zero", "u");
        dequantise(&b, "u", "t", "U");
        mb_node(&b, "Add", "T U", "y"); /* shows both */
        mb_output(&b, "y");
        double step = *(const float *)mb_value(&b, "t_scale")->constant->data;
        double mid = *(const float *)mb_value(&b, "r_scale")->constant->data;
        tern_model *m = mb_end(&b);
        tern_session *s = check(m, 4, DIMS(1, 20, 9, 9), 2 * (2 * step + mid));
        assert_int_equal(count_ops(s, "QConv"), 1);
        assert_int_equal(count_ops(s, "QAdd"), 0);
        assert_int_equal(count_ops(s, "QGlobalAveragePool"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Two branches of one layer: Concat stays in blocks, and sums of values that others read, too, stay sums. */
static void test_branches(void **state) {
    (void)state;
    rng = tt_rng_init(9);
    mb b;
    quantised_input(&b, false, 4, DIMS(1, 20, 9, 9));
    conv c = {.ic = 20, .oc = 20, .groups = 1, .k = 1, .stride = 1};
    add_qlinear(&b, "q", "r", &c);
    add_qlinear(&b, "q", "s", &c);
    dequantise(&b, "r", "r", "R");
    dequantise(&b, "s", "s", "S");
    mb_node(&b, "Add", "R S", "a");
    quantisation(&b, "t", false, 0, 0.2f);
    mb_node(&b, "QuantizeLinear", "a t_scale t_zero", "t");
    mb_node(&b, "Concat", "r s t", "k");
    mb_int(b.graph->nodes[b.graph->n_nodes - 1], "axis", 1);
    c.ic = 60;
    char names[2][12] = {"k_scale", "k_zero"};
    for (int i = 0; i < 2; i++) {
        tern_tensor *from = mb_value(&b, i ? "t_zero" : "t_scale")->constant;
        tern_tensor *to = mb_constant(&b, names[i], from->dtype, 0, NULL);
        memcpy(to->data, from->data, tn_tensor_bytes(from));
    }
    add_qlinear(&b, "k", "v", &c);
    mb_node(&b, "DequantizeLinear", "v v_scale v_zero", "y");
    mb_output(&b, "y");
    /* One step of t and all the weights that may see it. */
    double step = 255 * 20.0 * *(const float *)mb_value(&b, "v_w_scale")->constant->data *
                  *(const float *)mb_value(&b, "t_scale")->constant->data;
    tern_model *m = mb_end(&b);
    tern_session *s = check(m, 4, DIMS(1, 20, 9, 9), step);
    assert_int_equal(count_ops(s, "QAdd"), 1);
    assert_int_equal(count_ops(s, "Reorder"), 2); /* x, which two layers read, and y */
    tern_session_free(s);
    tern_model_free(m);
}

/* A function of one number between bytes is a table; nothing else changes. */
static void test_qdq_function(void **state) {
    (void)state;
    static const char *const names[] = {"Sigmoid", "HardSwish", "LeakyRelu", "Relu", "Clip", "Tanh"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        rng = tt_rng_init(i + 200);
        mb b;
        quantised_input(&b, i & 1, 4, DIMS(1, 20, 9, 9));
        b.opset = 14;
        conv c = {.ic = 20, .oc = 21, .groups = 1, .k = 1, .stride = 1, .y_signed = i & 2};
        add_qlinear(&b, "q", "r", &c);
        dequantise(&b, "r", "r", "R");
        bool clip = strcmp(names[i], "Clip") == 0;
        mb_scalar(&b, "lo", -0.5f);
        mb_scalar(&b, "hi", 1.5f);
        mb_node(&b, names[i], clip ? "R lo hi" : "R", "f");
        quantisation(&b, "s", i & 4, 0, 0.02f);
        mb_node(&b, "QuantizeLinear", "f s_scale s_zero", "s");
        c.ic = 21;
        add_qlinear(&b, "s", "t", &c);
        mb_node(&b, "DequantizeLinear", "t t_scale t_zero", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check(m, 4, DIMS(1, 20, 9, 9), 0);
        assert_int_equal(count_ops(s, "QLookup"), 1);
        assert_int_equal(count_ops(s, names[i]), 0);
        assert_int_equal(count_ops(s, "Reorder"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

static void test_qdq_gemm(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        rng = tt_rng_init((uint64_t)i + 30);
        mb b;
        bool gemm = i % 3 != 0, trans = i % 3 == 2;
        quantised_input(&b, i & 1, 2, DIMS(5, 50));
        add_weights(&b, 2, trans ? DIMS(37, 50) : DIMS(50, 37), 37, any(0, 1));
        dequantise(&b, "q", "q", "X");
        tn_node *n = mb_node(&b, gemm ? "Gemm" : "MatMul", gemm ? "X W B" : "X W", "c");
        if (trans) mb_int(n, "transB", 1);
        mb_node(&b, "Relu", "c", "a");
        quantisation(&b, "r", any(0, 1), 0, 0.03f);
        mb_node(&b, "QuantizeLinear", "a r_scale r_zero", "r");
        dequantise(&b, "r", "r", "y");
        mb_output(&b, "y");
        float step = *(const float *)mb_value(&b, "r_scale")->constant->data;
        tern_model *m = mb_end(&b);
        tern_session *s = check(m, 2, DIMS(5, 50), 1.0001 * step);
        assert_int_equal(count_ops(s, "QGemm"), 1);
        assert_int_equal(count_ops(s, "Gemm") + count_ops(s, "MatMul") + count_ops(s, "Relu"), 0);
        tern_session_free(s);
        tern_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qlinear_chain), cmocka_unit_test(test_qlinear_plain), cmocka_unit_test(test_conv_integer),
        cmocka_unit_test(test_qdq_conv),      cmocka_unit_test(test_qdq_residual),  cmocka_unit_test(test_branches),
        cmocka_unit_test(test_qdq_function),  cmocka_unit_test(test_qdq_gemm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
