/* What is checked once all values are there, in one walk that visits each value once: no cycles, bounded depth, bounded
 * size as a tree. Dicts lose repeated keys on the way. */
#include "vision/torch/torch_internal.h"

typedef struct walk {
    const tern_ckpt *ckpt;
    uint32_t *expanded; /* by id: values below and including, at most max_expanded + 1; 0: not visited */
    uint16_t *height;
    int depth;
    tern_error *err;
} walk;

#define BUSY UINT32_MAX

static bool same_key(const tern_py *a, const tern_py *b) {
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case TERN_PY_STR:
        return tn_str_eq((tn_str){a->text.data, a->text.len}, (tn_str){b->text.data, b->text.len});
    case TERN_PY_INT:
        return a->integer == b->integer;
    case TERN_PY_BOOL:
        return a->boolean == b->boolean;
    default:
        return a == b;
    }
}

static uint64_t hash_key(const tern_py *k) {
    switch (k->kind) {
    case TERN_PY_STR:
        return tn_hash(k->text.data, k->text.len, 1);
    case TERN_PY_INT:
        return tn_hash(&k->integer, sizeof k->integer, 2);
    case TERN_PY_BOOL:
        return 3 + k->boolean;
    default:
        return tn_hash(&k->id, sizeof k->id, 4);
    }
}

// The slot of the key, or the free one where it belongs. slots: indices + 1; the number is a power of two.
static size_t find_slot(const uint32_t *slots, size_t mask, const tern_py_pair *pairs, const tern_py *key) {
    size_t at = (size_t)hash_key(key) & mask;
    while (slots[at] && !same_key(pairs[slots[at] - 1].key, key)) at = (at + 1) & mask;
    return at;
}

static tern_status unique_keys(tern_py *d, tern_error *err) {
    size_t n = 0, slots_count = 4;
    if (d->dict.count < 2) return TERN_OK;
    while (slots_count < 2 * d->dict.count) slots_count *= 2;
    uint32_t *slots = tn_calloc(slots_count, sizeof *slots);
    if (!slots) return tn_fail_oom(err, slots_count * sizeof *slots);
    for (size_t i = 0; i < d->dict.count; i++) {
        size_t at = find_slot(slots, slots_count - 1, d->dict.items, d->dict.items[i].key);
        if (slots[at]) {
            d->dict.items[slots[at] - 1].value = d->dict.items[i].value;
        } else {
            d->dict.items[n] = d->dict.items[i];
            slots[at] = (uint32_t)++n;
        }
    }
    d->dict.count = n;
    tn_free(slots);
    return TERN_OK;
}

static tern_status visit(walk *w, tern_py *v);

static tern_status visit_child(walk *w, tern_py *child, uint64_t *size, int *height) {
    if (!child) return TERN_OK;
    TN_TRY(visit(w, child));
    *size = TN_MIN(*size + w->expanded[child->id], (uint64_t)w->ckpt->options.max_expanded + 1);
    *height = TN_MAX(*height, w->height[child->id]);
    return TERN_OK;
}

static tern_status visit_children(walk *w, tern_py *v, uint64_t *size, int *height) {
    switch (v->kind) {
    case TERN_PY_LIST:
    case TERN_PY_TUPLE:
    case TERN_PY_SET:
        for (size_t i = 0; i < v->seq.count; i++) TN_TRY(visit_child(w, v->seq.items[i], size, height));
        return TERN_OK;
    case TERN_PY_DICT:
        TN_TRY(unique_keys(v, w->err));
        for (size_t i = 0; i < v->dict.count; i++) {
            TN_TRY(visit_child(w, v->dict.items[i].key, size, height));
            TN_TRY(visit_child(w, v->dict.items[i].value, size, height));
        }
        return TERN_OK;
    case TERN_PY_OBJECT:
        TN_TRY(visit_child(w, v->object->args, size, height));
        TN_TRY(visit_child(w, v->object->state, size, height));
        return visit_child(w, v->object->items, size, height);
    default:
        return TERN_OK;
    }
}

static tern_status refuse_cycle(walk *w, const tern_py *v) {
    if (v->kind != TERN_PY_OBJECT)
        return tn_fail(w->err, TERN_INVALID_FORMAT, "a %s contains itself", tern_py_kind_name(v->kind));
    return tn_fail(w->err, TERN_INVALID_FORMAT, "an object of class %s.%s contains itself", v->object->module,
                   v->object->name);
}

static tern_status visit(walk *w, tern_py *v) {
    uint64_t size = 1;
    int height = 0;
    if (w->expanded[v->id] == BUSY) return refuse_cycle(w, v);
    if (w->expanded[v->id]) return TERN_OK;
    if (++w->depth > w->ckpt->options.max_depth)
        return tn_fail(w->err, TERN_LIMIT_EXCEEDED, "values are nested more than %d deep", w->ckpt->options.max_depth);
    w->expanded[v->id] = BUSY;
    TN_TRY(visit_children(w, v, &size, &height));
    w->depth--;
    if (++height > w->ckpt->options.max_depth)
        return tn_fail(w->err, TERN_LIMIT_EXCEEDED, "values are nested more than %d deep", w->ckpt->options.max_depth);
    if (size > w->ckpt->options.max_expanded)
        return tn_fail(w->err, TERN_LIMIT_EXCEEDED, "shared values make a tree of more than %zu values",
                       w->ckpt->options.max_expanded);
    w->expanded[v->id] = (uint32_t)size;
    w->height[v->id] = (uint16_t)height;
    return TERN_OK;
}

tern_status tn_ckpt_check_graph(tern_ckpt *ckpt, tern_py *root, tern_error *err) {
    walk w = {.ckpt = ckpt, .err = err};
    w.expanded = tn_calloc(ckpt->values + 1, sizeof *w.expanded);
    w.height = tn_calloc(ckpt->values + 1, sizeof *w.height);
    tern_status s = w.expanded && w.height ? visit(&w, root) : tn_fail_oom(err, ckpt->values * 6);
    tn_free(w.expanded);
    tn_free(w.height);
    return s;
}
