/* Models rewritten for another opset, and simplified within their own: the same numbers from the nodes expected. The
 * published operator cases go through the same adapters in tests/ops/test_opset_cases.sh; here are the ones that have
 * to be put together, what they refuse, and what --simplify writes as one node. */
#include <math.h>

#include "model_builder.h"
#include "opt/opt.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

/* A model from x, float32[2,8,6], to y. */
static void begin(mb *b, int opset) {
    mb_begin(b, opset);
    tn_opset_import *import = tn_arena_array(&b->model->arena, 1, sizeof *import);
    assert_non_null(import);
    *import = (tn_opset_import){.domain = "", .version = opset};
    b->model->opsets = import;
    b->model->n_opsets = 1;
    mb_input(b, "x", TERN_FLOAT, 3, DIMS(2, 8, 6));
}

static tern_model *copy_of(const tern_model *m) {
    tern_model *copy;
    tern_error err;
    if (tn_opt_clone(&copy, m, &err) != TERN_OK || tn_opt_infer(copy, &err) != TERN_OK) fail_msg("%s", err.text);
    return copy;
}

static tern_tensor *run(tern_model *m) {
    tern_options o;
    tern_options_init(&o);
    o.threads = 1;
    o.optimize = false;
    tern_session *s;
    tern_error err;
    tern_tensor *x = mb_random_tensor(7, 3, DIMS(2, 8, 6)), *y = NULL;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_tensor_free(x);
    tern_session_free(s);
    return y;
}

static void check_same(tern_model *a, tern_model *b) {
    tern_tensor *want = run(a), *got = run(b);
    assert_int_equal(want->dtype, got->dtype);
    assert_true(tn_shape_equal(&want->shape, &got->shape));
    for (int64_t i = 0; i < tn_shape_count(&want->shape); i++) {
        double p = tn_tensor_get_f64(want, i), q = tn_tensor_get_f64(got, i);
        if (!(fabs(p - q) <= 2e-6 * (1 + fabs(p)))) fail_msg("element %d: %.9g, then %.9g", (int)i, p, q);
    }
    tern_tensor_free(want);
    tern_tensor_free(got);
}

static int count_ops(const tern_model *m, const char *op_type) {
    int n = 0;
    for (int i = 0; i < m->graph->n_nodes; i++) n += strcmp(m->graph->nodes[i]->op_type, op_type) == 0;
    return n;
}

/* ---- opsets ---------------------------------------------------------------------------------------------------- */

