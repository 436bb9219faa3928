/* ai.onnx.ml. Expected values are worked out by hand or from the definitions in the standard. */
#include "op_test.h"

static void begin(op_test *t, const char *name, int opset) { op_begin_domain(t, "ai.onnx.ml", name, opset); }

static void test_label_encoder(void **state) {
    (void)state;
    op_test t;
    begin(&t, "LabelEncoder", 1);
    op_attr_strings(&t, "classes_strings", STRS("a", "b"));
    op_in(&t, op_str(DIMS(3), STRS("b", "z", "a")));
    op_out(&t, op_num(TERN_INT64, DIMS(3), VALS(1, -1, 0)));
    op_run_exact(&t);
    begin(&t, "LabelEncoder", 1);
    op_attr_strings(&t, "classes_strings", STRS("a", "b"));
    op_in(&t, op_int(TERN_INT64, DIMS(3), INTS(1, 2, INT64_MIN)));
    op_out(&t, op_str(DIMS(3), STRS("b", "_Unused", "_Unused")));
    op_run_exact(&t);
    begin(&t, "LabelEncoder", 2);
    op_attr_floats(&t, "keys_floats", VALS(1.5, NAN));
    op_attr_strings(&t, "values_strings", STRS("x", "nan"));
    op_attr_s(&t, "default_string", "?");
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(NAN, 1.5, 2)));
    op_out(&t, op_str(DIMS(3), STRS("nan", "x", "?")));
    op_run_exact(&t);
    begin(&t, "LabelEncoder", 4);
    op_attr_tensor(&t, "keys_tensor", op_num(TERN_INT16, DIMS(2), VALS(7, -7)));
    op_attr_tensor(&t, "values_tensor", op_num(TERN_DOUBLE, DIMS(2), VALS(0.5, 1.5)));
    op_attr_tensor(&t, "default_tensor", op_num(TERN_DOUBLE, DIMS(1), VALS(9)));
    op_in(&t, op_num(TERN_INT16, DIMS(1, 3), VALS(-7, 7, 0)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 3), VALS(1.5, 0.5, 9)));
    op_run_exact(&t);
    begin(&t, "LabelEncoder", 2);
    op_attr_ints(&t, "keys_int64s", INTS(1, 2));
    op_attr_ints(&t, "values_int64s", INTS(1));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("2 keys and 1 values"));
}

static void test_categories(void **state) {
    (void)state;
    op_test t;
    begin(&t, "CategoryMapper", 1);
    op_attr_strings(&t, "cats_strings", STRS("a", "b"));
    op_attr_ints(&t, "cats_int64s", INTS(10, 20));
    op_in(&t, op_str(DIMS(2), STRS("b", "c")));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(20, -1)));
    op_run_exact(&t);
    begin(&t, "OneHotEncoder", 1);
    op_attr_ints(&t, "cats_int64s", INTS(3, 5));
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(5, 4, 3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3, 2), VALS(0, 1, 0, 0, 1, 0)));
    op_run_exact(&t);
    begin(&t, "OneHotEncoder", 1);
    op_attr_strings(&t, "cats_strings", STRS("x"));
    op_attr_i(&t, "zeros", 0);
    op_in(&t, op_str(DIMS(1), STRS("y")));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("element 0 is none of the 1 categories"));
}

static tern_tensor *map_of(tern_tensor *keys, tern_tensor *values) {
    tern_tensor *t, *items[] = {keys, values};
    if (tern_tensor_group(&t, TERN_KIND_MAP, items, 2, NULL)) fail_msg("no memory");
    tern_tensor_free(keys);
    tern_tensor_free(values);
    return t;
}

