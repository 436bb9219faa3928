/* The table of operators: its order, its versions, and the types of the attributes that operators read. */
#include <stdio.h>

#include "ops/ops.h"
#include "test_util.h"

static void test_rows_stand_together_and_ascend(void **state) {
    (void)state;
    size_t n;
    const tn_op_row *rows = tn_op_rows(&n);
    assert_true(n > 200);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(rows[i].key, rows[i - 1].key) == 0) {
            if (rows[i].since <= rows[i - 1].since)
                fail_msg("%s: %d after %d", rows[i].key, rows[i].since, rows[i - 1].since);
            continue;
        }
        for (size_t k = 0; k < i; k++)
            if (strcmp(rows[i].key, rows[k].key) == 0) fail_msg("%s stands in two places", rows[i].key);
    }
}

static void test_rows_are_complete(void **state) {
    (void)state;
    size_t n;
    const tn_op_row *rows = tn_op_rows(&n);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].op->expand) {
            assert_true(*rows[i].domain != 0); /* tn_op_expand_model looks at no others */
            assert_null(rows[i].op->infer);
        } else {
            assert_non_null(rows[i].op->infer);
            assert_non_null(rows[i].op->run);
        }
        assert_true(rows[i].since >= 1);
        assert_true(rows[i].since <= tn_op_newest_opset(rows[i].domain));
        assert_true(rows[i].op->max_in == -1 || rows[i].op->max_in >= rows[i].op->min_in);
        assert_true(rows[i].op->max_out == -1 || rows[i].op->max_out >= rows[i].op->min_out);
    }
}

static void test_find_takes_the_newest_not_above(void **state) {
    (void)state;
    assert_null(tn_op_find("", "NoSuchOperator", 13));
    assert_null(tn_op_find("", "RMSNormalization", 22));
    assert_int_equal(tn_op_find("", "Softmax", 12)->since, 11);
    assert_int_equal(tn_op_find("", "Softmax", 28)->since, 13);
    assert_ptr_equal(tn_op_find("ai.onnx", "Relu", 6), tn_op_find("", "Relu", 6));
}

static tern_status resolve(const char *domain, const char *op, int opset, int n_in, const char *attr, tern_error *err) {
    tern_model *m = tn_model_new();
    m->graph = tn_graph_new(m, NULL, "g");
    tn_node *n = tn_graph_add_node(m->graph, domain, op, opset, n_in, 1);
    for (int i = 0; i < n_in; i++) n->in[i] = tn_graph_value(m->graph, "x");
    n->out[0] = tn_graph_value(m->graph, "y");
    if (attr) {
        tn_attr *a = tn_node_add_attr(n, attr, TN_ATTR_STRING);
        a->s = tn_str_c("text");
        a->count = 1;
    }
    tern_status s = tn_op_resolve(n, err);
    tn_model_free(m);
    return s;
}

static void test_errors_say_what_and_where(void **state) {
    (void)state;
    tern_error err;
    assert_int_equal(resolve("my.domain", "Frobnicate", 3, 1, NULL, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "Frobnicate"));
    assert_non_null(strstr(err.text, "my.domain"));
    assert_non_null(strstr(err.text, "opset 3"));
    assert_int_equal(resolve("", "RMSNormalization", 22, 2, NULL, &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "since opset 23"));
    assert_int_equal(resolve("", "Relu", 13, 2, NULL, &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "2 inputs"));
    assert_int_equal(resolve("", "Softmax", 13, 1, "axis", &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "'axis' has the wrong type"));
}

static tern_status with_attr(const char *domain, const char *op, int opset, int n_in, const char *name,
                             tn_attr_type type, tern_error *err) {
    tern_model *m = tn_model_new();
    m->graph = tn_graph_new(m, NULL, "g");
    tn_node *n = tn_graph_add_node(m->graph, domain, op, opset, n_in, 1);
    for (int i = 0; i < n_in; i++) n->in[i] = tn_graph_value(m->graph, "x");
    n->out[0] = tn_graph_value(m->graph, "y");
    tn_attr *a = tn_node_add_attr(n, name, type);
    a->count = 0;
    tern_status s = tn_op_resolve(n, err);
    tn_model_free(m);
    return s;
}

