/* Custom operators (tern/op.h): registered, found, run beside built-in ones, and what happens when they misbehave. */
#include <pthread.h>
#include <stdatomic.h>

#include "subgraph_builder.h"

#define DOMAIN "com.example"

/* ---- the operators ----------------------------------------------------------------------------------------------- */

static const tern_op_param real_in[] = {{.name = "X", .types = TERN_TYPE(FLOAT) | TERN_TYPE(DOUBLE), .same_as = "T"}};
static const tern_op_param real_out[] = {{.name = "Y", .types = TERN_TYPE(FLOAT) | TERN_TYPE(DOUBLE), .same_as = "T"}};

static tern_op unary(const char *name, tern_op_fn infer, tern_op_fn compute) {
    return (tern_op){.domain = DOMAIN,
                     .name = name,
                     .inputs = real_in,
                     .n_inputs = 1,
                     .outputs = real_out,
                     .n_outputs = 1,
                     .infer = infer,
                     .compute = compute};
}

static tern_status like_input(tern_op_context *c, void *user) {
    (void)user;
    return tern_op_output_like(c, 0, 0);
}

typedef struct scaling {
    const tern_tensor *x;
    tern_tensor *y;
    double factor;
} scaling;

static void scale_part(void *data, int64_t begin, int64_t end) {
    const scaling *s = data;
    for (int64_t i = begin; i < end; i++) {
        if (tern_tensor_dtype(s->x) == TERN_FLOAT)
            ((float *)tern_tensor_data(s->y))[i] = (float)s->factor * ((const float *)tern_tensor_const_data(s->x))[i];
        else
            ((double *)tern_tensor_data(s->y))[i] = s->factor * ((const double *)tern_tensor_const_data(s->x))[i];
    }
}

/* y = user_data * factor * x */
static tern_status scale(tern_op_context *c, void *user) {
    scaling s = {.x = tern_op_input(c, 0),
                 .factor = *(const double *)user * (double)tern_op_attr_float(c, "factor", 1)};
    TN_TRY(tern_op_output(c, 0, tern_tensor_rank(s.x), tern_tensor_dims(s.x), &s.y));
    tern_op_parallel_for(c, tern_tensor_count(s.x), scale_part, &s);
    return TERN_OK;
}

/* The elements above 0: as many as there are. */
static tern_status positive(tern_op_context *c, void *user) {
    (void)user;
    const tern_tensor *x = tern_op_input(c, 0);
    const float *v = tern_tensor_const_data(x);
    int64_t n = 0;
    for (int64_t i = 0; i < tern_tensor_count(x); i++) n += v[i] > 0;
    tern_tensor *y;
    TN_TRY(tern_op_output(c, 0, 1, &n, &y));
    float *to = tern_tensor_data(y);
    for (int64_t i = 0; i < tern_tensor_count(x); i++)
        if (v[i] > 0) *to++ = v[i];
    return TERN_OK;
}

/* ---- fixtures ---------------------------------------------------------------------------------------------------- */

static const double two = 2;
static int released;
static void release(void *user) {
    assert_ptr_equal(user, &two);
    released++;
}

static const tern_op_attribute factor[] = {{"factor", TERN_ATTR_FLOAT, false}};

static tern_op twice_op(void) {
    tern_op op = unary("Twice", like_input, scale);
    op.user_data = (void *)(uintptr_t)&two;
    op.attributes = factor;
    op.n_attributes = 1;
    return op;
}

static void must_register(tern_op op) {
    tern_error err;
    if (tern_op_register(&op, &err) != TERN_OK) fail_msg("%s", err.text);
}

static void must_unregister(const char *name) {
    tern_error err;
    if (tern_op_unregister(DOMAIN, name, 1, &err) != TERN_OK) fail_msg("%s", err.text);
}

static tn_node *custom(mb *b, const char *op, const char *inputs, const char *outputs) {
    tn_node *n = mb_node(b, op, inputs, outputs);
    n->domain = DOMAIN;
    n->opset = 1;
    n->name = "mine";
    return n;
}

/* x (rank 1 of `dim`) -> op -> y */
static tern_model *one_node(const char *op, tern_dtype dtype, int64_t dim) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", dtype, 1, &dim);
    custom(&b, op, "x", "y");
    mb_output(&b, "y");
    return mb_end(&b);
}

