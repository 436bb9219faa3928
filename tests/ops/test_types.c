/* Every type that the standard lists for an input of an operator, in every version, is taken: a small node of that type
 * runs. The operators, versions and types are those of schema_list.inc, which is made of the standard itself; what a
 * node needs besides comes from the recipes below. What is refused is listed with the reason, and is refused indeed. */
#include "ops/op_test.h"

#define MAX_TYPES 12
#define M(...) \
    { __VA_ARGS__ }

typedef struct schema {
    const char *name;
    int since, least, most, outputs;
    const char *attrs;
    uint32_t in[MAX_TYPES];
} schema;

static const schema schemas[] = {
#define SCHEMA(NAME, SINCE, LEAST, MOST, OUTS, ATTRS, IN, OUT) {#NAME, SINCE, LEAST, MOST, OUTS, ATTRS, IN},
#define GONE(NAME, SINCE)
#include "opt/schema_list.inc"
#undef SCHEMA
#undef GONE
};

/* Inputs "dims=value" or "-" (absent), for versions from `since` on; attributes "name=int", "name=[ints]",
 * "name=(floats)", "name='string'", "name=float". What has no recipe gets its required inputs as 2x2 ones. */
typedef struct recipe {
    const char *name;
    int since;
    const char *inputs, *attrs;
} recipe;

static const recipe recipes[] = {
#include "ops/type_recipes.inc"
};

/* Uses of an operator, and the types of an input that the list has and tern refuses there. */
typedef struct use {
    const char *name;
    int since, until;  /* versions */
    const char *attrs; /* in addition to the recipe's */
    int input;
    uint32_t refused;
    const char *why;
} use;

static const use uses[] = {
    {"Col2Im", 18, 99, "", 0, TN_T(STRING), "overlapping blocks are added up"},
    {"GridSample", 16, 99, "", 0, TN_T(STRING), "a mean of strings"},
    {"GridSample", 16, 99, "mode='nearest'", 0, 0, NULL},
    {"GridSample", 16, 19, "mode='bicubic'", 0, TN_T(STRING), "a mean of strings"},
    {"GridSample", 20, 99, "mode='cubic'", 0, TN_T(STRING), "a mean of strings"},
    {"Resize", 10, 99, "mode='linear'", 0, TN_T(STRING), "a mean of strings"},
    {"Resize", 11, 99, "mode='cubic'", 0, TN_T(STRING), "a mean of strings"},
    {"Upsample", 7, 99, "mode='linear'", 0, TN_T(STRING), "a mean of strings"},
};

static const recipe *recipe_of(const schema *s) {
    const recipe *best = NULL;
    for (size_t i = 0; i < TN_COUNT(recipes); i++)
        if (!strcmp(recipes[i].name, s->name) && recipes[i].since <= s->since &&
            (!best || recipes[i].since > best->since))
            best = &recipes[i];
    return best;
}

/* ---- building a node ----------------------------------------------------------------------------------------- */

static tern_tensor *filled(tern_dtype dtype, const char *spec, size_t len) {
    int64_t dims[TERN_MAX_RANK];
    int rank = 0;
    double value = 1;
    const char *end = spec + len, *p = spec;
    while (p < end && *p >= '0' && *p <= '9') {
        char *next;
        dims[rank++] = strtoll(p, &next, 10);
        p = next;
        if (p < end && *p == 'x') p++;
    }
    tern_tensor *t = op_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < op_parts(t); i++) {
        if (p < end && (*p == '=' || *p == ',')) { /* the last value stands for the rest */
            char *next;
            value = strtod(p + 1, &next);
            p = next;
        }
        if (dtype == TERN_STRING)
            ((tern_string *)t->data)[i] = (tern_string){"1", 1};
        else
            op_set(t, i, value);
    }
    return t;
}

static void add_attr(op_test *t, const char *text, size_t len) {
    char *copy = tn_arena_strndup(&t->model->arena, text, len), *value = strchr(copy, '=');
    assert_non_null(value);
    *value++ = 0;
    if (*value == '[' || *value == '(') {
        int64_t ints[16];
        double floats[16];
        size_t n = 0;
        bool whole = *value == '[';
        for (char *p = value + 1; *p && *p != ']' && *p != ')'; n++) {
            floats[n] = strtod(p, &p);
            ints[n] = (int64_t)floats[n];
            if (*p == ',') p++;
        }
        if (whole)
            op_attr_ints(t, copy, n, ints);
        else
            op_attr_floats(t, copy, n, floats);
    } else if (*value == '\'') {
        value[strlen(value) - 1] = 0;
        op_attr_s(t, copy, value + 1);
    } else if (strchr(value, '.')) {
        op_attr_f(t, copy, strtof(value, NULL));
    } else {
        op_attr_i(t, copy, strtoll(value, NULL, 10));
    }
}

static void add_attrs(op_test *t, const char *list) {
    while (list && *list) {
        size_t len = strcspn(list, ";");
        add_attr(t, list, len);
        list += len + (list[len] == ';');
    }
}

