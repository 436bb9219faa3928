/* Operators that make shapes and constants, and what inference tells of chains of them. */
#include "ops/op_test.h"

static void test_shape_and_size(void **state) {
    (void)state;
    static const struct {
        int opset;
        int64_t start, end;
        int n;
        double want[4];
    } cases[] = {{15, 0, 100, 4, {2, 3, 0, 5}}, {15, -2, 100, 2, {0, 5}},   {15, 1, -1, 2, {3, 0}}, {15, 3, 1, 0, {0}},
                 {15, -9, 1, 1, {2}},           {13, 1, 2, 4, {2, 3, 0, 5}}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        op_test t;
        op_begin(&t, "Shape", cases[i].opset);
        op_attr_i(&t, "start", cases[i].start);
        op_attr_i(&t, "end", cases[i].end);
        op_in(&t, op_tensor(TERN_STRING, DIMS(2, 3, 0, 5)));
        op_out(&t, op_num(TERN_INT64, DIMS(cases[i].n), (size_t)cases[i].n, cases[i].want));
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "Size", 13);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3, 5)));
    op_out(&t, op_num(TERN_INT64, SCALAR, VALS(30)));
    op_run_exact(&t);
}

static void test_constant(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Constant", 13);
    op_attr_ints(&t, "value_ints", INTS(7, INT64_MIN));
    op_out(&t, op_int(TERN_INT64, DIMS(2), INTS(7, INT64_MIN)));
    op_run_exact(&t);
    op_begin(&t, "Constant", 13);
    op_attr_strings(&t, "value_strings", STRS("a", ""));
    op_out(&t, op_str(DIMS(2), STRS("a", "")));
    op_run_exact(&t);
    op_begin(&t, "Constant", 12);
    op_attr_f(&t, "value_float", 2.5f);
    op_out(&t, op_num(TERN_FLOAT, SCALAR, VALS(2.5)));
    op_run_exact(&t);
    op_begin(&t, "Constant", 1);
    op_attr_tensor(&t, "value", op_num(TERN_BFLOAT16, DIMS(1, 2), VALS(1, -3)));
    op_out(&t, op_num(TERN_BFLOAT16, DIMS(1, 2), VALS(1, -3)));
    op_run_exact(&t);
    op_begin(&t, "Constant", 13);
    op_attr_i(&t, "value_int", 1);
    op_attr_f(&t, "value_float", 1);
    op_error(&t, TERN_INVALID_MODEL, STRS("2 attributes"));
    op_begin(&t, "ConstantOfShape", 9);
    op_attr_tensor(&t, "value", op_num(TERN_INT32, DIMS(1), VALS(-7)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(2, 3)));
    op_out(&t, op_num(TERN_INT32, DIMS(2, 3), VALS(-7, -7, -7, -7, -7, -7)));
    op_run_exact(&t);
    op_begin(&t, "ConstantOfShape", 9);
    op_in(&t, op_int(TERN_INT64, DIMS(3), INTS((int64_t)1 << 40, (int64_t)1 << 40, 1)));
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("1099511627776"));
    op_begin(&t, "ConstantOfShape", 9);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(-2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("-2"));
    op_begin(&t, "EyeLike", 9);
    op_attr_i(&t, "dtype", TERN_UINT16);
    op_attr_i(&t, "k", -1);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3, 2)));
    op_out(&t, op_num(TERN_UINT16, DIMS(3, 2), VALS(0, 0, 1, 0, 0, 1)));
    op_run_exact(&t);
}

static void range_case(tern_dtype dtype, double start, double limit, double delta, int64_t n, const double *want) {
    op_test t;
    op_begin(&t, "Range", 11);
    op_in(&t, op_num(dtype, SCALAR, VALS(start)));
    op_in(&t, op_num(dtype, SCALAR, VALS(limit)));
    op_in(&t, op_num(dtype, SCALAR, VALS(delta)));
    op_out(&t, op_num(dtype, DIMS(n), (size_t)n, want));
    op_run(&t, 1e-6, 0);
}

static void test_range(void **state) {
    (void)state;
    range_case(TERN_INT64, 1, 8, 3, 3, (const double[]){1, 4, 7});
    range_case(TERN_INT16, 8, 0, -3, 3, (const double[]){8, 5, 2});
    range_case(TERN_INT32, 3, 3, 1, 0, NULL);
    range_case(TERN_INT32, 3, 5, -1, 0, NULL);
    range_case(TERN_FLOAT, 0, 1, 0.3, 4, (const double[]){0, 0.3, 0.6, 0.9});
    op_test t;
    op_begin(&t, "Range", 11);
    op_in(&t, op_int(TERN_INT64, SCALAR, INTS(INT64_MIN)));
    op_in(&t, op_int(TERN_INT64, SCALAR, INTS(INT64_MAX)));
    op_in(&t, op_int(TERN_INT64, SCALAR, INTS(1)));
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("too long"));
    op_begin(&t, "Range", 11);
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("steps of 0"));
}

