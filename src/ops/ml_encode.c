/* LabelEncoder, CategoryMapper, OneHotEncoder, DictVectorizer, CastMap, ZipMap: values found by key. The keys are put
 * into a hash table once, when the node is prepared. */
#include "ops/ml_internal.h"
#include "ops/typed.h"

#include <stdlib.h>

/* ---- lists and look-up ----------------------------------------------------------------------------------------- */

/* A list of elements from an attribute: strings as tn_str, else elements of the type. */
typedef struct list {
    tern_dtype dtype; /* TERN_UNDEFINED: the attribute is not there */
    const void *data;
    int64_t count;
} list;

_Static_assert(sizeof(tn_str) == sizeof(tern_string), "strings of attributes and of tensors are read alike");

static tn_str element_bytes(const list *l, int64_t i) {
    if (l->dtype == TERN_STRING) return ((const tn_str *)l->data)[i];
    size_t unit = tn_dtype_size(l->dtype);
    return (tn_str){(const char *)l->data + (size_t)i * unit, unit};
}

/* The first of the four forms that is there. */
static list get_list(const tn_node *n, const char *strings, const char *ints, const char *floats, const char *tensor) {
    size_t count;
    const tern_tensor *t = tensor ? tn_attr_tensor(n, tensor) : NULL;
    if (t) return (list){t->dtype, t->data, tn_shape_count(&t->shape)};
    const tn_str *s = tn_attr_strings(n, strings, &count);
    if (s) return (list){TERN_STRING, s, (int64_t)count};
    const int64_t *i = tn_attr_ints(n, ints, &count);
    if (i) return (list){TERN_INT64, i, (int64_t)count};
    const float *f = floats ? tn_attr_floats(n, floats, &count) : NULL;
    if (f) return (list){TERN_FLOAT, f, (int64_t)count};
    return (list){TERN_UNDEFINED, NULL, 0};
}

/* What a prepared node knows: keys with their hash table, and the values that stand for them. */
typedef struct encoder {
    list keys, values;
    int64_t *slots; /* index + 1 */
    size_t mask;
} encoder;

static tern_status hash_keys(tn_prepare *c, encoder *e) {
    size_t size = 16;
    while (size < 2 * (size_t)e->keys.count) size *= 2;
    e->mask = size - 1;
    e->slots = tn_arena_array(c->arena, size, sizeof *e->slots);
    if (!e->slots) return tn_fail_oom(c->err, size * sizeof *e->slots);
    for (int64_t i = 0; i < e->keys.count; i++) {
        tn_str key = element_bytes(&e->keys, i);
        size_t at = (size_t)tn_hash(key.data, key.len, 0) & e->mask;
        while (e->slots[at] && !tn_str_eq(element_bytes(&e->keys, e->slots[at] - 1), key)) at = (at + 1) & e->mask;
        if (!e->slots[at]) e->slots[at] = i + 1;
    }
    return TERN_OK;
}

/* Index of a key; -1: not there. */
static int64_t find_key(const encoder *e, tn_str key) {
    size_t at = (size_t)tn_hash(key.data, key.len, 0) & e->mask;
    for (; e->slots[at]; at = (at + 1) & e->mask)
        if (tn_str_eq(element_bytes(&e->keys, e->slots[at] - 1), key)) return e->slots[at] - 1;
    return -1;
}

static tern_status prepare_encoder(tn_prepare *c, list keys, list values) {
    encoder *e = tn_prepare_state(c, sizeof *e);
    if (!e) return TERN_OUT_OF_MEMORY;
    e->keys = keys;
    e->values = values;
    return hash_keys(c, e);
}

/* Element i of `out` becomes element `at` of the list. */
static void put_element(const list *l, int64_t at, tern_tensor *out, int64_t i) {
    size_t unit = tn_dtype_size(l->dtype);
    memcpy((char *)out->data + (size_t)i * unit, (const char *)l->data + (size_t)at * unit, unit);
}