static void test_maps(void **state) {
    (void)state;
    op_test t;
    begin(&t, "DictVectorizer", 1);
    op_attr_strings(&t, "string_vocabulary", STRS("a", "c", "b", "z"));
    op_in(&t, map_of(op_str(DIMS(2), STRS("a", "c")), op_num(TERN_INT64, DIMS(2), VALS(4, 8))));
    op_out(&t, op_num(TERN_INT64, DIMS(4), VALS(4, 8, 0, 0)));
    op_run_exact(&t);
    begin(&t, "CastMap", 1);
    op_in(&t, map_of(op_num(TERN_INT64, DIMS(3), VALS(7, -1, 3)), op_num(TERN_FLOAT, DIMS(3), VALS(70, -10, 30))));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 3), VALS(-10, 30, 70)));
    op_run_exact(&t);
    begin(&t, "CastMap", 1);
    op_attr_s(&t, "map_form", "SPARSE");
    op_attr_s(&t, "cast_to", "TO_INT64");
    op_attr_i(&t, "max_map", 4);
    op_in(&t, map_of(op_num(TERN_INT64, DIMS(2), VALS(3, 0)), op_str(DIMS(2), STRS("12", "-3"))));
    op_out(&t, op_num(TERN_INT64, DIMS(1, 4), VALS(-3, 0, 0, 12)));
    op_run_exact(&t);
    begin(&t, "CastMap", 1);
    op_attr_s(&t, "map_form", "SPARSE");
    op_attr_i(&t, "max_map", 2);
    op_in(&t, map_of(op_num(TERN_INT64, DIMS(1), VALS(2)), op_num(TERN_FLOAT, DIMS(1), VALS(1))));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("key 2 is outside [0, 2)"));
    begin(&t, "ZipMap", 1);
    op_attr_strings(&t, "classlabels_strings", STRS("x", "y"));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    tern_tensor *map = map_of(op_str(DIMS(2), STRS("x", "y")), op_num(TERN_FLOAT, DIMS(2), VALS(1, 2))), *seq;
    assert_int_equal(tern_tensor_group(&seq, TERN_KIND_SEQUENCE, &map, 1, NULL), TERN_OK);
    tern_tensor_free(map);
    op_out(&t, seq);
    op_run_exact(&t);
}

static void test_scaling(void **state) {
    (void)state;
    op_test t;
    begin(&t, "Binarizer", 1);
    op_attr_f(&t, "threshold", 1);
    op_in(&t, op_num(TERN_INT32, DIMS(3), VALS(0, 1, 2)));
    op_out(&t, op_num(TERN_INT32, DIMS(3), VALS(0, 0, 1)));
    op_run_exact(&t);
    begin(&t, "Scaler", 1);
    op_attr_floats(&t, "offset", VALS(1, 2));
    op_attr_floats(&t, "scale", VALS(10));
    op_in(&t, op_num(TERN_INT64, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(0, 0, 20, 20)));
    op_run_exact(&t);
    begin(&t, "Scaler", 1);
    op_attr_floats(&t, "offset", VALS(1, 2, 3));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 values for 2 features"));
    static const char *const norms[] = {"MAX", "L1", "L2"};
    static const double want[][4] = {{0.75, 1, 0, 0}, {3. / 7, 4. / 7, 0, 0}, {0.6, 0.8, 0, 0}};
    for (int i = 0; i < 3; i++) {
        begin(&t, "Normalizer", 1);
        op_attr_s(&t, "norm", norms[i]);
        op_in(&t, op_num(TERN_DOUBLE, DIMS(2, 2), VALS(3, 4, 0, 0)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), 4, want[i]));
        op_run(&t, 1e-6, 0);
    }
    begin(&t, "Imputer", 1);
    op_attr_floats(&t, "imputed_value_floats", VALS(10, 20));
    op_attr_f(&t, "replaced_value_float", NAN);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(NAN, 1, 2, NAN)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(10, 1, 2, 20)));
    op_run_exact(&t);
    begin(&t, "Imputer", 1);
    op_attr_ints(&t, "imputed_value_int64s", INTS(9));
    op_attr_i(&t, "replaced_value_int64", -1);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(-1, 0, -1)));
    op_out(&t, op_num(TERN_INT64, DIMS(3), VALS(9, 0, 9)));
    op_run_exact(&t);
}

static void test_features(void **state) {
    (void)state;
    op_test t;
    begin(&t, "FeatureVectorizer", 1);
    op_attr_ints(&t, "inputdimensions", INTS(1, 3));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(5, 6, 7, 8)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 4), VALS(1, 5, 6, 0, 3, 7, 8, 0)));
    op_run_exact(&t);
    begin(&t, "FeatureVectorizer", 1);
    op_attr_ints(&t, "inputdimensions", INTS(INT64_MAX, INT64_MAX));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("too many"));
    begin(&t, "ArrayFeatureExtractor", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, DIMS(1, 2), VALS(2, 0)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(3, 1, 6, 4)));
    op_run_exact(&t);
    begin(&t, "ArrayFeatureExtractor", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(3)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index 0 is 3, outside [0, 3)"));
}

