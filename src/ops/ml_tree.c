/* TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor.
 *
 * All three become one form when the node is prepared: inner nodes in an array, each with a test and two children, and
 * leaves with ranges of (target, weight) votes. Children are checked to lie inside; a walk takes at most as many steps
 * as there are nodes, so trees that bite their tail end in an error. */
#include "ops/ml_internal.h"

#include <float.h>
#include <math.h>

typedef enum test { LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF } test;
typedef enum aggregate { AVERAGE, SUM, LEAST, MOST } aggregate;

typedef struct tree_node {
    double split;
    int64_t yes, no; /* nodes; LEAF: votes [yes, no) */
    int64_t feature; /* MEMBER: also first_member, n_members in the ensemble's list */
    int64_t first_member, n_members;
    uint8_t test, missing_is_true;
} tree_node;

typedef struct vote {
    int64_t target;
    double weight;
} vote;

typedef struct ensemble {
    tree_node *nodes;
    vote *votes;
    int64_t *roots;
    const double *members;
    const double *base;                                   /* targets elements; NULL: zeros */
    int64_t n_nodes, n_votes, n_roots, targets, features; /* features: one more than the last that is read */
    aggregate aggregate;
    tn_ml_post post;
} ensemble;

typedef struct builder {
    const tn_node *node;
    tn_arena *arena;
    tern_error *err;
    ensemble *e;
} builder;

/* ---- attributes ------------------------------------------------------------------------------------------------ */

typedef struct numbers {
    const float *f;
    const tern_tensor *t;
    int64_t n;
} numbers;

/* A list of numbers, or `name`_as_tensor instead. */
static numbers get_numbers(const tn_node *n, const char *name, const char *as_tensor) {
    size_t count;
    numbers v = {.f = tn_attr_floats(n, name, &count), .t = tn_attr_tensor(n, as_tensor)};
    v.n = v.t ? tn_shape_count(&v.t->shape) : (int64_t)count;
    return v;
}

static double number_at(const numbers *v, int64_t i) { return v->t ? tn_tensor_get_f64(v->t, i) : (double)v->f[i]; }

static const int64_t *need_ints(const builder *b, const char *name, int64_t want, tern_status *status) {
    size_t n;
    const int64_t *v = tn_attr_ints(b->node, name, &n);
    if (*status == TERN_OK && (int64_t)n != want)
        *status = tn_fail(b->err, TERN_INVALID_MODEL, "attribute '%s' has %zu values where %lld are needed", name, n,
                          (long long)want);
    return v;
}

static tern_status alloc_parts(builder *b, int64_t n_nodes, int64_t n_votes, int64_t n_roots) {
    ensemble *e = b->e;
    e->nodes = tn_arena_array(b->arena, (size_t)n_nodes + 1, sizeof *e->nodes);
    e->votes = tn_arena_array(b->arena, (size_t)n_votes + 1, sizeof *e->votes);
    e->roots = tn_arena_array(b->arena, (size_t)n_roots + 1, sizeof *e->roots);
    return e->nodes && e->votes && e->roots ? TERN_OK : tn_fail_oom(b->err, (size_t)n_nodes * sizeof *e->nodes);
}

static tern_status check_feature(builder *b, int64_t i, int64_t feature) {
    if (feature < 0 || feature > INT32_MAX)
        return tn_fail(b->err, TERN_INVALID_MODEL, "node %lld tests feature %lld", (long long)i, (long long)feature);
    b->e->features = TN_MAX(b->e->features, feature + 1);
    return TERN_OK;
}

static tern_status check_target(const builder *b, int64_t i, int64_t target) {
    if (target >= 0 && target < b->e->targets) return TERN_OK;
    return tn_fail(b->err, TERN_INVALID_MODEL, "vote %lld is for target %lld of %lld", (long long)i, (long long)target,
                   (long long)b->e->targets);
}

/* ---- the old form: nodes and votes with (tree, node) ids ------------------------------------------------------- */

typedef struct id_pair {
    int64_t tree, node;
} id_pair;

