/* Gradient: every derivative against central differences of the forward model.
 *
 * The loss is the sum of the squares of the operator's output, so that the gradient which reaches it differs from
 * element to element. In float64 with a step of h = 1e-5 the difference quotient is off by h^2 f'''/6 and by rounding,
 * 2^-53 |loss| / h: both stay below 1e-8 for values of the size used here. Convolutions are float32 only: there all
 * values are small integers and the loss is a quadratic function of each, so that a step of 1 gives the exact value. */
#include <math.h>

#include "model_builder.h"
#include "runtime/runtime.h"
#include "tern/tern.h"

#define DIMS(...)                                                                  \
    {                                                                              \
        (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { __VA_ARGS__ } \
    }

enum { MAX_X = 5 };

typedef struct dims {
    int rank;
    int64_t d[5];
} dims;

typedef struct grad_case {
    const char *op;
    int opset;
    double low, high; /* of the inputs */
    dims x[MAX_X];    /* differentiated inputs; the first of rank -1 ends the list */
    const char *rest; /* names of constants that follow them as inputs */
    void (*attrs)(tn_node *n);
    bool integers; /* float32, small integers, step 1 */
    int n_y;       /* outputs; 0: one */
} grad_case;

#define NO_MORE \
    {           \
        -1, {   \
            0   \
        }       \
    }

static void set_strings(tn_node *n, const char *name, size_t count, const char *const *values) {
    tn_str *copy = tn_arena_array(&n->graph->model->arena, count, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = tn_str_c(values[i]);
    tn_attr *a = mb_attr(n, name, TN_ATTR_STRINGS);
    a->strings = copy;
    a->count = count;
}

/* The node as import makes it: values, then what "xs" and "y" name. */
static tn_node *add_gradient(mb *b, const char *const *given, const char *const *xs, int n, const char *y,
                             const char *const *out) {
    tn_node *g = tn_graph_add_node(b->graph, "ai.onnx.preview.training", "Gradient", 1, 2 * n + 1, n);
    assert_non_null(g);
    for (int i = 0; i < n; i++) {
        g->in[i] = mb_value(b, given[i]);
        g->in[n + i] = mb_value(b, xs[i]);
        g->out[i] = mb_value(b, out[i]);
    }
    g->in[2 * n] = mb_value(b, y);
    set_strings(g, "xs", (size_t)n, xs);
    mb_attr(g, "y", TN_ATTR_STRING)->s = tn_str_c(y);
    return g;
}

static const char *const x_names[] = {"x0", "x1", "x2", "x3", "x4"}, *const g_names[] = {"g0", "g1", "g2", "g3", "g4"};

static void set_bool(mb *b, const char *name, int64_t count, const uint8_t *values) {
    memcpy(mb_constant(b, name, TERN_BOOL, 1, &count)->data, values, (size_t)count);
}

static void add_constants(mb *b) {
    mb_int64s(b, "axis0", 1, (int64_t[]){0});
    mb_int64s(b, "axis1", 1, (int64_t[]){1});
    mb_int64s(b, "shape6", 1, (int64_t[]){6});
    mb_int64s(b, "shape423", 3, (int64_t[]){4, 2, 3});
    mb_int64s(b, "starts", 2, (int64_t[]){-1, 0});
    mb_int64s(b, "ends", 2, (int64_t[]){-100, 3});
    mb_int64s(b, "axes", 2, (int64_t[]){1, 0});
    mb_int64s(b, "steps", 2, (int64_t[]){-2, 1});
    mb_int64s(b, "index", 3, (int64_t[]){1, 0, 1});
    mb_int64s(b, "sizes", 2, (int64_t[]){1, 3});
    mb_int64s(b, "pads", 4, (int64_t[]){1, 0, 0, 2});
    mb_int64s(b, "repeats", 2, (int64_t[]){2, 3});
    set_bool(b, "choice", 3, (uint8_t[]){1, 0, 1});
    int64_t two_by_three[] = {2, 3};
    memcpy(mb_constant(b, "index23", TERN_INT64, 2, two_by_three)->data, (int64_t[]){0, 1, 1, 0, 0, 1},
           6 * sizeof(int64_t));
    double lo = -0.4, hi = 0.6;
    *(double *)mb_constant(b, "lo", TERN_DOUBLE, 0, NULL)->data = lo;
    *(double *)mb_constant(b, "hi", TERN_DOUBLE, 0, NULL)->data = hi;
    int64_t two = 2;
    memcpy(mb_constant(b, "mean", TERN_DOUBLE, 1, &two)->data, (double[]){0.25, -0.5}, 2 * sizeof(double));
    memcpy(mb_constant(b, "var", TERN_DOUBLE, 1, &two)->data, (double[]){1.5, 0.75}, 2 * sizeof(double));
}

static int count_x(const grad_case *c) {
    int n = 0;
    while (n < MAX_X && c->x[n].rank >= 0) n++;
    return n;
}

/* Inputs x0.., outputs loss, g0... */
static tern_model *build(const grad_case *c) {
    mb b;
    mb_begin(&b, c->opset);
    add_constants(&b);
    int n = count_x(c);
    char in[200] = "", out[64] = "y0";
    tern_dtype dtype = c->integers ? TERN_FLOAT : TERN_DOUBLE;
    for (int i = 0; i < n; i++) {
        mb_input(&b, x_names[i], dtype, c->x[i].rank, c->x[i].d);
        snprintf(in + strlen(in), sizeof in - strlen(in), "%s ", x_names[i]);
    }
    snprintf(in + strlen(in), sizeof in - strlen(in), "%s", c->rest ? c->rest : "");
    for (int i = 1; i < c->n_y; i++) snprintf(out + strlen(out), sizeof out - strlen(out), " y%d", i);
    tn_node *node = mb_node(&b, c->op, in, out);
    if (c->attrs) c->attrs(node);
    b.opset = 13;
    for (int i = 0; i < TN_MAX(c->n_y, 1); i++) {
        char y[16], square[16], sum[16];
        snprintf(y, sizeof y, "y%d", i);
        snprintf(square, sizeof square, "s%d", i);
        snprintf(sum, sizeof sum, "l%d", i);
        char twice[40];
        snprintf(twice, sizeof twice, "%s %s", y, y);
        mb_node(&b, "Mul", twice, square);
        mb_int(mb_node(&b, "ReduceSum", square, sum), "keepdims", 0);
    }
    mb_node(&b, "Sum", c->n_y > 1 ? "l0 l1" : "l0", "loss");
    add_gradient(&b, x_names, x_names, n, "loss", g_names);
    mb_output(&b, "loss");
    for (int i = 0; i < n; i++) mb_output(&b, g_names[i]);
    return mb_end(&b);
}

static double element(const tern_tensor *t, int64_t i) {
    return t->dtype == TERN_DOUBLE ? ((double *)t->data)[i] : (double)((float *)t->data)[i];
}

static void set_element(tern_tensor *t, int64_t i, double v) {
    if (t->dtype == TERN_DOUBLE)
        ((double *)t->data)[i] = v;
    else
        ((float *)t->data)[i] = (float)v;
}

static void run(const grad_case *c, tern_session *s, tern_tensor *const *x, int n, tern_tensor **out) {
    tern_feed feeds[MAX_X];
    tern_error err;
    for (int i = 0; i < n; i++) feeds[i] = (tern_feed){x_names[i], x[i]};
    for (int i = 0; i <= n; i++) out[i] = NULL;
    if (tern_session_run(s, feeds, (size_t)n, NULL, out, (size_t)n + 1, &err) != TERN_OK)
        fail_msg("%s: %s", c->op, err.text);
}

static double loss_at(const grad_case *c, tern_session *s, tern_tensor *const *x, int n, int i, int64_t k, double v) {
    tern_tensor *out[MAX_X + 1];
    double before = element(x[i], k), loss;
    set_element(x[i], k, v);
    run(c, s, x, n, out);
    set_element(x[i], k, before);
    loss = element(out[0], 0);
    for (int o = 0; o <= n; o++) tern_tensor_free(out[o]);
    return loss;
}

static void compare(const grad_case *c, tern_session *s, tern_tensor *const *x, int n) {
    tern_tensor *out[MAX_X + 1];
    double h = c->integers ? 1 : 1e-5;
    run(c, s, x, n, out);
    for (int i = 0; i < n; i++) {
        if (!tn_shape_equal(&out[i + 1]->shape, &x[i]->shape)) fail_msg("%s: gradient %d has another shape", c->op, i);
        for (int64_t k = 0; k < tern_tensor_count(x[i]); k++) {
            double v = element(x[i], k), got = element(out[i + 1], k);
            double want = (loss_at(c, s, x, n, i, k, v + h) - loss_at(c, s, x, n, i, k, v - h)) / (2 * h);
            double tolerance = c->integers ? 0 : 1e-7 * (1 + fabs(want));
            if (!(fabs(got - want) <= tolerance))
                fail_msg("%s-%d: d/dx%d[%lld] is %.10g, differences give %.10g", c->op, c->opset, i, (long long)k, got,
                         want);
        }
    }
    for (int o = 0; o <= n; o++) tern_tensor_free(out[o]);
}

static void check(const grad_case *c) {
    tern_model *m = build(c);
    tern_options options;
    tern_options_init(&options);
    options.threads = 2;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &options, &err) != TERN_OK) fail_msg("%s: %s", c->op, err.text);
    tern_tensor *x[MAX_X];
    tt_rng rng = tt_rng_init(7);
    int n = count_x(c);
    for (int i = 0; i < n; i++) {
        assert_int_equal(
            tern_tensor_create(&x[i], c->integers ? TERN_FLOAT : TERN_DOUBLE, c->x[i].rank, c->x[i].d, NULL), TERN_OK);
        for (int64_t k = 0; k < tern_tensor_count(x[i]); k++)
            set_element(x[i], k,
                        c->integers ? (double)tt_random_int(&rng, (int64_t)c->low, (int64_t)c->high)
                                    : tt_random_real(&rng, c->low, c->high));
    }
    compare(c, s, x, n);
    for (int i = 0; i < n; i++) tern_tensor_free(x[i]);
    tern_session_free(s);
    tern_model_free(m);
}