static tern_status infer_mapped(tn_infer *c, const list *keys, const list *values) {
    if (keys->dtype == TERN_UNDEFINED || values->dtype == TERN_UNDEFINED || keys->count != values->count)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%lld keys and %lld values", (long long)keys->count,
                             (long long)values->count);
    TN_TRY(tn_args_need(c, 0, 1u << keys->dtype));
    tn_shape s;
    bool known = tn_args_shape(c, 0, &s);
    tn_infer_out(c, 0, values->dtype, known ? &s : NULL);
    return TERN_OK;
}

/* ---- LabelEncoder ---------------------------------------------------------------------------------------------- */

/* Opset 1 has one list of strings: a string becomes its position, a position its string. The input decides. */
static tern_status infer_label1(tn_infer *c) {
    size_t count;
    tn_attr_strings(c->node, "classes_strings", &count);
    TN_TRY(tn_args_need(c, 0, TN_T(STRING) | TN_T(INT64)));
    if (!count) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'classes_strings' is missing");
    tern_dtype in = c->in[0]->dtype;
    tn_shape s;
    bool known = tn_args_shape(c, 0, &s);
    tn_infer_out(c, 0,
                 in == TERN_STRING  ? TERN_INT64
                 : in == TERN_INT64 ? TERN_STRING
                                    : TERN_UNDEFINED,
                 known ? &s : NULL);
    return TERN_OK;
}

static tern_status prepare_label1(tn_prepare *c) {
    size_t n;
    const tn_str *s = tn_attr_strings(c->node, "classes_strings", &n);
    list classes = {TERN_STRING, s, (int64_t)n};
    return prepare_encoder(c, classes, classes);
}

static tern_status run_label1(tn_run *c) {
    const encoder *e = c->state;
    const tern_tensor *x = c->in[0];
    tn_str missing = tn_attr_s(c->node, "default_string", "_Unused");
    list fallback = {TERN_STRING, &missing, 1};
    for (int64_t i = 0, n = tn_shape_count(&x->shape); i < n; i++) {
        if (x->dtype == TERN_STRING) {
            int64_t at = find_key(e, ((const tn_str *)x->data)[i]);
            ((int64_t *)c->out[0]->data)[i] = at < 0 ? tn_attr_i(c->node, "default_int64", -1) : at;
        } else {
            int64_t at = ((const int64_t *)x->data)[i];
            bool there = at >= 0 && at < e->values.count;
            put_element(there ? &e->values : &fallback, there ? at : 0, c->out[0], i);
        }
    }
    return TERN_OK;
}

const tn_op tn_op_label_encoder1 = {.infer = infer_label1,
                                    .prepare = prepare_label1,
                                    .run = run_label1,
                                    .min_in = 1,
                                    .max_in = 1,
                                    .min_out = 1,
                                    .max_out = 1};

static list label_keys(const tn_node *n) {
    return get_list(n, "keys_strings", "keys_int64s", "keys_floats", n->since >= 4 ? "keys_tensor" : NULL);
}
static list label_values(const tn_node *n) {
    return get_list(n, "values_strings", "values_int64s", "values_floats", n->since >= 4 ? "values_tensor" : NULL);
}

static tern_status infer_label(tn_infer *c) {
    list keys = label_keys(c->node), values = label_values(c->node);
    const tern_tensor *fallback = tn_attr_tensor(c->node, "default_tensor");
    if (fallback && (fallback->dtype != values.dtype || tn_shape_count(&fallback->shape) != 1))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "default_tensor must be one %s", tern_dtype_name(values.dtype));
    return infer_mapped(c, &keys, &values);
}

static tern_status prepare_label(tn_prepare *c) {
    return prepare_encoder(c, label_keys(c->node), label_values(c->node));
}