/* (tree, node) -> index + 1, by open addressing. */
typedef struct id_map {
    id_pair *keys;
    int64_t *values;
    size_t mask;
} id_map;

static int64_t *id_slot(const id_map *m, int64_t tree, int64_t node) {
    id_pair key = {tree, node};
    size_t i = (size_t)tn_hash(&key, sizeof key, 0) & m->mask;
    while (m->values[i] && (m->keys[i].tree != tree || m->keys[i].node != node)) i = (i + 1) & m->mask;
    m->keys[i] = key;
    return &m->values[i];
}

static tern_status map_ids(builder *b, const int64_t *trees, const int64_t *nodes, int64_t n, id_map *m) {
    size_t size = 16;
    while (size < 2 * (size_t)n + 2) size *= 2;
    m->mask = size - 1;
    m->keys = tn_arena_array(b->arena, size, sizeof *m->keys);
    m->values = tn_arena_array(b->arena, size, sizeof *m->values);
    if (!m->keys || !m->values) return tn_fail_oom(b->err, size * sizeof *m->keys);
    for (int64_t i = 0; i < n; i++) {
        int64_t *slot = id_slot(m, trees[i], nodes[i]);
        if (*slot)
            return tn_fail(b->err, TERN_INVALID_MODEL, "node %lld of tree %lld is given twice", (long long)nodes[i],
                           (long long)trees[i]);
        *slot = i + 1;
        /* The first node of a tree is its root. */
        if (i == 0 || trees[i] != trees[i - 1]) b->e->roots[b->e->n_roots++] = i;
    }
    return TERN_OK;
}

static bool parse_mode(tn_str s, uint8_t *out) {
    static const char *const names[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE", "BRANCH_GT",
                                        "BRANCH_EQ",  "BRANCH_NEQ", "",           "LEAF"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        *out = (uint8_t)i;
        if (s.len && tn_str_eq(s, tn_str_c(names[i]))) return true;
    }
    return false;
}

static tern_status child(const builder *b, const id_map *m, int64_t tree, int64_t id, int64_t *out) {
    *out = *id_slot(m, tree, id) - 1;
    if (*out >= 0) return TERN_OK;
    return tn_fail(b->err, TERN_INVALID_MODEL, "tree %lld has no node %lld", (long long)tree, (long long)id);
}

static tern_status old_nodes(builder *b, id_map *m) {
    size_t n_modes, n_missing;
    const tn_str *modes = tn_attr_strings(b->node, "nodes_modes", &n_modes);
    const int64_t *missing = tn_attr_ints(b->node, "nodes_missing_value_tracks_true", &n_missing);
    int64_t n = b->e->n_nodes = (int64_t)n_modes;
    tern_status s = TERN_OK;
    const int64_t *trees = need_ints(b, "nodes_treeids", n, &s), *ids = need_ints(b, "nodes_nodeids", n, &s);
    const int64_t *yes = need_ints(b, "nodes_truenodeids", n, &s), *no = need_ints(b, "nodes_falsenodeids", n, &s);
    const int64_t *features = need_ints(b, "nodes_featureids", n, &s);
    numbers splits = get_numbers(b->node, "nodes_values", "nodes_values_as_tensor");
    TN_TRY(s);
    if (splits.n != n)
        return tn_fail(b->err, TERN_INVALID_MODEL, "%lld nodes_values for %lld nodes", (long long)splits.n,
                       (long long)n);
    TN_TRY(map_ids(b, trees, ids, n, m));
    for (int64_t i = 0; i < n; i++) {
        tree_node *t = &b->e->nodes[i];
        if (!parse_mode(modes[i], &t->test))
            return tn_fail(b->err, TERN_INVALID_MODEL, "nodes_modes[%lld] is '%.*s'", (long long)i,
                           (int)TN_MIN(modes[i].len, (size_t)40), modes[i].data);
        if (t->test == LEAF) continue;
        t->split = number_at(&splits, i);
        t->feature = features[i];
        t->missing_is_true = (size_t)i < n_missing && missing[i] != 0;
        TN_TRY(check_feature(b, i, t->feature));
        TN_TRY(child(b, m, trees[i], yes[i], &t->yes));
        TN_TRY(child(b, m, trees[i], no[i], &t->no));
    }
    return TERN_OK;
}