/* Names that mean different things to different operators and versions: no type is taken for the default. */
static void test_types_by_operator(void **state) {
    (void)state;
    static const struct {
        const char *domain, *op;
        int opset, n_in;
        const char *attr;
        tn_attr_type good, bad;
        const char *text;
    } cases[] = {
        {"", "Cast", 5, 1, "to", TN_ATTR_STRING, TN_ATTR_INT, "INT instead of STRING"},
        {"", "Cast", 13, 1, "to", TN_ATTR_INT, TN_ATTR_STRING, "STRING instead of INT"},
        {"", "LpPool", 1, 1, "p", TN_ATTR_FLOAT, TN_ATTR_INT, "INT instead of FLOAT"},
        {"", "LpPool", 22, 1, "p", TN_ATTR_INT, TN_ATTR_FLOAT, "FLOAT instead of INT"},
        {"", "LpNormalization", 1, 1, "p", TN_ATTR_INT, TN_ATTR_FLOAT, "FLOAT instead of INT"},
        {"", "Dropout", 13, 1, "seed", TN_ATTR_INT, TN_ATTR_FLOAT, "FLOAT instead of INT"},
        {"", "Bernoulli", 15, 1, "seed", TN_ATTR_FLOAT, TN_ATTR_INT, "INT instead of FLOAT"},
        {"", "RandomNormalLike", 1, 1, "scale", TN_ATTR_FLOAT, TN_ATTR_FLOATS, "FLOATS instead of FLOAT"},
        {"mmcv", "NonMaxSuppression", 1, 2, "offset", TN_ATTR_INT, TN_ATTR_FLOATS, "FLOATS instead of INT"},
        {"", "Pad", 2, 1, "value", TN_ATTR_FLOAT, TN_ATTR_TENSOR, "TENSOR instead of FLOAT"},
        {"", "ConstantOfShape", 9, 1, "value", TN_ATTR_TENSOR, TN_ATTR_FLOAT, "FLOAT instead of TENSOR"},
        {"", "LSTM", 14, 3, "activation_alpha", TN_ATTR_FLOATS, TN_ATTR_FLOAT, "FLOAT instead of FLOATS"},
        {"ai.onnx.ml", "Scaler", 1, 1, "scale", TN_ATTR_FLOATS, TN_ATTR_FLOAT, "FLOAT instead of FLOATS"},
        {"ai.onnx.ml", "TreeEnsemble", 5, 1, "post_transform", TN_ATTR_INT, TN_ATTR_STRING, "STRING instead of INT"},
        {"ai.onnx.ml", "TreeEnsembleRegressor", 3, 1, "aggregate_function", TN_ATTR_STRING, TN_ATTR_INT,
         "INT instead of STRING"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tern_error err;
        const char *d = cases[i].domain, *op = cases[i].op, *a = cases[i].attr;
        int opset = cases[i].opset, n = cases[i].n_in;
        if (with_attr(d, op, opset, n, a, cases[i].good, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_int_equal(with_attr(d, op, opset, n, a, cases[i].bad, &err), TERN_INVALID_MODEL);
        if (!strstr(err.text, cases[i].text) || !strstr(err.text, op)) fail_msg("%s", err.text);
    }
}

/* Rows for names, operators and versions that exist; each says something that attr_list.inc does not. */
static void test_exact_types_are_of_operators(void **state) {
    (void)state;
    static const struct {
        const char *domain, *op, *attr;
        uint32_t types;
        int to;
    } rows[] = {
#define A(TYPE)                                  (1u << TN_ATTR_##TYPE)
#define END                                      INT32_MAX
#define EXACT(DOMAIN, OP, FROM, TO, ATTR, TYPES) {DOMAIN, #OP, #ATTR, TYPES, TO},
#include "ops/attr_exact_list.inc"
#undef EXACT
#undef END
    };
    static const struct {
        const char *attr;
        uint32_t types;
    } names[] = {
#define ATTR(NAME, TYPES) {#NAME, TYPES},
#include "ops/attr_list.inc"
#undef ATTR
#undef A
    };
    for (size_t i = 0; i < TN_COUNT(rows); i++) {
        if (!tn_op_find(rows[i].domain, rows[i].op, rows[i].to)) fail_msg("there is no %s", rows[i].op);
        size_t k = 0;
        while (k < TN_COUNT(names) && strcmp(names[k].attr, rows[i].attr) != 0) k++;
        assert_true(k < TN_COUNT(names));
        if (rows[i].types == names[k].types) fail_msg("%s of %s is what attr_list.inc has", rows[i].attr, rows[i].op);
    }
}

/* ---- attribute names: every one that the sources read is in attr_list.inc ---------------------------------------- */

static const char *const known[] = {
#define A(TYPE)           0
#define ATTR(NAME, TYPES) #NAME,
#include "ops/attr_list.inc"
#undef ATTR
#undef A
};

static bool is_known(const char *name, size_t n) {
    for (size_t i = 0; i < TN_COUNT(known); i++)
        if (strlen(known[i]) == n && memcmp(known[i], name, n) == 0) return true;
    return false;
}

/* Looks at tn_attr_<anything>(<node>, "name" in one file; returns how many it saw. */
static int check_file(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static char text[1 << 20];
    size_t len = fread(text, 1, sizeof text - 1, f);
    text[len] = 0;
    fclose(f);
    int seen = 0;
    for (const char *p = text; (p = strstr(p, "tn_attr_"));) {
        p += strlen("tn_attr_");
        const char *open = strchr(p, '('), *quote = open ? strchr(open, '"') : NULL,
                   *close = open ? strchr(open, ')') : NULL;
        if (!open || open - p > 12 || !quote || (close && close < quote)) continue;
        const char *end = strchr(quote + 1, '"');
        if (!end) continue;
        seen++;
        if (!is_known(quote + 1, (size_t)(end - quote - 1)))
            fail_msg("%s reads attribute '%.*s', which attr_list.inc lacks", path, (int)(end - quote - 1), quote + 1);
    }
    return seen;
}

static void test_attributes_are_listed(void **state) {
    (void)state;
    FILE *list = popen("ls " TERN_SOURCE_DIR "/src/ops/*.c " TERN_SOURCE_DIR "/src/opt/*.c", "r");
    assert_non_null(list);
    char path[1000];
    int seen = 0;
    while (fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = 0;
        seen += check_file(path);
    }
    pclose(list);
    assert_true(seen > 100);
}

/* ---- the standard's list ----------------------------------------------------------------------------------------- */

/* "ai.onnx<TAB>Add<TAB>1,6,7,13,14..." of one operator; returns how many versions it checked. */
static int check_versions(char *line) {
    char *rest, *domain = strtok_r(line, "\t", &rest), *name = strtok_r(NULL, "\t", &rest),
                *versions = strtok_r(NULL, "\t", &rest);
    int n = 0;
    assert_non_null(versions);
    /* It needs libraries, and is registered by libtern_vision (tests/vision/test_image_decoder.c). */
    if (strcmp(name, "ImageDecoder") == 0) return 0;
    for (char *save, *v = strtok_r(versions, ",", &save); v; v = strtok_r(NULL, ",", &save), n++) {
        int since = (int)strtol(v, NULL, 10);
        const tn_op_row *row = tn_op_find(domain, name, since);
        if (!row || row->since != since) fail_msg("%s %s has no row since %d", domain, name, since);
    }
    return n;
}

static void test_every_version_of_the_standard(void **state) {
    (void)state;
    char path[1000], line[1000];
    const char *shared = tt_shared_dir();
    if (!shared) tt_skip("TERN_SHARED has no list of the standard's operators");
    snprintf(path, sizeof path, "%s/onnx/operators.tsv", shared);
    FILE *f = fopen(path, "r");
    if (!f) tt_skip("TERN_SHARED has no list of the standard's operators");
    assert_non_null(fgets(line, sizeof line, f)); /* heading */
    int n = 0;
    while (fgets(line, sizeof line, f)) n += check_versions(line);
    fclose(f);
    assert_true(n > 600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_stand_together_and_ascend),
        cmocka_unit_test(test_rows_are_complete),
        cmocka_unit_test(test_find_takes_the_newest_not_above),
        cmocka_unit_test(test_errors_say_what_and_where),
        cmocka_unit_test(test_types_by_operator),
        cmocka_unit_test(test_exact_types_are_of_operators),
        cmocka_unit_test(test_attributes_are_listed),
        cmocka_unit_test(test_every_version_of_the_standard),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