static void check_all(const grad_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) check(&cases[i]);
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

static void keep0(tn_node *n) { mb_int(n, "keepdims", 0); }
static void axes1(tn_node *n) { mb_ints(n, "axes", 1, (int64_t[]){1}); }
static void axes1_keep0(tn_node *n) { axes1(n), keep0(n); }
static void axis0(tn_node *n) { mb_int(n, "axis", 0); }
static void axis1(tn_node *n) { mb_int(n, "axis", 1); }
static void perm(tn_node *n) { mb_ints(n, "perm", 3, (int64_t[]){2, 0, 1}); }
static void tanh_form(tn_node *n) { mb_attr(n, "approximate", TN_ATTR_STRING)->s = tn_str_c("tanh"); }
static void gemm_tt(tn_node *n) { mb_int(n, "transA", 1), mb_int(n, "transB", 1), mb_float(n, "alpha", 0.5f); }
static void gemm_ta(tn_node *n) { mb_int(n, "transA", 1), mb_float(n, "beta", 2.0f); }
static void gemm_tb(tn_node *n) { mb_int(n, "transB", 1); }
static void conv2(tn_node *n) {
    mb_ints(n, "strides", 2, (int64_t[]){2, 1});
    mb_ints(n, "pads", 4, (int64_t[]){1, 0, 0, 2});
    mb_ints(n, "dilations", 2, (int64_t[]){1, 2});
    mb_int(n, "group", 2);
}
static void conv_same(tn_node *n) {
    mb_attr(n, "auto_pad", TN_ATTR_STRING)->s = tn_str_c("SAME_UPPER");
    mb_ints(n, "strides", 1, (int64_t[]){2});
}
static void pool2(tn_node *n) {
    mb_ints(n, "kernel_shape", 2, (int64_t[]){2, 2});
    mb_ints(n, "strides", 2, (int64_t[]){1, 2});
}
static void reflect(tn_node *n) { mb_attr(n, "mode", TN_ATTR_STRING)->s = tn_str_c("reflect"); }
static void blocks2(tn_node *n) { mb_int(n, "blocksize", 2); }
static void upper0(tn_node *n) { mb_int(n, "upper", 0); }

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void test_one_operand(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int opset;
        double low, high;
    } ops[] = {
        {"Neg", 13, -2, 2},         {"Abs", 13, -2, 2},       {"Sqrt", 13, 0.5, 4},    {"Exp", 13, -2, 2},
        {"Log", 13, 0.5, 4},        {"Reciprocal", 13, 1, 4}, {"Sin", 22, -2, 2},      {"Cos", 22, -2, 2},
        {"Tan", 22, -1, 1},         {"Asin", 22, -0.8, 0.8},  {"Acos", 22, -0.8, 0.8}, {"Atan", 22, -2, 2},
        {"Sinh", 22, -2, 2},        {"Cosh", 22, -2, 2},      {"Tanh", 13, -2, 2},     {"Asinh", 22, -2, 2},
        {"Acosh", 22, 1.5, 4},      {"Atanh", 22, -0.8, 0.8}, {"Erf", 13, -2, 2},      {"Relu", 14, -2, 2},
        {"Sigmoid", 13, -2, 2},     {"Softplus", 22, -2, 2},  {"Softsign", 22, -2, 2}, {"LeakyRelu", 16, -2, 2},
        {"Elu", 22, -2, 2},         {"Celu", 28, -2, 2},      {"Selu", 22, -2, 2},     {"ThresholdedRelu", 22, -2, 2},
        {"HardSigmoid", 22, -4, 4}, {"HardSwish", 22, -5, 5}, {"Swish", 24, -2, 2},    {"Mish", 22, -2, 2},
        {"Gelu", 20, -2, 2},        {"Identity", 16, -2, 2},  {"Softmax", 13, -2, 2},  {"LogSoftmax", 13, -2, 2},
        {"Softmax", 11, -2, 2},     {"LogSoftmax", 1, -2, 2}, {"Floor", 13, 0.1, 0.9}};
    for (size_t i = 0; i < TN_COUNT(ops); i++)
        check(
            &(grad_case){ops[i].op, ops[i].opset, ops[i].low, ops[i].high, {DIMS(2, 3, 2), NO_MORE}, NULL, NULL, 0, 0});
    check(&(grad_case){"Gelu", 20, -2, 2, {DIMS(9), NO_MORE}, NULL, tanh_form, 0, 0});
    check(&(grad_case){"Softmax", 13, -2, 2, {DIMS(2, 3, 2), NO_MORE}, NULL, axis1, 0, 0});
    check(&(grad_case){"Clip", 13, -1, 1, {DIMS(12), NO_MORE}, "lo hi", NULL, 0, 0});
}