static double logistic(double v) { return 1 / (1 + exp(-v)); }

static void test_linear(void **state) {
    (void)state;
    op_test t;
    begin(&t, "LinearRegressor", 1);
    op_attr_floats(&t, "coefficients", VALS(1, 2, 3, 4));
    op_attr_floats(&t, "intercepts", VALS(0.5, -0.5));
    op_attr_i(&t, "targets", 2);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(10, 100)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(210.5, 429.5)));
    op_run_exact(&t);
    begin(&t, "LinearClassifier", 1);
    op_attr_floats(&t, "coefficients", VALS(1, 0, 0, 1, -1, -1));
    op_attr_floats(&t, "intercepts", VALS(0, 0, 0));
    op_attr_strings(&t, "classlabels_strings", STRS("x", "y", "none"));
    op_attr_s(&t, "post_transform", "SOFTMAX");
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(0, 1, -1, -1)));
    op_out(&t, op_str(DIMS(2), STRS("y", "none")));
    double a = 1 + exp(1) + exp(-1), b = 2 * exp(-1) + exp(2);
    op_out(&t,
           op_num(TERN_FLOAT, DIMS(2, 3), VALS(1 / a, exp(1) / a, exp(-1) / a, exp(-1) / b, exp(-1) / b, exp(2) / b)));
    op_run(&t, 1e-6, 0);
    begin(&t, "LinearClassifier", 1); /* two classes from one score */
    op_attr_floats(&t, "coefficients", VALS(2));
    op_attr_floats(&t, "intercepts", VALS(-1));
    op_attr_ints(&t, "classlabels_ints", INTS(10, 20));
    op_attr_s(&t, "post_transform", "LOGISTIC");
    op_in(&t, op_num(TERN_INT64, DIMS(2, 1), VALS(0, 1)));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(10, 20)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(logistic(1), logistic(-1), logistic(-1), logistic(1))));
    op_run(&t, 1e-6, 0);
    begin(&t, "LinearRegressor", 1);
    op_attr_floats(&t, "coefficients", VALS(1, 2, 3));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 coefficients", "2 features"));
    begin(&t, "LinearRegressor", 1);
    op_attr_floats(&t, "coefficients", VALS(1));
    op_attr_s(&t, "post_transform", "TANH");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("TANH"));
}

static void begin_svc(op_test *t) {
    begin(t, "SVMClassifier", 1);
    op_attr_s(t, "kernel_type", "RBF");
    op_attr_floats(t, "kernel_params", VALS(1, 0, 0));
    op_attr_floats(t, "support_vectors", VALS(0, 2));
    op_attr_floats(t, "coefficients", VALS(1, -1));
    op_attr_floats(t, "rho", VALS(0.25));
    op_attr_ints(t, "vectors_per_class", INTS(1, 1));
    op_attr_ints(t, "classlabels_ints", INTS(5, 6));
}

static void test_svm(void **state) {
    (void)state;
    op_test t;
    begin(&t, "SVMRegressor", 1);
    op_attr_s(&t, "kernel_type", "POLY");
    op_attr_floats(&t, "kernel_params", VALS(2, 1, 3));
    op_attr_i(&t, "n_supports", 2);
    op_attr_floats(&t, "support_vectors", VALS(1, 0, 0, 1));
    op_attr_floats(&t, "coefficients", VALS(1, -0.5));
    op_attr_floats(&t, "rho", VALS(4));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(27 - 0.5 * 125 + 4))); /* (2 * 1 + 1)^3, (2 * 2 + 1)^3 */
    op_run(&t, 1e-6, 0);
    double s0 = 0.25 + 1 - exp(-4), s2 = 0.25 + exp(-4) - 1;
    begin_svc(&t);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(0, 2)));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(5, 6)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(-s0, s0, -s2, s2)));
    op_run(&t, 1e-5, 0);
    begin_svc(&t); /* probabilities: of two classes they are those of the one pair */
    op_attr_floats(&t, "prob_a", VALS(-1));
    op_attr_floats(&t, "prob_b", VALS(0));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(0)));
    op_out(&t, op_num(TERN_INT64, DIMS(1), VALS(5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(logistic(s0), 1 - logistic(s0))));
    op_run(&t, 5e-3, 0);
    begin(&t, "SVMClassifier", 1);
    op_attr_floats(&t, "support_vectors", VALS(0, 2));
    op_attr_floats(&t, "coefficients", VALS(1, -1));
    op_attr_floats(&t, "rho", VALS(0.25));
    op_attr_ints(&t, "vectors_per_class", INTS(1, INT64_MAX));
    op_attr_ints(&t, "classlabels_ints", INTS(5, 6));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("vectors_per_class[1]"));
}