/* What stands for keys that are not there; `memory` holds it unless the model does. */
static list label_default(const tn_node *n, tern_dtype dtype, tn_str *memory) {
    const tern_tensor *t = tn_attr_tensor(n, "default_tensor");
    if (t) return (list){t->dtype, t->data, 1};
    if (dtype == TERN_STRING) {
        *memory = tn_attr_s(n, "default_string", "_Unused");
    } else if (tn_type_in(dtype, TN_TYPES_FLOAT)) {
        float f = tn_attr_f(n, "default_float", -0.0f);
        tn_cast_elements(TERN_FLOAT, &f, dtype, memory, 1);
    } else {
        int64_t i = tn_attr_i(n, "default_int64", -1);
        tn_cast_elements(TERN_INT64, &i, dtype, memory, 1);
    }
    return (list){dtype, memory, 1};
}

static tern_status run_label(tn_run *c) {
    const encoder *e = c->state;
    const tern_tensor *x = c->in[0];
    tn_str memory;
    list in = {x->dtype, x->data, 0}, fallback = label_default(c->node, e->values.dtype, &memory);
    for (int64_t i = 0, n = tn_shape_count(&x->shape); i < n; i++) {
        int64_t at = find_key(e, element_bytes(&in, i));
        put_element(at < 0 ? &fallback : &e->values, TN_MAX(at, (int64_t)0), c->out[0], i);
    }
    return TERN_OK;
}

const tn_op tn_op_label_encoder = {.infer = infer_label,
                                   .prepare = prepare_label,
                                   .run = run_label,
                                   .min_in = 1,
                                   .max_in = 1,
                                   .min_out = 1,
                                   .max_out = 1};

/* ---- CategoryMapper -------------------------------------------------------------------------------------------- */

static void category_lists(const tn_node *n, tern_dtype in, list *keys, list *values) {
    size_t n_ints, n_strings;
    const int64_t *ints = tn_attr_ints(n, "cats_int64s", &n_ints);
    const tn_str *strings = tn_attr_strings(n, "cats_strings", &n_strings);
    list a = {TERN_STRING, strings, (int64_t)n_strings}, b = {TERN_INT64, ints, (int64_t)n_ints};
    *keys = in == TERN_STRING ? a : b;
    *values = in == TERN_STRING ? b : a;
}

static tern_status infer_category(tn_infer *c) {
    list keys, values;
    TN_TRY(tn_args_need(c, 0, TN_T(STRING) | TN_T(INT64)));
    category_lists(c->node, c->in[0]->dtype, &keys, &values);
    if (c->in[0]->dtype == TERN_UNDEFINED) return TERN_OK;
    return infer_mapped(c, &keys, &values);
}

static tern_status prepare_category(tn_prepare *c) {
    list keys, values;
    category_lists(c->node, c->in[0]->dtype, &keys, &values);
    return prepare_encoder(c, keys, values);
}

const tn_op tn_op_category_mapper = {.infer = infer_category,
                                     .prepare = prepare_category,
                                     .run = run_label,
                                     .min_in = 1,
                                     .max_in = 1,
                                     .min_out = 1,
                                     .max_out = 1};

/* ---- OneHotEncoder --------------------------------------------------------------------------------------------- */

static list categories(const tn_node *n) { return get_list(n, "cats_strings", "cats_int64s", NULL, NULL); }

static tern_status infer_one_hot(tn_infer *c) {
    list cats = categories(c->node);
    if (!cats.count) return tn_infer_fail(c, TERN_INVALID_MODEL, "cats_int64s or cats_strings is needed");
    TN_TRY(tn_args_need(c, 0, cats.dtype == TERN_STRING ? TN_T(STRING) : TN_ML_NUMBERS));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_FLOAT, NULL);
        return TERN_OK;
    }
    if (s.rank >= TERN_MAX_RANK) return tn_infer_fail(c, TERN_UNSUPPORTED, "an input of rank %d", s.rank);
    s.dims[s.rank++] = cats.count;
    return tn_args_out_shape(c, 0, TERN_FLOAT, &s);
}

static tern_status prepare_one_hot(tn_prepare *c) {
    return prepare_encoder(c, categories(c->node), categories(c->node));
}