/* Registers `op` as Bad, expects that a run on two floats fails so, and takes it away again. */
static void bad(tern_op op, tern_status status, const char *word) {
    op.domain = DOMAIN;
    op.name = "Bad";
    must_register(op);
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, -2});
    sub_run r;
    sub_options(&r);
    tern_status got = sub_try(&r, one_node("Bad", TERN_FLOAT, 2), &(tern_feed){"x", x}, 1);
    if (got != status) fail_msg("status %d (%s), expected %d", got, got ? r.err.text : "", status);
    if (!strstr(r.err.text, word) || !strstr(r.err.text, "node 'mine' (com.example.Bad"))
        fail_msg("'%s' does not mention '%s' and the node", r.err.text, word);
    sub_end(&r);
    tern_tensor_free(x);
    must_unregister("Bad");
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void test_beside_built_in_operators(void **state) {
    (void)state;
    must_register(twice_op());
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(-1, 2));
    mb_node(&b, "Neg", "x", "a");
    mb_float(custom(&b, "Twice", "a", "b"), "factor", 3);
    mb_node(&b, "Add", "b x", "y");
    mb_output(&b, "y");
    tern_tensor *x = sub_floats(2, DIMS(2, 2), (float[]){1, 2, 3, 4});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){2, 2}), -5, -10, -15, -20);
    /* The free dim has kept its name through the operator, so that all steps are planned. */
    for (int i = 0; i < r.session->plans[0]->plan->n_steps; i++)
        assert_false(r.session->plans[0]->plan->steps[i].dynamic);
    sub_end(&r);
    tern_tensor_free(x);
    must_unregister("Twice");
}

static void test_types_follow_the_input(void **state) {
    (void)state;
    must_register(twice_op());
    tern_tensor *x = sub_tensor(TERN_DOUBLE, 1, DIMS(2));
    ((double *)x->data)[1] = 0.5;
    sub_run r;
    sub_must(&r, one_node("Twice", TERN_DOUBLE, -1), &(tern_feed){"x", x}, 1);
    assert_int_equal(r.out[0]->dtype, TERN_DOUBLE);
    EXPECT(r.out[0], ((int64_t[]){2}), 0, 1);
    sub_end(&r);
    tern_tensor_free(x);
    x = sub_tensor(TERN_INT32, 1, DIMS(2));
    sub_fails(one_node("Twice", TERN_INT32, 2), &(tern_feed){"x", x}, 1, TERN_TYPE_MISMATCH, "float64");
    tern_tensor_free(x);
    must_unregister("Twice");
}

static void test_shapes_that_depend_on_data(void **state) {
    (void)state;
    must_register(unary("Positive", NULL, positive));
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(-1));
    custom(&b, "Positive", "x", "p");
    mb_node(&b, "Neg", "p", "n");
    mb_node(&b, "Shape", "n", "s");
    mb_output(&b, "n");
    mb_output(&b, "s");
    tern_tensor *x = sub_floats(1, DIMS(4), (float[]){1, -2, 3, 0});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){2}), -1, -3);
    EXPECT(r.out[1], ((int64_t[]){1}), 2);
    sub_end(&r);
    tern_tensor_free(x);
    must_unregister("Positive");
}

/* In a Loop: v = Twice(Positive([v, x])), where x is captured. */
static void test_in_a_subgraph(void **state) {
    (void)state;
    must_register(twice_op());
    must_register(unary("Positive", NULL, positive));
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(2));
    mb_int64s(&b, "m", 1, (int64_t[]){3});
    mb_floats(&b, "v0", 1, DIMS(1), (float[]){5});
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "v", TERN_FLOAT, 1, DIMS(-1));
    sub_capture(&body, &b, "x");
    mb_int(mb_node(&body, "Concat", "v x", "c"), "axis", 0);
    custom(&body, "Positive", "c", "p");
    custom(&body, "Twice", "p", "w");
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "w");
    sub_attr(mb_node(&b, "Loop", "m - v0", "y"), "body", &body);
    mb_output(&b, "y");
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, -1});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){4}), 40, 8, 4, 2);
    sub_end(&r);
    tern_tensor_free(x);
    must_unregister("Twice");
    must_unregister("Positive");
}