/* x0 <= 1 ? (x1 > 5 ? leaf 3 : leaf 4) : leaf 2, and a second tree that is one leaf. */
static void begin_tree(op_test *t, const char *name, const char *vote, size_t n, const int64_t *targets) {
    char attr[4][32];
    static const char *const suffix[] = {"treeids", "nodeids", "ids", "weights"};
    for (int i = 0; i < 4; i++) snprintf(attr[i], sizeof attr[i], "%s_%s", vote, suffix[i]);
    begin(t, name, 3);
    op_attr_ints(t, "nodes_treeids", INTS(0, 0, 0, 0, 0, 1));
    op_attr_ints(t, "nodes_nodeids", INTS(0, 1, 2, 3, 4, 0));
    op_attr_strings(t, "nodes_modes", STRS("BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "LEAF"));
    op_attr_ints(t, "nodes_featureids", INTS(0, 1, 0, 0, 0, 0));
    op_attr_floats(t, "nodes_values", VALS(1, 5, 0, 0, 0, 0));
    op_attr_ints(t, "nodes_truenodeids", INTS(1, 3, 0, 0, 0, 0));
    op_attr_ints(t, "nodes_falsenodeids", INTS(2, 4, 0, 0, 0, 0));
    op_attr_ints(t, "nodes_missing_value_tracks_true", INTS(1, 0, 0, 0, 0, 0));
    op_attr_ints(t, tn_arena_strndup(&t->model->arena, attr[0], 31), INTS(0, 0, 0, 1));
    op_attr_ints(t, tn_arena_strndup(&t->model->arena, attr[1], 31), INTS(2, 3, 4, 0));
    op_attr_ints(t, tn_arena_strndup(&t->model->arena, attr[2], 31), n, targets);
    op_attr_floats(t, tn_arena_strndup(&t->model->arena, attr[3], 31), VALS(20, 30, 40, 1));
}

#define TREE_ROWS op_num(TERN_FLOAT, DIMS(4, 2), VALS(2, 0, 1, 6, 1, 5, NAN, NAN))

static void test_tree_regressor(void **state) {
    (void)state;
    op_test t;
    begin_tree(&t, "TreeEnsembleRegressor", "target", INTS(0, 0, 1, 1));
    op_attr_i(&t, "n_targets", 2);
    op_attr_floats(&t, "base_values", VALS(0.5, 0));
    op_in(&t, TREE_ROWS);
    op_out(&t, op_num(TERN_FLOAT, DIMS(4, 2), VALS(20.5, 1, 30.5, 1, 0.5, 41, 0.5, 41)));
    op_run_exact(&t);
    static const char *const how[] = {"AVERAGE", "MIN", "MAX"};
    static const double want[][4] = {{10.5, 15.5, 20.5, 20.5}, {1, 1, 1, 1}, {20, 30, 40, 40}};
    for (int i = 0; i < 3; i++) {
        begin_tree(&t, "TreeEnsembleRegressor", "target", INTS(0, 0, 0, 0));
        op_attr_i(&t, "n_targets", 1);
        op_attr_s(&t, "aggregate_function", how[i]);
        op_in(&t, TREE_ROWS);
        op_out(&t, op_num(TERN_FLOAT, DIMS(4, 1), 4, want[i]));
        op_run_exact(&t);
    }
}

static void test_tree_classifier(void **state) {
    (void)state;
    op_test t;
    begin_tree(&t, "TreeEnsembleClassifier", "class", INTS(0, 1, 2, 1));
    op_attr_strings(&t, "classlabels_strings", STRS("p", "q", "r"));
    op_in(&t, TREE_ROWS);
    op_out(&t, op_str(DIMS(4), STRS("p", "q", "r", "r")));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4, 3), VALS(20, 1, 0, 0, 31, 0, 0, 1, 40, 0, 1, 40)));
    op_run_exact(&t);
    begin_tree(&t, "TreeEnsembleClassifier", "class", INTS(0, 0, 0, 0)); /* two classes from one score */
    op_attr_ints(&t, "classlabels_int64s", INTS(0, 1));
    op_attr_floats(&t, "base_values", VALS(-31, 0));
    op_attr_s(&t, "post_transform", "LOGISTIC");
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(2, 0, 1, 0)));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(0, 1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(logistic(10), logistic(-10), logistic(-10), logistic(10))));
    op_run(&t, 1e-5, 1e-7);
}