typedef struct vote_names {
    const char *trees, *nodes, *targets, *weights, *as_tensor;
} vote_names;

/* Sorts the votes by leaf (counting sort: those of one leaf keep their order). */
static tern_status old_votes(builder *b, const id_map *m, const vote_names *names) {
    numbers weights = get_numbers(b->node, names->weights, names->as_tensor);
    int64_t n = weights.n;
    tern_status s = TERN_OK;
    const int64_t *trees = need_ints(b, names->trees, n, &s), *ids = need_ints(b, names->nodes, n, &s);
    const int64_t *targets = need_ints(b, names->targets, n, &s);
    TN_TRY(s);
    int64_t *leaf = tn_arena_array(b->arena, (size_t)n + 1, sizeof *leaf);
    if (!leaf) return tn_fail_oom(b->err, (size_t)n * sizeof *leaf);
    for (int64_t i = 0; i < n; i++) {
        TN_TRY(child(b, m, trees[i], ids[i], &leaf[i]));
        TN_TRY(check_target(b, i, targets[i]));
        if (b->e->nodes[leaf[i]].test != LEAF)
            return tn_fail(b->err, TERN_INVALID_MODEL, "vote %lld belongs to node %lld of tree %lld, which is no leaf",
                           (long long)i, (long long)ids[i], (long long)trees[i]);
        b->e->nodes[leaf[i]].no++;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < b->e->n_nodes; i++) {
        tree_node *t = &b->e->nodes[i];
        if (t->test != LEAF) continue;
        int64_t count = t->no;
        t->yes = t->no = at;
        at += count;
    }
    for (int64_t i = 0; i < n; i++) b->e->votes[b->e->nodes[leaf[i]].no++] = (vote){targets[i], number_at(&weights, i)};
    b->e->n_votes = n;
    return TERN_OK;
}

static tern_status old_base(builder *b) {
    numbers v = get_numbers(b->node, "base_values", "base_values_as_tensor");
    if (v.n == 0) return TERN_OK;
    double *base = tn_arena_array(b->arena, (size_t)b->e->targets, sizeof *base);
    if (!base) return tn_fail_oom(b->err, (size_t)b->e->targets * sizeof *base);
    if (v.n != b->e->targets && v.n != 1)
        return tn_fail(b->err, TERN_INVALID_MODEL, "%lld base_values for %lld targets", (long long)v.n,
                       (long long)b->e->targets);
    for (int64_t i = 0; i < b->e->targets; i++) base[i] = i < v.n ? number_at(&v, i) : 0;
    b->e->base = base;
    return TERN_OK;
}

static tern_status check_targets(const builder *b) {
    if (b->e->targets >= 1 && b->e->targets <= INT32_MAX) return TERN_OK;
    return tn_fail(b->err, TERN_INVALID_MODEL, "%lld targets", (long long)b->e->targets);
}

static tern_status build_old(builder *b, int64_t targets, const vote_names *names) {
    id_map m;
    size_t n_nodes;
    b->e->targets = targets;
    TN_TRY(check_targets(b));
    tn_attr_strings(b->node, "nodes_modes", &n_nodes);
    numbers weights = get_numbers(b->node, names->weights, names->as_tensor);
    TN_TRY(tn_ml_post_transform(b->node, &b->e->post, b->err));
    TN_TRY(alloc_parts(b, (int64_t)n_nodes, weights.n, (int64_t)n_nodes));
    TN_TRY(old_nodes(b, &m));
    TN_TRY(old_votes(b, &m, names));
    return old_base(b);
}

/* ---- the new form (TreeEnsemble 5): nodes and leaves by position ------------------------------------------------ */