/* ---- optional, repeated and unused parameters, attributes, strings ----------------------------------------------- */

static const tern_op_param many_in[] = {
    {.name = "first", .types = TERN_TYPE(FLOAT)},
    {.name = "rest", .types = TERN_TYPE(FLOAT), .optional = true, .variadic = true}};
static const tern_op_param many_out[] = {{.name = "text", .types = TERN_TYPE(STRING)},
                                         {.name = "count", .types = TERN_TYPE(INT64), .optional = true}};
static const tern_op_attribute many_attributes[] = {
    {"i", TERN_ATTR_INT, true},          {"s", TERN_ATTR_STRING, false}, {"ints", TERN_ATTR_INTS, false},
    {"floats", TERN_ATTR_FLOATS, false}, {"t", TERN_ATTR_TENSOR, false}, {"strings", TERN_ATTR_STRINGS, false}};

static tern_status describe(tern_op_context *c, void *user) {
    (void)user;
    size_t n_ints, n_floats;
    tern_string s = tern_op_attr_string(c, "s", "none"), word = {"", 0};
    const int64_t *ints = tern_op_attr_ints(c, "ints", &n_ints);
    tern_op_attr_floats(c, "floats", &n_floats);
    tern_op_attr_string_at(c, "strings", 1, &word);
    assert_false(tern_op_attr_string_at(c, "strings", 2, &word));
    int64_t there = 0;
    tern_value_info info;
    for (size_t i = 0; i < tern_op_input_count(c); i++) {
        assert_int_equal(tern_op_input_info(c, i, &info), tern_op_input(c, i) != NULL);
        there += tern_op_input(c, i) != NULL;
    }
    char text[100];
    snprintf(text, sizeof text, "%d %.*s %d %d %.*s %d", (int)tern_op_attr_int(c, "i", 0), (int)s.len, s.data,
             (int)(n_ints ? ints[n_ints - 1] : -1), (int)n_floats, (int)word.len, word.data,
             tern_op_attr_tensor(c, "t") != NULL);
    tern_tensor *t, *count;
    TN_TRY(tern_op_output(c, 0, 1, &(int64_t){2}, &t));
    TN_TRY(tern_op_set_string(c, 0, 1, text, strlen(text)));
    TN_TRY(tern_op_output(c, 1, 0, NULL, &count));
    assert_int_equal(count != NULL, tern_op_output_wanted(c, 1));
    if (count) *(int64_t *)tern_tensor_data(count) = there;
    return TERN_OK;
}

static tern_op describe_op(void) {
    return (tern_op){.domain = DOMAIN,
                     .name = "Describe",
                     .inputs = many_in,
                     .n_inputs = 2,
                     .outputs = many_out,
                     .n_outputs = 2,
                     .attributes = many_attributes,
                     .n_attributes = TN_COUNT(many_attributes),
                     .compute = describe};
}

static void run_describe(const char *inputs, const char *outputs, bool all, const char *text, int count) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(-1));
    tn_node *n = custom(&b, "Describe", inputs, outputs);
    mb_int(n, "i", 7);
    static const float floats[2] = {1, 2};
    static const tn_str words[2] = {{"a", 1}, {"bc", 2}};
    if (all) {
        mb_attr(n, "s", TN_ATTR_STRING)->s = tn_str_c("hello");
        mb_ints(n, "ints", 2, DIMS(4, 5));
        tn_attr *a = mb_attr(n, "floats", TN_ATTR_FLOATS);
        a->floats = floats;
        a->count = 2;
        a = mb_attr(n, "strings", TN_ATTR_STRINGS); /* which may move the others */
        a->strings = words;
        a->count = 2;
        mb_attr(n, "t", TN_ATTR_TENSOR)->t = mb_constant(&b, "unused", TERN_FLOAT, 0, NULL);
    }
    mb_output(&b, "y");
    if (count >= 0) mb_output(&b, "n");
    tern_tensor *x = sub_floats(1, DIMS(1), (float[]){1});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    const tern_string *s = tern_tensor_const_data(r.out[0]);
    assert_int_equal(s[0].len, 0);
    assert_int_equal(s[1].len, strlen(text));
    assert_memory_equal(s[1].data, text, s[1].len);
    if (count >= 0) EXPECT_SCALAR(r.out[1], count);
    sub_end(&r);
    tern_tensor_free(x);
}