static void tree_refuses(const char *attr, size_t n, const int64_t *v, const char *word) {
    op_test t;
    begin_tree(&t, "TreeEnsembleRegressor", "target", INTS(0, 0, 0, 0));
    for (int i = 0; i < t.n_attrs; i++) {
        if (strcmp(t.attrs[i].name, attr) != 0) continue;
        t.attrs[i].ints = v;
        t.attrs[i].count = n;
    }
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(0, 0)));
    op_error(&t, TERN_INVALID_MODEL, 1, &word);
}

static void test_tree_refuses(void **state) {
    (void)state;
    tree_refuses("nodes_truenodeids", INTS(9, 3, 0, 0, 0, 0), "tree 0 has no node 9");
    tree_refuses("nodes_truenodeids", INTS(0, 3, 0, 0, 0, 0), "cycle");
    tree_refuses("nodes_truenodeids", INTS(1, 3), "2 values where 6 are needed");
    tree_refuses("nodes_featureids", INTS(-1, 0, 0, 0, 0, 0), "feature -1");
    tree_refuses("target_ids", INTS(0, 0, 0, 1), "target 1 of 1");
    tree_refuses("target_nodeids", INTS(0, 3, 4, 0), "is no leaf");
    tree_refuses("nodes_nodeids", INTS(0, 1, 2, 3, 3, 0), "given twice");
    op_test t;
    begin_tree(&t, "TreeEnsembleRegressor", "target", INTS(0, 0, 0, 0));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("feature 1"));
}

/* x0 in {2, 3} ? leaf 0 : (x0 < 0 ? leaf 1 : leaf 2) */
static void begin_members(op_test *t, const tern_dtype dtype) {
    begin(t, "TreeEnsemble", 5);
    op_attr_tensor(t, "nodes_splits", op_num(dtype, DIMS(2), VALS(0, 0)));
    op_attr_tensor(t, "nodes_modes", op_num(TERN_UINT8, DIMS(2), VALS(6, 1)));
    op_attr_ints(t, "nodes_featureids", INTS(0, 0));
    op_attr_ints(t, "nodes_truenodeids", INTS(0, 1));
    op_attr_ints(t, "nodes_falsenodeids", INTS(1, 2));
    op_attr_ints(t, "nodes_trueleafs", INTS(1, 1));
    op_attr_ints(t, "nodes_falseleafs", INTS(0, 1));
    op_attr_ints(t, "leaf_targetids", INTS(0, 0, 1));
    op_attr_tensor(t, "leaf_weights", op_num(dtype, DIMS(3), VALS(10, 20, 30)));
    op_attr_i(t, "n_targets", 2);
}

static void test_tree_ensemble(void **state) {
    (void)state;
    op_test t;
    begin_members(&t, TERN_DOUBLE);
    op_attr_ints(&t, "tree_roots", INTS(0));
    op_attr_tensor(&t, "membership_values", op_num(TERN_DOUBLE, DIMS(3), VALS(2, 3, NAN)));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(3, 1), VALS(3, -1, 5)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(3, 2), VALS(10, 0, 20, 0, 0, 30)));
    op_run_exact(&t);
    begin_members(&t, TERN_FLOAT);
    op_attr_ints(&t, "tree_roots", INTS(0));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(3)));
    op_error(&t, TERN_INVALID_MODEL, STRS("membership_values has no list for node 0"));
    begin_members(&t, TERN_FLOAT);
    op_attr_ints(&t, "tree_roots", INTS(2));
    op_attr_tensor(&t, "membership_values", op_num(TERN_FLOAT, DIMS(3), VALS(2, 3, NAN)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(3)));
    op_error(&t, TERN_INVALID_MODEL, STRS("tree_roots[0] is 2 of 2"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_label_encoder),
        cmocka_unit_test(test_categories),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_svm),
        cmocka_unit_test(test_tree_regressor),
        cmocka_unit_test(test_tree_classifier),
        cmocka_unit_test(test_tree_refuses),
        cmocka_unit_test(test_tree_ensemble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