static void hard_swish(mb *b) { mb_node(b, "HardSwish", "x", "y"); }
static void mish(mb *b) { mb_node(b, "Mish", "x", "y"); }
static void swish(mb *b) { mb_float(mb_node(b, "Swish", "x", "y"), "alpha", 1.5f); }
static void gelu(mb *b) { mb_node(b, "Gelu", "x", "y"); }
static void celu(mb *b) { mb_float(mb_node(b, "Celu", "x", "y"), "alpha", 0.5f); }
static void gelu_by_tanh(mb *b) {
    tn_attr *a = mb_attr(mb_node(b, "Gelu", "x", "y"), "approximate", TN_ATTR_STRING);
    a->s = tn_str_c("tanh");
}
static void at_least(mb *b) {
    mb_random(b, "k", 1, DIMS(6));
    mb_node(b, "GreaterOrEqual", "x k", "y");
}
static void layer_norm(mb *b) {
    mb_random(b, "scale", 1, DIMS(6)), mb_random(b, "bias", 1, DIMS(6));
    mb_node(b, "LayerNormalization", "x scale bias", "y");
}
static void rms_norm(mb *b) {
    mb_random(b, "scale", 1, DIMS(6));
    mb_node(b, "RMSNormalization", "x scale", "y");
}
static void group_norm(mb *b) {
    mb_random(b, "scale", 1, DIMS(8)), mb_random(b, "bias", 1, DIMS(8));
    mb_int(mb_node(b, "GroupNormalization", "x scale bias", "y"), "num_groups", 4);
}
static void reduce_sum(mb *b) {
    mb_int64s(b, "axes", 1, DIMS(1));
    mb_node(b, "ReduceSum", "x axes", "y");
}
static void reduce_mean(mb *b) {
    mb_int64s(b, "axes", 1, DIMS(-1));
    mb_node(b, "ReduceMean", "x axes", "y");
}
static void softmax(mb *b) { mb_int(mb_node(b, "Softmax", "x", "y"), "axis", 1); }
static void unsqueeze(mb *b) {
    mb_int64s(b, "axes", 2, DIMS(0, 4));
    mb_node(b, "Unsqueeze", "x axes", "y");
}
static void clip(mb *b) {
    mb_scalar(b, "lo", -0.25f), mb_scalar(b, "hi", 0.5f);
    mb_node(b, "Clip", "x lo hi", "y");
}
static void pad(mb *b) {
    mb_int64s(b, "pads", 6, DIMS(0, 1, 2, 0, 0, 3));
    mb_node(b, "Pad", "x pads", "y");
}
static void slice(mb *b) {
    mb_int64s(b, "from", 1, DIMS(1)), mb_int64s(b, "to", 1, DIMS(5)), mb_int64s(b, "axes", 1, DIMS(2));
    mb_node(b, "Slice", "x from to axes", "y");
}
static void split(mb *b) {
    mb_int64s(b, "parts", 2, DIMS(5, 3));
    mb_int(mb_node(b, "Split", "x parts", "y z"), "axis", 1);
}
static void part_of_shape(mb *b) { mb_int(mb_node(b, "Shape", "x", "y"), "start", 1); }
static void upsample(mb *b) {
    mb_floats(b, "scales", 1, DIMS(3), (const float[]){1, 2, 2});
    mb_node(b, "Upsample", "x scales", "y");
}

static const struct {
    const char *name;
    void (*build)(mb *b);
    int from, to;
    const char *gone; /* the operator that must not be there any more; NULL: it stays, in its other form */
} conversions[] = {
    {"HardSwish", hard_swish, 14, 13, "HardSwish"},
    {"Mish", mish, 18, 17, "Mish"},
    {"Swish", swish, 24, 13, "Swish"},
    {"Gelu", gelu, 20, 13, "Gelu"},
    {"Gelu by tanh", gelu_by_tanh, 20, 9, "Gelu"},
    {"Celu", celu, 12, 11, "Celu"},
    {"GreaterOrEqual", at_least, 12, 11, "GreaterOrEqual"},
    {"LayerNormalization", layer_norm, 17, 13, "LayerNormalization"},
    {"LayerNormalization to axes as attribute", layer_norm, 17, 7, "LayerNormalization"},
    {"RMSNormalization", rms_norm, 23, 18, "RMSNormalization"},
    {"GroupNormalization", group_norm, 21, 17, "GroupNormalization"},
    {"ReduceSum", reduce_sum, 13, 11, NULL},
    {"ReduceSum up", reduce_sum, 13, 28, NULL},
    {"ReduceMean", reduce_mean, 18, 13, NULL},
    {"Softmax", softmax, 13, 11, NULL},
    {"Softmax of a middle axis up", softmax, 11, 13, NULL},
    {"Unsqueeze", unsqueeze, 13, 11, NULL},
    {"Clip", clip, 13, 6, NULL},
    {"Pad", pad, 13, 2, NULL},
    {"Slice", slice, 13, 9, NULL},
    {"Split", split, 13, 11, NULL},
    {"Shape of a part", part_of_shape, 15, 13, NULL},
    {"Upsample", upsample, 9, 11, "Upsample"},
};