static void test_parameters_and_attributes(void **state) {
    (void)state;
    must_register(describe_op());
    run_describe("x", "y", false, "7 none -1 0  0", -1);
    run_describe("x - x x", "y n", true, "7 hello 5 2 bc 1", 3);
    must_unregister("Describe");
}

static void fails_with_attribute(const char *name, tn_attr_type type, const char *word) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(1));
    tn_node *n = custom(&b, "Describe", "x", "y");
    if (name) mb_attr(n, name, type)->s = tn_str_c("text");
    mb_output(&b, "y");
    sub_fails(mb_end(&b), NULL, 0, TERN_INVALID_MODEL, word);
}

static void test_attributes_are_checked_at_load(void **state) {
    (void)state;
    must_register(describe_op());
    fails_with_attribute(NULL, TN_ATTR_INT, "attribute 'i' is missing");
    fails_with_attribute("i", TN_ATTR_STRING, "attribute 'i' has the wrong type");
    fails_with_attribute("what", TN_ATTR_STRING, "has no attribute 'what'");
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(1));
    mb_int(custom(&b, "Describe", "- x", "y"), "i", 1);
    mb_output(&b, "y");
    sub_fails(mb_end(&b), NULL, 0, TERN_INVALID_MODEL, "input 0 is required");
    must_unregister("Describe");
}

/* ---- operators that misbehave ------------------------------------------------------------------------------------ */

static tern_status nothing(tern_op_context *c, void *user) {
    (void)c, (void)user;
    return TERN_OK;
}
static tern_status too_large(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    return tern_op_output(c, 0, 1, &(int64_t){3}, &y);
}
static tern_status huge(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    tern_op_output(c, 0, 2, (int64_t[]){INT64_MAX, 8}, &y);
    assert_null(y);
    return TERN_OK; /* the failure is not forgotten */
}
static tern_status negative(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    return tern_op_output(c, 0, 1, &(int64_t){-1}, &y);
}
static tern_status no_such_output(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    return tern_op_output(c, 5, 1, &(int64_t){1}, &y);
}
static tern_status wrong_moment(tern_op_context *c, void *user) {
    (void)user;
    return tern_op_set_output(c, 0, TERN_FLOAT, 0, NULL);
}
static tern_status computes_early(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    return tern_op_output(c, 0, 1, &(int64_t){1}, &y);
}
static tern_status silent(tern_op_context *c, void *user) {
    (void)c, (void)user;
    return TERN_IO;
}
static tern_status nonsense(tern_op_context *c, void *user) {
    (void)c, (void)user;
    return (tern_status)-77;
}
static tern_status complains(tern_op_context *c, void *user) {
    (void)user;
    tern_op_fail(c, TERN_INVALID_MODEL, "the first %s", "reason");
    tern_op_fail(c, TERN_IO, "the second");
    return TERN_OK;
}
static tern_status wrong_type(tern_op_context *c, void *user) {
    (void)user;
    return tern_op_set_output(c, 0, TERN_INT64, 1, DIMS(2));
}
static tern_status rank_too_high(tern_op_context *c, void *user) {
    (void)user;
    return tern_op_set_output(c, 0, TERN_UNDEFINED, 100, DIMS(2));
}
static tern_status strings_in_floats(tern_op_context *c, void *user) {
    (void)user;
    tern_tensor *y;
    TN_TRY(tern_op_output(c, 0, 1, &(int64_t){2}, &y));
    return tern_op_set_string(c, 0, 0, "text", 4);
}