/* Values of set tests, in the order of the nodes, each list ended by NaN. */
static tern_status new_members(builder *b) {
    const tern_tensor *t = tn_attr_tensor(b->node, "membership_values");
    int64_t n = t ? tn_shape_count(&t->shape) : 0, at = 0;
    double *members = tn_arena_array(b->arena, (size_t)n + 1, sizeof *members);
    if (!members) return tn_fail_oom(b->err, (size_t)n * sizeof *members);
    for (int64_t i = 0; i < n; i++) members[i] = tn_tensor_get_f64(t, i);
    for (int64_t i = 0; i < b->e->n_nodes; i++) {
        tree_node *node = &b->e->nodes[i];
        if (node->test != MEMBER) continue;
        node->first_member = at;
        while (at < n && !isnan(members[at])) at++;
        node->n_members = at - node->first_member;
        if (at++ >= n)
            return tn_fail(b->err, TERN_INVALID_MODEL, "membership_values has no list for node %lld", (long long)i);
    }
    b->e->members = members;
    return TERN_OK;
}

/* Leaf k becomes node n_inner + k. */
static tern_status new_child(const builder *b, int64_t i, int64_t id, bool leaf, int64_t inner, int64_t leaves,
                             int64_t *out) {
    *out = leaf ? inner + id : id;
    if (id >= 0 && id < (leaf ? leaves : inner)) return TERN_OK;
    return tn_fail(b->err, TERN_INVALID_MODEL, "node %lld has %s %lld as a child; there are %lld", (long long)i,
                   leaf ? "leaf" : "node", (long long)id, (long long)(leaf ? leaves : inner));
}

static tern_status new_nodes(builder *b, int64_t inner, int64_t leaves) {
    size_t n_missing;
    tern_status s = TERN_OK;
    const tern_tensor *splits = tn_attr_tensor(b->node, "nodes_splits");
    const tern_tensor *modes = tn_attr_tensor(b->node, "nodes_modes");
    const int64_t *features = need_ints(b, "nodes_featureids", inner, &s);
    const int64_t *yes = need_ints(b, "nodes_truenodeids", inner, &s);
    const int64_t *no = need_ints(b, "nodes_falsenodeids", inner, &s);
    const int64_t *yes_leaf = need_ints(b, "nodes_trueleafs", inner, &s);
    const int64_t *no_leaf = need_ints(b, "nodes_falseleafs", inner, &s);
    const int64_t *missing = tn_attr_ints(b->node, "nodes_missing_value_tracks_true", &n_missing);
    TN_TRY(s);
    for (int64_t i = 0; i < inner; i++) {
        tree_node *t = &b->e->nodes[i];
        int64_t mode = tn_tensor_get_i64(modes, i);
        if (mode < LEQ || mode > MEMBER)
            return tn_fail(b->err, TERN_INVALID_MODEL, "nodes_modes[%lld] is %lld", (long long)i, (long long)mode);
        t->test = (uint8_t)mode;
        t->split = tn_tensor_get_f64(splits, i);
        t->feature = features[i];
        t->missing_is_true = (size_t)i < n_missing && missing[i] != 0;
        TN_TRY(check_feature(b, i, t->feature));
        TN_TRY(new_child(b, i, yes[i], yes_leaf[i] != 0, inner, leaves, &t->yes));
        TN_TRY(new_child(b, i, no[i], no_leaf[i] != 0, inner, leaves, &t->no));
    }
    return new_members(b);
}

static tern_status new_leaves(builder *b, int64_t inner, int64_t leaves) {
    tern_status s = TERN_OK;
    const tern_tensor *weights = tn_attr_tensor(b->node, "leaf_weights");
    const int64_t *targets = need_ints(b, "leaf_targetids", leaves, &s);
    TN_TRY(s);
    for (int64_t k = 0; k < leaves; k++) {
        TN_TRY(check_target(b, k, targets[k]));
        b->e->votes[k] = (vote){targets[k], tn_tensor_get_f64(weights, k)};
        b->e->nodes[inner + k] = (tree_node){.test = LEAF, .yes = k, .no = k + 1};
    }
    b->e->n_nodes = inner + leaves;
    b->e->n_votes = leaves;
    return TERN_OK;
}