/* The usual type of an input that has nothing to do with the one in question. */
static tern_dtype usual_type(uint32_t types) {
    static const tern_dtype order[] = {TERN_FLOAT,  TERN_INT64, TERN_UINT8, TERN_BOOL,
                                       TERN_STRING, TERN_INT32, TERN_INT8};
    for (size_t i = 0; i < TN_COUNT(order); i++)
        if (tn_type_in(order[i], types)) return order[i];
    return TERN_UNDEFINED;
}

/* Inputs with the same list of types share a type. Runs the node; the error stays in t->err. */
static tern_status try_node(op_test *t, const schema *s, int input, tern_dtype dtype, const char *more) {
    const recipe *r = recipe_of(s);
    op_begin(t, s->name, s->since);
    const char *p = r && r->inputs ? r->inputs : NULL;
    for (int i = 0; p ? *p != 0 : i < s->least; i++) {
        const char *spec = "2x2";
        size_t len = 3;
        if (p) {
            spec = p;
            len = strcspn(p, " ");
            p += len + (p[len] == ' ');
        }
        uint32_t types = s->in[TN_MIN(i, s->most < 0 ? 0 : MAX_TYPES - 1)];
        if (s->most < 0 && i < MAX_TYPES && s->in[i]) types = s->in[i];
        tern_dtype own = types == s->in[input] || i == input ? dtype : usual_type(types);
        op_in(t, *spec == '-' || own == TERN_UNDEFINED ? NULL : filled(own, spec, len));
    }
    add_attrs(t, r ? r->attrs : NULL);
    add_attrs(t, more);
    if (!strcmp(s->name, "DequantizeLinear") && dtype == TERN_FLOAT8E8M0) op_attr_i(t, "output_dtype", TERN_FLOAT);
    if (!strcmp(s->name, "BitCast")) op_attr_i(t, "to", dtype);
    if (!strcmp(s->name, "TfIdfVectorizer")) {
        if (dtype == TERN_STRING)
            op_attr_strings(t, "pool_strings", STRS("1"));
        else
            op_attr_ints(t, "pool_int64s", INTS(1));
    }
    int outputs = s->outputs < 0 ? 1 : s->outputs;
    for (int i = 0; i < outputs; i++) op_out_any(t);
    return op_try(t);
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

/* Operators whose inputs are sequences or optionals, or go to a subgraph: the list has no types of elements. They have
 * tests of their own. ImageDecoder is libtern_vision's. */
static bool left_out(const schema *s) {
    static const char *const names[] = {"If", "Loop", "Scan", "ImageDecoder"};
    for (size_t i = 0; i < TN_COUNT(names); i++)
        if (!strcmp(names[i], s->name)) return true;
    return s->in[0] && !(s->in[0] & ~(3u << 30));
}

/* Runs the node with every type of every input; counts what is neither taken nor among those refused. */
static int try_types(const schema *s, const use *u, int *runs) {
    int failed = 0;
    for (int i = 0; i < MAX_TYPES && s->in[i]; i++)
        for (int d = 1; d < TERN_DTYPE_COUNT; d++) {
            if (!(s->in[i] >> d & 1)) continue;
            op_test t;
            tern_status status = try_node(&t, s, i, (tern_dtype)d, u ? u->attrs : NULL);
            bool expected = u && u->input == i && tn_type_in((tern_dtype)d, u->refused);
            tern_status want = expected ? TERN_TYPE_MISMATCH : TERN_OK;
            ++*runs;
            if (status != want) {
                failed++;
                print_error("%s-%d(%s) input %d %s: %s\n", s->name, s->since, u ? u->attrs : "", i,
                            tern_dtype_name((tern_dtype)d), status == TERN_OK ? "is taken" : t.err.text);
            }
            op_end(&t);
        }
    return failed;
}

static bool covers(const use *u, const schema *s) {
    return !strcmp(u->name, s->name) && s->since >= u->since && s->since <= u->until;
}

static void test_listed_types_are_taken(void **state) {
    (void)state;
    int failed = 0, runs = 0;
    for (size_t k = 0; k < TN_COUNT(schemas); k++) {
        const use *plain = NULL;
        for (size_t i = 0; i < TN_COUNT(uses); i++)
            if (covers(&uses[i], &schemas[k]) && !*uses[i].attrs) plain = &uses[i];
        if (!left_out(&schemas[k])) failed += try_types(&schemas[k], plain, &runs);
    }
    if (failed) fail_msg("%d of %d", failed, runs);
    assert_true(runs > 5000);
}

static void test_types_in_other_uses(void **state) {
    (void)state;
    int failed = 0, runs = 0;
    for (size_t i = 0; i < TN_COUNT(uses); i++)
        for (size_t k = 0; k < TN_COUNT(schemas); k++)
            if (*uses[i].attrs && covers(&uses[i], &schemas[k])) failed += try_types(&schemas[k], &uses[i], &runs);
    if (failed) fail_msg("%d of %d", failed, runs);
    assert_true(runs > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_listed_types_are_taken),
                                       cmocka_unit_test(test_types_in_other_uses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
