/* Attribute access. */
#include "graph/graph.h"

const tn_attr *tn_attr_find(const tn_node *n, const char *name) {
    for (int i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, name) == 0) return &n->attrs[i];
    }
    return NULL;
}

static const tn_attr *find_typed(const tn_node *n, const char *name, tn_attr_type type) {
    const tn_attr *a = tn_attr_find(n, name);
    return a && a->type == type ? a : NULL;
}

int64_t tn_attr_i(const tn_node *n, const char *name, int64_t default_value) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_INT);
    return a ? a->i : default_value;
}

float tn_attr_f(const tn_node *n, const char *name, float default_value) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_FLOAT);
    return a ? a->f : default_value;
}

tn_str tn_attr_s(const tn_node *n, const char *name, const char *default_value) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_STRING);
    return a ? a->s : tn_str_c(default_value);
}

bool tn_attr_is(const tn_node *n, const char *name, const char *default_value, const char *expected) {
    return tn_str_eq(tn_attr_s(n, name, default_value), tn_str_c(expected));
}

const int64_t *tn_attr_ints(const tn_node *n, const char *name, size_t *count) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_INTS);
    *count = a ? a->count : 0;
    return a ? a->ints : NULL;
}

const float *tn_attr_floats(const tn_node *n, const char *name, size_t *count) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_FLOATS);
    *count = a ? a->count : 0;
    return a ? a->floats : NULL;
}

const tn_str *tn_attr_strings(const tn_node *n, const char *name, size_t *count) {
    const tn_attr *a = find_typed(n, name, TN_ATTR_STRINGS);
    *count = a ? a->count : 0;
    return a ? a->strings : NULL;
}

const tern_tensor *tn_attr_tensor(const tn_node *n, const char *name) {
    const tn_attr *a = tn_attr_find(n, name);
    return a && (a->type == TN_ATTR_TENSOR || a->type == TN_ATTR_SPARSE_TENSOR) ? a->t : NULL;
}