static tern_status new_roots(builder *b, int64_t inner) {
    size_t n;
    const int64_t *roots = tn_attr_ints(b->node, "tree_roots", &n);
    for (size_t i = 0; i < n; i++) {
        if (roots[i] < 0 || roots[i] >= inner)
            return tn_fail(b->err, TERN_INVALID_MODEL, "tree_roots[%zu] is %lld of %lld nodes", i, (long long)roots[i],
                           (long long)inner);
        b->e->roots[b->e->n_roots++] = roots[i];
    }
    return TERN_OK;
}

static tern_status build_new(builder *b) {
    size_t n_roots;
    const tern_tensor *modes = tn_attr_tensor(b->node, "nodes_modes");
    const tern_tensor *splits = tn_attr_tensor(b->node, "nodes_splits");
    const tern_tensor *weights = tn_attr_tensor(b->node, "leaf_weights");
    if (!modes || !splits || !weights)
        return tn_fail(b->err, TERN_INVALID_MODEL, "nodes_modes, nodes_splits or leaf_weights is missing");
    int64_t inner = tn_shape_count(&modes->shape), leaves = tn_shape_count(&weights->shape);
    int64_t post = tn_attr_i(b->node, "post_transform", TN_ML_NONE);
    int64_t how = tn_attr_i(b->node, "aggregate_function", SUM);
    if (tn_shape_count(&splits->shape) != inner || post < TN_ML_NONE || post > TN_ML_PROBIT || how < AVERAGE ||
        how > MOST)
        return tn_fail(b->err, TERN_INVALID_MODEL,
                       "%lld nodes_splits for %lld nodes, post_transform %lld, aggregate_function %lld",
                       (long long)tn_shape_count(&splits->shape), (long long)inner, (long long)post, (long long)how);
    b->e->post = (tn_ml_post)post;
    b->e->aggregate = (aggregate)how;
    b->e->targets = tn_attr_i(b->node, "n_targets", 1);
    TN_TRY(check_targets(b));
    tn_attr_ints(b->node, "tree_roots", &n_roots);
    TN_TRY(alloc_parts(b, inner + leaves, leaves, (int64_t)n_roots));
    b->e->n_nodes = inner;
    TN_TRY(new_nodes(b, inner, leaves));
    TN_TRY(new_leaves(b, inner, leaves));
    return new_roots(b, inner);
}

/* ---- evaluation ------------------------------------------------------------------------------------------------ */

static bool passes(const ensemble *e, const tree_node *t, double v) {
    if (t->missing_is_true && isnan(v)) return true;
    switch ((test)t->test) {
    case LEQ:
        return v <= t->split;
    case LT:
        return v < t->split;
    case GTE:
        return v >= t->split;
    case GT:
        return v > t->split;
    case EQ:
        return v == t->split;
    case NEQ:
        return v != t->split;
    default:
        for (int64_t i = 0; i < t->n_members; i++)
            if (e->members[t->first_member + i] == v) return true;
        return false;
    }
}

/* The leaf that a row reaches; NULL when the tree has a cycle. */
static const tree_node *walk(const ensemble *e, int64_t root, const double *row) {
    const tree_node *t = &e->nodes[root];
    for (int64_t steps = 0; t->test != LEAF; steps++) {
        if (steps > e->n_nodes) return NULL;
        t = &e->nodes[passes(e, t, row[t->feature]) ? t->yes : t->no];
    }
    return t;
}

static void add_vote(const ensemble *e, const vote *v, double *scores, bool *seen) {
    double *s = &scores[v->target];
    if (e->aggregate == SUM || e->aggregate == AVERAGE)
        *s += v->weight;
    else if (!seen[v->target])
        *s = v->weight;
    else
        *s = e->aggregate == LEAST ? TN_MIN(*s, v->weight) : TN_MAX(*s, v->weight);
    seen[v->target] = true;
}