static void test_conversions(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(conversions); i++) {
        mb b;
        tern_error err;
        begin(&b, conversions[i].from);
        conversions[i].build(&b);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b), *other = copy_of(m), *back;
        if (tn_opset_convert(other, conversions[i].to, &err) != TERN_OK)
            fail_msg("%s: %s", conversions[i].name, err.text);
        assert_int_equal(other->opsets[0].version, conversions[i].to);
        for (int k = 0; k < other->graph->n_nodes; k++)
            assert_int_equal(other->graph->nodes[k]->opset, conversions[i].to);
        if (conversions[i].gone) assert_int_equal(count_ops(other, conversions[i].gone), 0);
        check_same(m, other);
        back = copy_of(other);
        if (tn_opset_convert(back, TN_MAX(conversions[i].from, 7), &err) != TERN_OK)
            fail_msg("%s, back: %s", conversions[i].name, err.text);
        check_same(m, back);
        tern_model_free(back);
        tern_model_free(other);
        tern_model_free(m);
    }
}

static void check_refused(int from, int to, void (*build)(mb *b), const char *why) {
    mb b;
    tern_error err = {0};
    begin(&b, from);
    build(&b);
    mb_output(&b, "y");
    tern_model *m = mb_end(&b), *other;
    assert_int_equal(tn_opt_clone(&other, m, &err), TERN_OK);
    (void)tn_opt_infer(other, &err); /* a damaged node has no type */
    assert_int_equal(tn_graph_finish(other->graph, &err), TERN_OK);
    assert_int_equal(tn_opset_convert(other, to, &err), to > 28 ? TERN_INVALID_ARGUMENT : TERN_UNSUPPORTED);
    if (!strstr(err.text, why)) fail_msg("'%s' says nothing of '%s'", err.text, why);
    tern_model_free(other);
    tern_model_free(m);
}

static void non_zero(mb *b) { mb_node(b, "NonZero", "x", "y"); }
static void no_scale(mb *b) { mb_node(b, "LayerNormalization", "x -", "y"); }
static void no_bias(mb *b) {
    mb_random(b, "scale", 1, DIMS(8));
    mb_int(mb_node(b, "GroupNormalization", "x scale -", "y"), "num_groups", 4);
}
static void sliced_by_input(mb *b) {
    mb_int64s(b, "from", 1, DIMS(1)), mb_int64s(b, "axes", 1, DIMS(2));
    mb_node(b, "Shape", "x", "to");
    mb_node(b, "Slice", "x from to axes", "y");
}

static void test_refusals(void **state) {
    (void)state;
    check_refused(13, 8, non_zero, "the operator is not there yet");
    check_refused(17, 13, no_scale, "lacks an input");
    check_refused(21, 17, no_bias, "lacks an input");
    check_refused(13, 9, sliced_by_input, "Slice");
    check_refused(13, 99, non_zero, "1 to 28 exist");
}

/* ---- simplification -------------------------------------------------------------------------------------------- */

static void silu_parts(mb *b) {
    mb_node(b, "Sigmoid", "x", "s");
    mb_node(b, "Mul", "x s", "y");
}
static void hard_swish_parts(mb *b) {
    mb_scalar(b, "three", 3), mb_scalar(b, "zero", 0), mb_scalar(b, "six", 6);
    mb_node(b, "Add", "x three", "p");
    mb_node(b, "Clip", "p zero six", "q");
    mb_node(b, "Mul", "x q", "r");
    mb_node(b, "Div", "r six", "y");
}
static void gelu_parts(mb *b) {
    mb_scalar(b, "root2", 1.41421356f), mb_scalar(b, "one", 1), mb_scalar(b, "half", 0.5f);
    mb_node(b, "Div", "x root2", "p");
    mb_node(b, "Erf", "p", "q");
    mb_node(b, "Add", "q one", "r");
    mb_node(b, "Mul", "x r", "s");
    mb_node(b, "Mul", "s half", "y");
}
static void layer_norm_parts(mb *b) {
    mb_random_in(b, "scale", 1, DIMS(6), 0.5f, 1.5f), mb_random(b, "bias", 1, DIMS(6));
    mb_scalar(b, "two", 2), mb_scalar(b, "eps", 1e-3f);
    tn_node *mean = mb_node(b, "ReduceMean", "x", "m");
    mb_node(b, "Sub", "x m", "d");
    mb_node(b, "Pow", "d two", "q");
    tn_node *variance = mb_node(b, "ReduceMean", "q", "v");
    mb_ints(mean, "axes", 1, DIMS(-1)), mb_ints(variance, "axes", 1, DIMS(-1));
    mb_node(b, "Add", "v eps", "w");
    mb_node(b, "Sqrt", "w", "r");
    mb_node(b, "Div", "d r", "n");
    mb_node(b, "Mul", "n scale", "t");
    mb_node(b, "Add", "t bias", "y");
}