static void test_misbehaviour_is_an_error(void **state) {
    (void)state;
    bad(unary("Bad", like_input, nothing), TERN_INTERNAL, "did not give output 0 'y'");
    bad(unary("Bad", NULL, nothing), TERN_INTERNAL, "did not give output 0 'y'");
    bad(unary("Bad", like_input, too_large), TERN_SHAPE_MISMATCH, "the shape 3, infer said 2");
    bad(unary("Bad", NULL, huge), TERN_LIMIT_EXCEEDED, "too large");
    bad(unary("Bad", NULL, negative), TERN_INVALID_ARGUMENT, "dim 0 of output 0 is -1");
    bad(unary("Bad", NULL, no_such_output), TERN_INVALID_ARGUMENT, "there is no output 5");
    bad(unary("Bad", NULL, wrong_moment), TERN_INVALID_ARGUMENT, "only be called in infer");
    bad(unary("Bad", computes_early, nothing), TERN_INVALID_ARGUMENT, "only be called in compute");
    bad(unary("Bad", silent, nothing), TERN_IO, "without saying why");
    bad(unary("Bad", NULL, silent), TERN_IO, "without saying why");
    bad(unary("Bad", NULL, nonsense), TERN_INTERNAL, "without saying why");
    bad(unary("Bad", complains, nothing), TERN_INVALID_MODEL, "the first reason");
    bad(unary("Bad", NULL, complains), TERN_INVALID_MODEL, "the first reason");
    bad(unary("Bad", wrong_type, nothing), TERN_TYPE_MISMATCH, "output 0 can not be int64");
    bad(unary("Bad", rank_too_high, nothing), TERN_INVALID_ARGUMENT, "rank 100");
    bad(unary("Bad", NULL, strings_in_floats), TERN_INVALID_ARGUMENT, "no string element 0");
    static const tern_op_param any_out[] = {{.name = "Y"}};
    tern_op op = unary("Bad", nothing, nothing);
    op.outputs = any_out;
    bad(op, TERN_INTERNAL, "no element type");
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void refuses(tern_op op, const char *word) {
    tern_error err;
    assert_int_equal(tern_op_register(&op, &err), TERN_INVALID_ARGUMENT);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
}

static void test_descriptions_are_checked(void **state) {
    (void)state;
    tern_error err;
    assert_int_equal(tern_op_register(NULL, &err), TERN_INVALID_ARGUMENT);
    refuses((tern_op){0}, "needs a name");
    refuses(unary("NoCompute", NULL, NULL), "compute function");
    tern_op op = unary("Relu", like_input, nothing);
    op.domain = "ai.onnx";
    refuses(op, "tern has 'Relu'");
    op = unary("Conv", like_input, nothing);
    op.domain = "tern";
    refuses(op, "keeps the domain");
    op = unary("Versions", like_input, nothing);
    op.since = 3;
    op.until = 2;
    refuses(op, "versions 3 to 2");
    static const tern_op_param order[] = {{.name = "a", .optional = true}, {.name = "b"}};
    op = unary("Order", like_input, nothing);
    op.inputs = order;
    op.n_inputs = 2;
    refuses(op, "input 1 is not optional");
    static const tern_op_param repeated[] = {{.name = "a", .variadic = true}, {.name = "b"}};
    op.inputs = repeated;
    refuses(op, "input 0 is variadic");
    static const tern_op_param any[] = {{.name = "Y"}};
    op = unary("Any", NULL, nothing);
    op.outputs = any;
    refuses(op, "nothing tells the element type of output 'Y'");
    static const tern_op_attribute odd[] = {{"g", (tern_attr_type)5, false}};
    op = unary("Odd", like_input, nothing);
    op.attributes = odd;
    op.n_attributes = 1;
    refuses(op, "type 5");
}

static void test_duplicates_are_refused(void **state) {
    (void)state;
    tern_op a = twice_op(), b = twice_op();
    a.until = 2;
    b.since = 2;
    must_register(a);
    refuses(twice_op(), "registered already");
    refuses(b, "registered already");
    b.since = 3;
    must_register(b); /* versions 1 to 2 and 3 onwards are two operators */
    tern_error err;
    assert_int_equal(tern_op_unregister(DOMAIN, "Twice", 2, &err), TERN_NOT_FOUND);
    assert_int_equal(tern_op_unregister(DOMAIN, "Twice", 3, &err), TERN_OK);
    mb m;
    mb_begin(&m, 13);
    mb_input(&m, "x", TERN_FLOAT, 1, DIMS(1));
    custom(&m, "Twice", "x", "y")->opset = 4;
    mb_output(&m, "y");
    sub_fails(mb_end(&m), NULL, 0, TERN_UNSUPPORTED, "registered since version 1, not for this one");
    must_unregister("Twice");
    sub_fails(one_node("Twice", TERN_FLOAT, 1), NULL, 0, TERN_UNSUPPORTED, "register it");
}

/* A session that has the operator keeps it; user_data goes with the last one. */
static void test_release_comes_last_and_once(void **state) {
    (void)state;
    released = 0;
    tern_op op = twice_op();
    op.release = release;
    must_register(op);
    tern_tensor *x = sub_floats(1, DIMS(1), (float[]){4}), *again = NULL;
    sub_run r;
    sub_must(&r, one_node("Twice", TERN_FLOAT, -1), &(tern_feed){"x", x}, 1);
    must_unregister("Twice");
    assert_int_equal(released, 0);
    assert_int_equal(tern_session_run(r.session, &(tern_feed){"x", x}, 1, NULL, &again, 1, &r.err), TERN_OK);
    EXPECT(again, ((int64_t[]){1}), 8);
    tern_tensor_free(again);
    sub_end(&r);
    assert_int_equal(released, 1);
    must_register(op);
    must_unregister("Twice");
    assert_int_equal(released, 2);
    tern_tensor_free(x);
}

/* Constants are folded through an operator unless it is random. */
static atomic_int calls;
static tern_status counted(tern_op_context *c, void *user) {
    calls++;
    return scale(c, user);
}

static int calls_of_two_runs(bool random) {
    tern_op op = twice_op();
    op.compute = counted;
    op.random = random;
    must_register(op);
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(1));
    mb_floats(&b, "k", 1, DIMS(1), (float[]){1});
    custom(&b, "Twice", "k", "t");
    mb_node(&b, "Add", "t x", "y");
    mb_output(&b, "y");
    tern_tensor *x = sub_floats(1, DIMS(1), (float[]){4});
    tern_model *m = mb_end(&b);
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    calls = 0;
    for (int i = 0; i < 2; i++) {
        tern_tensor *y = NULL;
        assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_OK);
        EXPECT(y, ((int64_t[]){1}), 6);
        tern_tensor_free(y);
    }
    tern_session_free(s);
    tern_model_free(m);
    tern_tensor_free(x);
    must_unregister("Twice");
    return calls;
}