/* Aggregated scores of a row, base values included. */
static bool score_row(const ensemble *e, const double *row, double *scores, bool *seen) {
    for (int64_t k = 0; k < e->targets; k++) {
        scores[k] = 0;
        seen[k] = false;
    }
    for (int64_t r = 0; r < e->n_roots; r++) {
        const tree_node *leaf = walk(e, e->roots[r], row);
        if (!leaf) return false;
        for (int64_t i = leaf->yes; i < leaf->no; i++) add_vote(e, &e->votes[i], scores, seen);
    }
    for (int64_t k = 0; k < e->targets; k++) {
        if (e->aggregate == AVERAGE && e->n_roots) scores[k] /= (double)e->n_roots;
        if (e->base) scores[k] += e->base[k];
    }
    return true;
}

/* ---- operators ------------------------------------------------------------------------------------------------- */

static bool is_classifier(const tn_node *n) { return strcmp(n->op_type, "TreeEnsembleClassifier") == 0; }

static tern_status build(builder *b) {
    static const vote_names class_names = {"class_treeids", "class_nodeids", "class_ids", "class_weights",
                                           "class_weights_as_tensor"};
    static const vote_names target_names = {"target_treeids", "target_nodeids", "target_ids", "target_weights",
                                            "target_weights_as_tensor"};
    static const char *const how[] = {"AVERAGE", "SUM", "MIN", "MAX"};
    b->e->aggregate = SUM;
    if (strcmp(b->node->op_type, "TreeEnsemble") == 0) return build_new(b);
    if (is_classifier(b->node)) {
        tn_ml_labels l = tn_ml_get_labels(b->node, "classlabels_int64s", "classlabels_strings");
        return build_old(b, (int64_t)l.count, &class_names);
    }
    size_t k = 0;
    while (k < TN_COUNT(how) && !tn_attr_is(b->node, "aggregate_function", "SUM", how[k])) k++;
    if (k == TN_COUNT(how)) return tn_fail(b->err, TERN_INVALID_MODEL, "aggregate_function is unknown");
    b->e->aggregate = (aggregate)k;
    return build_old(b, tn_attr_i(b->node, "n_targets", 1), &target_names);
}

/* All votes for one class of two or fewer: a score for "yes", from which the other one follows. */
static bool is_binary(const ensemble *e) {
    for (int64_t i = 1; i < e->n_votes; i++)
        if (e->votes[i].target != e->votes[0].target) return false;
    return e->n_votes > 0 && e->targets <= 2;
}

static int64_t score_columns(const tn_node *n, const ensemble *e) {
    return is_classifier(n) && is_binary(e) ? 2 : e->targets;
}

static tern_status infer_tree(tn_infer *c) {
    ensemble e = {0};
    tn_arena scratch; /* types alone are wanted here: what is built goes */
    tn_arena_init(&scratch, 0);
    builder b = {c->node, &scratch, c->err, &e};
    tern_status status = build(&b);
    int64_t scores = status == TERN_OK ? score_columns(c->node, &e) : 0, rows, columns;
    tn_arena_release(&scratch);
    TN_TRY(status);
    tn_shape s, out = {.rank = 2, .dims = {TN_DIM_UNKNOWN, scores}};
    bool known, classify = is_classifier(c->node);
    if (strcmp(c->node->op_type, "TreeEnsemble") == 0)
        TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    else
        TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS));
    known = tn_args_shape(c, 0, &s);
    if (known && !tn_ml_matrix(&s, &rows, &columns))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an input of rank %d where [C] or [N,C] is needed", s.rank);
    if (known && tn_dim_known(columns) && columns < e.features)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the trees test feature %lld, the input has %lld",
                             (long long)e.features - 1, (long long)columns);
    if (known) out.dims[0] = rows;
    if (classify) {
        tn_ml_labels l = tn_ml_get_labels(c->node, "classlabels_int64s", "classlabels_strings");
        tn_infer_out(c, 0, tn_ml_label_type(&l), &(tn_shape){.rank = 1, .dims = {out.dims[0]}});
    }
    bool same = strcmp(c->node->op_type, "TreeEnsemble") == 0;
    tn_infer_out(c, classify, same ? c->in[0]->dtype : TERN_FLOAT, &out);
    return TERN_OK;
}