/* ---- chains -------------------------------------------------------------------------------------------------- */

typedef struct chain {
    tern_model *model;
    tn_graph *g;
    int n;
} chain;

static tn_value *constant(chain *c, tern_tensor *t) {
    char name[16];
    snprintf(name, sizeof name, "c%d", c->n++);
    tn_value *v = tn_graph_value(c->g, name);
    assert_int_equal(tn_model_own_tensor(c->model, t, NULL), TERN_OK);
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return v;
}

static tn_value *apply(chain *c, const char *op, tn_value *a, tn_value *b) {
    char name[16];
    snprintf(name, sizeof name, "v%d", c->n++);
    tn_node *n = tn_graph_add_node(c->g, "", op, 13, b ? 2 : 1, 1);
    n->in[0] = a;
    if (b) n->in[1] = b;
    n->out[0] = tn_graph_value(c->g, name);
    if (strcmp(op, "Concat") == 0) tn_node_add_attr(n, "axis", TN_ATTR_INT)->i = 0;
    return n->out[0];
}

/* x.reshape(x.shape[0], -1) and x[..., :h, :w].expand as exporters write them: the batch stays a symbol. */
static void test_chain(void **state) {
    (void)state;
    chain c = {.model = tn_model_new()};
    c.g = c.model->graph = tn_graph_new(c.model, NULL, "chain");
    tn_value *x = tn_graph_value(c.g, "x");
    int64_t batch = tn_model_symbol(c.model, "batch");
    x->type = (tn_type){.dtype = TERN_FLOAT, .ranked = true, .shape = {4, {batch, 3, 4, 5}}};
    assert_int_equal(tn_graph_add_input(c.g, x, NULL), TERN_OK);
    tn_value *axis = constant(&c, op_num(TERN_INT64, DIMS(1), VALS(0)));
    tn_value *shape = apply(&c, "Shape", x, NULL);
    tn_value *first = apply(&c, "Gather", shape, constant(&c, op_num(TERN_INT64, SCALAR, VALS(0))));
    tn_value *list = apply(&c, "Unsqueeze", apply(&c, "Identity", first, NULL), axis);
    tn_value *target = apply(&c, "Concat", list, constant(&c, op_num(TERN_INT64, DIMS(1), VALS(-1))));
    tn_value *flat = apply(&c, "Reshape", x, target);
    tn_value *halves = apply(&c, "Reshape", flat, constant(&c, op_num(TERN_INT64, DIMS(3), VALS(-1, 2, 30))));
    tn_value *row = apply(&c, "Squeeze", list, axis);
    tn_value *again = apply(&c, "Unsqueeze", row, axis);
    tn_value *wide = apply(&c, "Expand", constant(&c, op_num(TERN_FLOAT, DIMS(1, 60), 60, (double[60]){0})),
                           apply(&c, "Concat", again, constant(&c, op_num(TERN_INT64, DIMS(1), VALS(60)))));
    tn_value *outputs[] = {flat, halves, wide};
    for (size_t i = 0; i < 3; i++) assert_int_equal(tn_graph_add_output(c.g, outputs[i], NULL), TERN_OK);
    tern_error err = {0};
    if (tn_graph_finish(c.g, &err) != TERN_OK || tn_op_resolve_graph(c.g, &err) != TERN_OK) fail_msg("%s", err.text);
    tn_infer_env env;
    assert_int_equal(tn_infer_env_init(&env, c.model, c.g, NULL, &c.model->arena, true, &err), TERN_OK);
    if (tn_infer_env_graph(&env, &err) != TERN_OK) fail_msg("%s", err.text);
    static const int ranks[] = {2, 3, 2};
    const int64_t want[3][3] = {{batch, 60}, {batch, 2, 30}, {batch, 60}};
    for (int i = 0; i < 3; i++) {
        const tn_type *t = &env.types[outputs[i]->id];
        assert_true(t->ranked);
        assert_int_equal(t->shape.rank, ranks[i]);
        for (int d = 0; d < ranks[i]; d++)
            if (t->shape.dims[d] != want[i][d])
                fail_msg("output %d: dim %d is %lld", i, d, (long long)t->shape.dims[d]);
    }
    tn_infer_env_release(&env);
    tn_model_free(c.model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_and_size),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