static tern_status run_one_hot(tn_run *c) {
    const encoder *e = c->state;
    const tern_tensor *x = c->in[0];
    float *y = c->out[0]->data;
    bool zeros = tn_attr_i(c->node, "zeros", 1) != 0;
    if (tn_tensor_bytes(c->out[0])) memset(y, 0, tn_tensor_bytes(c->out[0]));
    for (int64_t i = 0, n = tn_shape_count(&x->shape); i < n; i++) {
        int64_t number = x->dtype == TERN_STRING ? 0 : tn_tensor_get_i64(x, i);
        tn_str key = {(const char *)&number, sizeof number};
        if (x->dtype == TERN_STRING) key = ((const tn_str *)x->data)[i];
        int64_t at = find_key(e, key);
        if (at < 0 && !zeros)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "element %lld is none of the %lld categories", (long long)i,
                               (long long)e->keys.count);
        if (at >= 0) y[i * e->keys.count + at] = 1;
    }
    return TERN_OK;
}

const tn_op tn_op_one_hot_encoder = {.infer = infer_one_hot,
                                     .prepare = prepare_one_hot,
                                     .run = run_one_hot,
                                     .min_in = 1,
                                     .max_in = 1,
                                     .min_out = 1,
                                     .max_out = 1};

/* ---- maps ------------------------------------------------------------------------------------------------------ */

/* Fails unless t is a map from keys of that type to as many tensor elements. */
static tern_status check_map(tn_run *c, const tern_tensor *t, tern_dtype keys) {
    if (t->kind == TERN_KIND_MAP && t->n_items == 2 && t->items[0]->dtype == keys &&
        t->items[1]->kind == TERN_KIND_TENSOR &&
        tn_shape_count(&t->items[0]->shape) == tn_shape_count(&t->items[1]->shape))
        return TERN_OK;
    return tn_run_fail(c, TERN_TYPE_MISMATCH, "the input must be a map from %s to single elements",
                       tern_dtype_name(keys));
}

static list vocabulary(const tn_node *n) { return get_list(n, "string_vocabulary", "int64_vocabulary", NULL, NULL); }

static tern_status infer_dict(tn_infer *c) {
    list words = vocabulary(c->node);
    TN_TRY(tn_group_need(c, 0, TERN_KIND_MAP));
    if (words.dtype == TERN_UNDEFINED)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "string_vocabulary or int64_vocabulary is needed");
    const tn_type *element = c->in[0]->element;
    tn_shape s = {.rank = 1, .dims = {words.count}};
    if (element && element->kind == TERN_KIND_TENSOR && element->dtype != TERN_UNDEFINED)
        return tn_args_out_shape(c, 0, element->dtype, &s);
    return TERN_OK;
}

static tern_status prepare_dict(tn_prepare *c) { return prepare_encoder(c, vocabulary(c->node), vocabulary(c->node)); }

static tern_status run_dict(tn_run *c) {
    const encoder *e = c->state;
    TN_TRY(check_map(c, c->in[0], e->keys.dtype));
    const tern_tensor *keys = c->in[0]->items[0], *values = c->in[0]->items[1];
    list in = {keys->dtype, keys->data, 0}, from = {values->dtype, values->data, 0};
    tn_shape s = {.rank = 1, .dims = {e->keys.count}};
    TN_TRY(tn_run_alloc(c, 0, values->dtype, &s));
    if (tn_tensor_bytes(c->out[0])) memset(c->out[0]->data, 0, tn_tensor_bytes(c->out[0]));
    for (int64_t i = 0, n = tn_shape_count(&keys->shape); i < n; i++) {
        int64_t at = find_key(e, element_bytes(&in, i));
        if (at >= 0) put_element(&from, i, c->out[0], at);
    }
    return TERN_OK;
}

const tn_op tn_op_dict_vectorizer = {.infer = infer_dict,
                                     .prepare = prepare_dict,
                                     .run = run_dict,
                                     .flags = TN_OP_ALLOC,
                                     .min_in = 1,
                                     .max_in = 1,
                                     .min_out = 1,
                                     .max_out = 1};