static tern_status prepare_tree(tn_prepare *c) {
    ensemble *e = tn_prepare_state(c, sizeof *e);
    if (!e) return TERN_OUT_OF_MEMORY;
    builder b = {c->node, c->arena, c->err, e};
    return build(&b);
}

/* Two scores from one, and the label of the row. */
static int64_t finish_class(const ensemble *e, bool binary, double *scores) {
    int64_t n = binary ? 2 : e->targets, top = 0;
    if (binary) {
        double yes = scores[e->targets == 2 ? e->votes[0].target : 0];
        bool plain = e->post == TN_ML_NONE || e->post == TN_ML_PROBIT;
        scores[1] = yes;
        scores[0] = plain ? 1 - yes : -yes;
    }
    tn_ml_apply(e->post, scores, n);
    for (int64_t k = 1; k < n; k++)
        if (scores[k] > scores[top]) top = k;
    return top;
}

static void put_class(const tn_ml_labels *l, tern_tensor *out, int64_t r, int64_t top) {
    if (l->count > 1)
        tn_ml_put_label(l, out, r, top);
    else if (l->strings)
        tn_ml_put_label(l, out, r, top - 1); /* one label: for "yes"; "no" is an empty string */
    else
        ((int64_t *)out->data)[r] = top ? l->ints[0] : 0;
}

static void put_scores(tern_tensor *out, int64_t r, const double *scores, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
        int64_t at = r * n + k;
        if (out->dtype == TERN_FLOAT)
            ((float *)out->data)[at] = (float)scores[k];
        else if (out->dtype == TERN_DOUBLE)
            ((double *)out->data)[at] = scores[k];
        else if (out->dtype == TERN_FLOAT16)
            ((uint16_t *)out->data)[at] = tn_f32_to_f16((float)scores[k]);
        else
            ((uint16_t *)out->data)[at] = tn_f32_to_bf16((float)scores[k]);
    }
}

static tern_status run_rows(tn_run *c, double *row, double *scores, bool *seen) {
    const ensemble *e = c->state;
    int64_t rows = 0, columns = 0;
    bool classify = is_classifier(c->node), binary = classify && is_binary(e);
    tn_ml_labels l = {0};
    tern_tensor *labels = NULL, *out = tn_args_out(c, classify);
    if (classify) {
        l = tn_ml_get_labels(c->node, "classlabels_int64s", "classlabels_strings");
        labels = tn_args_out(c, 0);
    }
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    for (int64_t r = 0; r < rows; r++) {
        int64_t top = 0;
        for (int64_t i = 0; i < columns; i++) row[i] = tn_tensor_get_f64(c->in[0], r * columns + i);
        if (!score_row(e, row, scores, seen))
            return tn_run_fail(c, TERN_INVALID_MODEL, "a tree of the ensemble has a cycle");
        if (classify)
            top = finish_class(e, binary, scores);
        else
            tn_ml_apply(e->post, scores, e->targets);
        if (labels) put_class(&l, labels, r, top);
        if (out) put_scores(out, r, scores, binary ? 2 : e->targets);
    }
    return TERN_OK;
}

static tern_status run_tree(tn_run *c) {
    const ensemble *e = c->state;
    int64_t rows = 0, columns = 0;
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    double *row = tn_alloc_array((size_t)(columns + e->targets) + 2, sizeof *row);
    bool *seen = tn_alloc_array((size_t)e->targets + 2, sizeof *seen);
    tern_status s = row && seen ? run_rows(c, row, row + columns, seen) : tn_fail_oom(c->err, (size_t)columns * 8);
    tn_free(row);
    tn_free(seen);
    return s;
}

const tn_op tn_op_tree_ensemble = {.infer = infer_tree,
                                   .prepare = prepare_tree,
                                   .run = run_tree,
                                   .min_in = 1,
                                   .max_in = 1,
                                   .min_out = 1,
                                   .max_out = 2};