static void test_broadcast_operands(void **state) {
    (void)state;
    static const grad_case cases[] = {
        {"Add", 14, -2, 2, {DIMS(2, 3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
        {"Sub", 14, -2, 2, {DIMS(2, 1), DIMS(4, 1, 3), NO_MORE}, NULL, NULL, 0, 0},
        {"Mul", 14, -2, 2, {DIMS(1), DIMS(2, 3), NO_MORE}, NULL, NULL, 0, 0},
        {"Div", 14, 1, 3, {DIMS(2, 3), DIMS(2, 1), NO_MORE}, NULL, NULL, 0, 0},
        {"Pow", 15, 0.5, 2, {DIMS(2, 3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
        {"Sum", 13, -2, 2, {DIMS(2, 3), DIMS(3), DIMS(2, 1), NO_MORE}, NULL, NULL, 0, 0},
        {"Mean", 13, -2, 2, {DIMS(2, 3), DIMS(3), DIMS(2, 1), NO_MORE}, NULL, NULL, 0, 0},
        {"Max", 13, -2, 2, {DIMS(2, 3), DIMS(3), DIMS(2, 1), NO_MORE}, NULL, NULL, 0, 0},
        {"Min", 13, -2, 2, {DIMS(2, 3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
        {"PRelu", 16, -2, 2, {DIMS(2, 3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
    };
    check_all(cases, TN_COUNT(cases));
}

static void test_products(void **state) {
    (void)state;
    static const grad_case cases[] = {
        {"MatMul", 13, -1, 1, {DIMS(2, 3), DIMS(3, 4), NO_MORE}, NULL, NULL, 0, 0},
        {"MatMul", 13, -1, 1, {DIMS(2, 1, 2, 3), DIMS(2, 3, 2), NO_MORE}, NULL, NULL, 0, 0},
        {"MatMul", 13, -1, 1, {DIMS(3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
        {"MatMul", 13, -1, 1, {DIMS(3), DIMS(2, 3, 2), NO_MORE}, NULL, NULL, 0, 0},
        {"MatMul", 13, -1, 1, {DIMS(2, 2, 3), DIMS(3), NO_MORE}, NULL, NULL, 0, 0},
        {"Gemm", 13, -1, 1, {DIMS(2, 3), DIMS(3, 4), DIMS(4), NO_MORE}, NULL, NULL, 0, 0},
        {"Gemm", 13, -1, 1, {DIMS(3, 2), DIMS(3, 4), DIMS(2, 1), NO_MORE}, NULL, gemm_ta, 0, 0},
        {"Gemm", 13, -1, 1, {DIMS(2, 3), DIMS(4, 3), DIMS(2, 4), NO_MORE}, NULL, gemm_tb, 0, 0},
        {"Gemm", 13, -1, 1, {DIMS(3, 2), DIMS(4, 3), NO_MORE}, NULL, gemm_tt, 0, 0},
        {"Conv", 11, -3, 3, {DIMS(2, 4, 5, 6), DIMS(6, 2, 2, 3), DIMS(6), NO_MORE}, NULL, conv2, true, 0},
        {"Conv", 11, -3, 3, {DIMS(1, 2, 7), DIMS(3, 2, 3), NO_MORE}, NULL, conv_same, true, 0},
        {"Conv", 11, -2, 2, {DIMS(1, 1, 3, 2, 3), DIMS(2, 1, 2, 1, 2), NO_MORE}, NULL, NULL, true, 0},
        {"BatchNormalization", 15, -1, 1, {DIMS(2, 2, 3), DIMS(2), DIMS(2), NO_MORE}, "mean var", NULL, 0, 0},
    };
    check_all(cases, TN_COUNT(cases));
}

static void test_reductions(void **state) {
    (void)state;
    static const char *const names[] = {"ReduceMean", "ReduceMax",    "ReduceMin",       "ReduceL1",
                                        "ReduceL2",   "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        check(&(grad_case){names[i], 13, 0.5, 2, {DIMS(2, 3, 2), NO_MORE}, NULL, axes1_keep0, 0, 0});
        check(&(grad_case){names[i], 18, 0.5, 2, {DIMS(2, 3, 2), NO_MORE}, "axis0", NULL, 0, 0});
        check(&(grad_case){names[i], 13, 0.5, 2, {DIMS(2, 3), NO_MORE}, NULL, keep0, 0, 0});
    }
    check(&(grad_case){"ReduceSum", 13, -1, 1, {DIMS(2, 3, 2), NO_MORE}, "axis1", keep0, 0, 0});
    check(&(grad_case){"ReduceSum", 11, -1, 1, {DIMS(2, 3, 2), NO_MORE}, NULL, axes1_keep0, 0, 0});
}

static void test_data_movement(void **state) {
    (void)state;
    static const grad_case cases[] = {
        {"Reshape", 14, -1, 1, {DIMS(2, 3), NO_MORE}, "shape6", NULL, 0, 0},
        {"Flatten", 13, -1, 1, {DIMS(2, 3, 2), NO_MORE}, NULL, NULL, 0, 0},
        {"Squeeze", 13, -1, 1, {DIMS(1, 3), NO_MORE}, "axis0", NULL, 0, 0},
        {"Unsqueeze", 13, -1, 1, {DIMS(2, 3), NO_MORE}, "axis1", NULL, 0, 0},
        {"Transpose", 13, -1, 1, {DIMS(2, 3, 4), NO_MORE}, NULL, perm, 0, 0},
        {"Transpose", 13, -1, 1, {DIMS(2, 3), NO_MORE}, NULL, NULL, 0, 0},
        {"Expand", 13, -1, 1, {DIMS(2, 1), NO_MORE}, "shape423", NULL, 0, 0},
        {"Concat", 13, -1, 1, {DIMS(2, 1), DIMS(2, 3), DIMS(2, 2), NO_MORE}, NULL, axis1, 0, 0},
        {"Split", 13, -1, 1, {DIMS(2, 4), NO_MORE}, "sizes", axis1, 0, 2},
        {"Slice", 13, -1, 1, {DIMS(4, 5), NO_MORE}, "starts ends axes steps", NULL, 0, 0},
        {"Gather", 13, -1, 1, {DIMS(3, 2), NO_MORE}, "index", NULL, 0, 0},
        {"Gather", 13, -1, 1, {DIMS(3, 2), NO_MORE}, "index", axis1, 0, 0},
        {"GatherElements", 13, -1, 1, {DIMS(2, 3), NO_MORE}, "index23", axis0, 0, 0},
        {"Tile", 13, -1, 1, {DIMS(2, 2), NO_MORE}, "repeats", NULL, 0, 0},
        {"Pad", 13, -1, 1, {DIMS(2, 3), NO_MORE}, "pads", NULL, 0, 0},
        {"Pad", 13, -1, 1, {DIMS(2, 3), NO_MORE}, "pads", reflect, 0, 0},
        {"DepthToSpace", 13, -1, 1, {DIMS(1, 4, 1, 2), NO_MORE}, NULL, blocks2, 0, 0},
        {"SpaceToDepth", 13, -1, 1, {DIMS(1, 1, 2, 4), NO_MORE}, NULL, blocks2, 0, 0},
        {"MaxPool", 12, -1, 1, {DIMS(1, 2, 3, 4), NO_MORE}, NULL, pool2, 0, 0},
        {"GlobalAveragePool", 1, -1, 1, {DIMS(1, 2, 3, 2), NO_MORE}, NULL, NULL, 0, 0},
        {"Trilu", 14, -1, 1, {DIMS(3, 3), NO_MORE}, NULL, upper0, 0, 0},
        {"CumSum", 14, -1, 1, {DIMS(2, 3), NO_MORE}, "axis1", NULL, 0, 0},
    };
    check_all(cases, TN_COUNT(cases));
}

static tern_status open_and_run(tern_model *m, const tern_feed *feeds, size_t n_feeds, tern_tensor **out, size_t n_out,
                                tern_error *err) {
    tern_session *s;
    TN_TRY(tern_session_create(&s, m, NULL, err));
    tern_status status = tern_session_run(s, feeds, n_feeds, NULL, out, n_out, err);
    tern_session_free(s);
    return status;
}

static tern_tensor *scalar(double v) {
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, TERN_DOUBLE, 0, NULL, NULL), TERN_OK);
    set_element(t, 0, v);
    return t;
}

/* y = x^3 - 4x: y' = 3x^2 - 4, y'' = 6x, by Gradient of Gradient. */
static void test_second_order(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 14);
    mb_input(&b, "x", TERN_DOUBLE, 0, NULL);
    *(double *)mb_constant(&b, "four", TERN_DOUBLE, 0, NULL)->data = 4;
    mb_node(&b, "Mul", "x x", "x2");
    mb_node(&b, "Mul", "x2 x", "x3");
    mb_node(&b, "Mul", "four x", "x4");
    mb_node(&b, "Sub", "x3 x4", "y");
    const char *x[] = {"x"}, *d1[] = {"d1"}, *d2[] = {"d2"};
    add_gradient(&b, x, x, 1, "y", d1);
    add_gradient(&b, x, x, 1, "d1", d2);
    mb_output(&b, "d1");
    mb_output(&b, "d2");
    tern_model *m = mb_end(&b);
    tern_tensor *v = scalar(1.5), *out[2] = {0};
    tern_error err;
    if (open_and_run(m, &(tern_feed){"x", v}, 1, out, 2, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_float_equal(element(out[0], 0), 3 * 1.5 * 1.5 - 4, 1e-12);
    assert_float_equal(element(out[1], 0), 6 * 1.5, 1e-12);
    for (int i = 0; i < 2; i++) tern_tensor_free(out[i]);
    tern_tensor_free(v);
    tern_model_free(m);
}

/* d/dH of Exp(H) at another value than the H of the model, and of a value that y does not depend on. */
static void test_other_values_and_zero(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 14);
    mb_input(&b, "x", TERN_DOUBLE, 0, NULL);
    mb_input(&b, "h1", TERN_DOUBLE, 0, NULL);
    mb_node(&b, "Neg", "x", "h");
    mb_node(&b, "Exp", "h", "y");
    const char *given[] = {"h1", "h1"}, *xs[] = {"h", "z"}, *out_names[] = {"d", "zero"};
    *(double *)mb_constant(&b, "z", TERN_DOUBLE, 0, NULL)->data = 9;
    add_gradient(&b, given, xs, 2, "y", out_names);
    mb_output(&b, "y");
    mb_output(&b, "d");
    mb_output(&b, "zero");
    tern_model *m = mb_end(&b);
    tern_tensor *x = scalar(1), *h1 = scalar(0.25), *out[3] = {0};
    tern_error err;
    tern_feed feeds[] = {{"x", x}, {"h1", h1}};
    if (open_and_run(m, feeds, 2, out, 3, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_float_equal(element(out[0], 0), exp(-1), 1e-12);
    assert_float_equal(element(out[1], 0), exp(0.25), 1e-12);
    assert_float_equal(element(out[2], 0), 0, 0);
    for (int i = 0; i < 3; i++) tern_tensor_free(out[i]);
    tern_tensor_free(x);
    tern_tensor_free(h1);
    tern_model_free(m);
}

static void test_refusal_names_operator_and_node(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_DOUBLE, 2, (int64_t[]){2, 2});
    mb_node(&b, "Hardmax", "x", "y")->name = "hard";
    const char *x[] = {"x"}, *d[] = {"d"};
    add_gradient(&b, x, x, 1, "y", d)->name = "grad";
    mb_output(&b, "d");
    tern_model *m = mb_end(&b);
    tern_session *s;
    tern_error err;
    assert_int_equal(tern_session_create(&s, m, NULL, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "node 'grad'"));
    assert_non_null(strstr(err.text, "node 'hard' (Hardmax, opset 13) can not be differentiated"));
    tern_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_operand),
        cmocka_unit_test(test_broadcast_operands),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_data_movement),
        cmocka_unit_test(test_second_order),
        cmocka_unit_test(test_other_values_and_zero),
        cmocka_unit_test(test_refusal_names_operator_and_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