static tern_dtype cast_to(const tn_node *n) {
    if (tn_attr_is(n, "cast_to", "TO_FLOAT", "TO_FLOAT")) return TERN_FLOAT;
    if (tn_attr_is(n, "cast_to", "TO_FLOAT", "TO_STRING")) return TERN_STRING;
    return tn_attr_is(n, "cast_to", "TO_FLOAT", "TO_INT64") ? TERN_INT64 : TERN_UNDEFINED;
}

static tern_status infer_cast_map(tn_infer *c) {
    tern_dtype to = cast_to(c->node);
    bool sparse = tn_attr_is(c->node, "map_form", "DENSE", "SPARSE");
    int64_t most = tn_attr_i(c->node, "max_map", 1);
    TN_TRY(tn_group_need(c, 0, TERN_KIND_MAP));
    if (to == TERN_UNDEFINED || most < 1 || (!sparse && !tn_attr_is(c->node, "map_form", "DENSE", "DENSE")))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "cast_to or map_form is unknown, or max_map, %lld, is below 1",
                             (long long)most);
    tn_shape s = {.rank = 2, .dims = {1, sparse ? most : TN_DIM_UNKNOWN}};
    return tn_args_out_shape(c, 0, to, &s);
}

/* One element of any type to any other, text included. */
static tern_status cast_element(tn_run *c, const tern_tensor *from, int64_t i, tern_tensor *to, int64_t k) {
    if (to->dtype == from->dtype) {
        list l = {from->dtype, from->data, 0};
        put_element(&l, i, to, k);
        return TERN_OK;
    }
    tern_string text = from->dtype == TERN_STRING ? ((const tern_string *)from->data)[i] : (tern_string){0};
    char buffer[64];
    if (to->dtype == TERN_STRING) {
        tn_text t;
        tn_text_init(&t);
        tn_text_add(&t, "%.8g", tn_tensor_get_f64(from, i));
        tern_status s =
            t.failed ? tn_fail_oom(c->err, 64) : tn_run_string(c, t.data, t.len, &((tern_string *)to->data)[k]);
        tn_text_release(&t);
        return s;
    }
    double v = from->dtype == TERN_STRING ? 0 : tn_tensor_get_f64(from, i);
    if (from->dtype == TERN_STRING) {
        char *end;
        size_t len = TN_MIN(text.len, sizeof buffer - 1);
        memcpy(buffer, text.data, len);
        buffer[len] = 0;
        v = strtod(buffer, &end);
        if (end == buffer || *end || text.len != len)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "'%.40s' is no number", buffer);
    }
    if (to->dtype == TERN_FLOAT)
        ((float *)to->data)[k] = (float)v;
    else
        ((int64_t *)to->data)[k] = tn_f64_to_i64(v);
    return TERN_OK;
}

typedef struct ordered {
    int64_t key, index;
} ordered;

static int by_key(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static tern_status fill_cast(tn_run *c, const ordered *order, int64_t n, bool sparse) {
    tern_tensor *y = c->out[0];
    int64_t columns = y->shape.dims[1];
    if (tn_tensor_bytes(y)) memset(y->data, 0, tn_tensor_bytes(y));
    for (int64_t i = 0; i < n; i++) {
        int64_t at = sparse ? order[i].key : i;
        if (at < 0 || at >= columns)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "key %lld is outside [0, %lld)", (long long)at,
                               (long long)columns);
        TN_TRY(cast_element(c, c->in[0]->items[1], order[i].index, y, at));
    }
    return TERN_OK;
}