static void test_folding(void **state) {
    (void)state;
    assert_int_equal(calls_of_two_runs(false), 0);
    assert_int_equal(calls_of_two_runs(true), 2);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *user_of_operators(void *context) {
    int id = *(int *)context;
    char name[20];
    snprintf(name, sizeof name, "Twice%d", id);
    tern_tensor *x = sub_floats(1, DIMS(3), (float[]){1, 2, 3});
    bool good = true;
    for (int k = 0; k < 20 && good; k++) {
        tern_op op = twice_op();
        op.name = name;
        tern_error err;
        good = tern_op_register(&op, &err) == TERN_OK;
        tern_model *m = one_node(name, TERN_FLOAT, -1);
        tern_session *s = NULL;
        tern_tensor *y = NULL;
        tern_options options;
        tern_options_init(&options);
        options.threads = 2;
        good = good && tern_session_create(&s, m, &options, &err) == TERN_OK;
        good = good && tern_op_unregister(DOMAIN, name, 1, &err) == TERN_OK;
        good = good && tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) == TERN_OK;
        good = good && ((const float *)tern_tensor_const_data(y))[2] == 6;
        tern_tensor_free(y);
        tern_session_free(s);
        tern_model_free(m);
    }
    tern_tensor_free(x);
    return good ? context : NULL;
}

static void test_many_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    int ids[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, user_of_operators, &ids[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, &ids[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beside_built_in_operators),
        cmocka_unit_test(test_types_follow_the_input),
        cmocka_unit_test(test_shapes_that_depend_on_data),
        cmocka_unit_test(test_in_a_subgraph),
        cmocka_unit_test(test_parameters_and_attributes),
        cmocka_unit_test(test_attributes_are_checked_at_load),
        cmocka_unit_test(test_misbehaviour_is_an_error),
        cmocka_unit_test(test_descriptions_are_checked),
        cmocka_unit_test(test_duplicates_are_refused),
        cmocka_unit_test(test_release_comes_last_and_once),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests_name("custom operators", tests, NULL, NULL);
}