static const struct {
    void (*build)(mb *b);
    int opset, nodes;
    const char *becomes; /* NULL: the opset has no such operator, all stays */
} forms[] = {
    {silu_parts, 24, 1, "Swish"},
    {silu_parts, 28, 1, "Swish"},
    {silu_parts, 23, 2, NULL},
    {hard_swish_parts, 14, 1, "HardSwish"},
    {hard_swish_parts, 22, 1, "HardSwish"},
    {hard_swish_parts, 13, 4, NULL},
    {gelu_parts, 20, 1, "Gelu"},
    {gelu_parts, 19, 5, NULL},
    {layer_norm_parts, 17, 1, "LayerNormalization"},
    {layer_norm_parts, 16, 9, NULL},
};

static void test_simplify(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(forms); i++) {
        mb b;
        tern_error err;
        begin(&b, forms[i].opset);
        forms[i].build(&b);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b), *simple = copy_of(m);
        if (tn_opt_simplify(simple, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_int_equal(simple->graph->n_nodes, forms[i].nodes);
        for (int k = 0; k < simple->graph->n_nodes; k++) {
            assert_string_equal(simple->graph->nodes[k]->domain, "");
            assert_int_equal(simple->graph->nodes[k]->opset, forms[i].opset);
        }
        if (forms[i].becomes) assert_int_equal(count_ops(simple, forms[i].becomes), 1);
        check_same(m, simple);
        tern_model_free(simple);
        tern_model_free(m);
    }
}

static void note(void *context, const tn_node *node, const char *text) {
    (void)node;
    char *all = context;
    snprintf(all + strlen(all), 300 - strlen(all), "%s; ", text);
}

/* What onnx.checker says of the same nodes. */
static void test_attributes(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int opset;
        const char *attr, *says;
    } cases[] = {
        {"Relu", 17, "foo", "version 14 of the operator has no attribute 'foo'; "},
        {"Relu", 17, "__foo", ""},
        {"Relu", 1, "consumed_inputs", ""},
        {"Softmax", 17, "axis", ""},
        {"Softmax", 17, "axi", "version 13 of the operator has no attribute 'axi'; "},
        {"Concat", 17, NULL, "attribute 'axis', which version 13 of the operator needs, is missing; "},
        {"Concat", 17, "axis", ""},
        {"Concat", 3, NULL, ""},
        {"ai.onnx.ml.Scaler", 3, "ofset", "version 1 of the operator has no attribute 'ofset'; "},
        {"ai.onnx.ml.Scaler", 3, "offset", ""},
        {"ai.onnx.ml.LabelEncoder", 1, "keys_int64s", "version 1 of the operator has no attribute 'keys_int64s'; "},
        {"ai.onnx.ml.LabelEncoder", 2, "keys_int64s", ""},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        mb b;
        char text[300] = "";
        begin(&b, cases[i].opset);
        const char *dot = strrchr(cases[i].op, '.');
        tn_node *n = mb_node(&b, dot ? dot + 1 : cases[i].op, "x", "y");
        if (dot) {
            n->domain = "ai.onnx.ml";
            n->opset = cases[i].opset;
        }
        if (cases[i].attr) mb_attr(n, cases[i].attr, TN_ATTR_INT);
        tn_opset_check_attrs(n, note, text);
        assert_string_equal(text, cases[i].says);
        mb_output(&b, "y");
        tern_model_free(mb_end(&b));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_simplify),
        cmocka_unit_test(test_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