static tern_status run_cast_map(tn_run *c) {
    TN_TRY(check_map(c, c->in[0], TERN_INT64));
    const tern_tensor *keys = c->in[0]->items[0];
    int64_t n = tn_shape_count(&keys->shape);
    bool sparse = tn_attr_is(c->node, "map_form", "DENSE", "SPARSE");
    ordered *order = tn_alloc_array((size_t)n + 1, sizeof *order);
    if (!order) return tn_fail_oom(c->err, (size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++) order[i] = (ordered){((const int64_t *)keys->data)[i], i};
    if (n) qsort(order, (size_t)n, sizeof *order, by_key);
    tn_shape s = {.rank = 2, .dims = {1, n}};
    tern_status status = sparse ? TERN_OK : tn_run_alloc(c, 0, cast_to(c->node), &s);
    if (status == TERN_OK) status = fill_cast(c, order, n, sparse);
    tn_free(order);
    return status;
}

const tn_op tn_op_cast_map = TN_ARGS_OP(infer_cast_map, run_cast_map, 1, 1, 1, 1, TN_OP_ALLOC);

/* ---- ZipMap ---------------------------------------------------------------------------------------------------- */

static tern_status infer_zip_map(tn_infer *c) {
    tn_ml_labels l = tn_ml_get_labels(c->node, "classlabels_int64s", "classlabels_strings");
    tn_shape s;
    int64_t rows, columns;
    TN_TRY(tn_args_need(c, 0, TN_T(FLOAT)));
    if (tn_args_shape(c, 0, &s)) {
        if (!tn_ml_matrix(&s, &rows, &columns) || (tn_dim_known(columns) && columns != (int64_t)l.count)) {
            char text[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an input of shape [%s] for %zu labels",
                                 tn_shape_text(&s, text, sizeof text), l.count);
        }
    }
    tn_type *value = tn_arena_alloc(c->arena, sizeof *value);
    if (!value) return tn_fail_oom(c->err, sizeof *value);
    *value = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = TERN_FLOAT};
    tn_type map = {.kind = TERN_KIND_MAP, .dtype = tn_ml_label_type(&l), .element = value};
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, &map);
}

/* A map of the labels (shared) to row r. */
static tern_status zip_row(tn_run *c, tern_tensor *keys, int64_t r, int64_t columns, tern_tensor **out) {
    tern_tensor *items[2] = {keys, NULL};
    tn_shape s = {.rank = 1, .dims = {columns}};
    TN_TRY(c->exec->alloc(c->exec, TERN_FLOAT, &s, &items[1], c->err));
    if (columns) memcpy(items[1]->data, (const float *)c->in[0]->data + r * columns, (size_t)columns * sizeof(float));
    tern_status status = tn_tensor_new_group(out, TERN_KIND_MAP, items, 2, c->err);
    tn_tensor_unref(items[1]);
    return status;
}

static tern_status run_zip_map(tn_run *c) {
    tn_ml_labels l = tn_ml_get_labels(c->node, "classlabels_int64s", "classlabels_strings");
    int64_t rows = 0, columns = 0;
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    tn_shape s = {.rank = 1, .dims = {columns}};
    tern_tensor *keys = NULL, *group = NULL, **maps = tn_calloc((size_t)rows + 1, sizeof *maps);
    tern_status status = maps ? TERN_OK : tn_fail_oom(c->err, (size_t)rows * sizeof *maps);
    if (status == TERN_OK) status = c->exec->alloc(c->exec, tn_ml_label_type(&l), &s, &keys, c->err);
    for (int64_t i = 0; status == TERN_OK && i < columns; i++) tn_ml_put_label(&l, keys, i, i);
    for (int64_t r = 0; status == TERN_OK && r < rows; r++) status = zip_row(c, keys, r, columns, &maps[r]);
    if (status == TERN_OK) status = tn_tensor_new_group(&group, TERN_KIND_SEQUENCE, maps, (size_t)rows, c->err);
    if (status == TERN_OK) status = tn_run_share(c, 0, group);
    tn_tensor_unref(group);
    tn_tensor_unref(keys);
    for (int64_t r = 0; maps && r < rows; r++) tn_tensor_unref(maps[r]);
    tn_free(maps);
    return status;
}

const tn_op tn_op_zip_map = TN_ARGS_OP(infer_zip_map, run_zip_map, 1, 1, 1, 1, TN_OP_ALLOC);
