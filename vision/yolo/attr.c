/* Attributes of pickled modules. Whatever they hold comes from a file: each is checked before it is used. */
#include <math.h>
#include <stdio.h>

#include "vision/yolo/yolo_internal.h"

bool yolo_is_module(const tern_py *m) { return m && m->kind == TERN_PY_OBJECT && m->object->state; }

const char *yolo_class(const tern_py *m) { return yolo_is_module(m) ? m->object->name : "no module"; }

static tern_status bad(yolo_net *n, const char *name, const tern_py *v, const char *expected) {
    int64_t i;
    double d;
    if (v && v->kind == TERN_PY_STR) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "'%s' is a text, not %s", name, expected);
    }
    if (tern_py_to_int(v, &i)) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "'%s' is %lld, not %s", name, (long long)i, expected);
    }
    if (v && v->kind == TERN_PY_FLOAT && tern_py_to_real(v, &d)) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "'%s' is %g, not %s", name, d, expected);
    }
    return yolo_fail(n, TERN_INVALID_FORMAT, "'%s' is %s, not %s", name, v ? tern_py_kind_name(v->kind) : "missing",
                     expected);
}

tern_status yolo_attr_int(yolo_net *n, const tern_py *m, const char *name, int64_t min, int64_t max, int64_t *out) {
    const tern_py *v = tern_py_attr(m, name);
    if (v && v->kind != TERN_PY_BOOL && tern_py_to_int(v, out) && *out >= min && *out <= max) return TERN_OK;
    char text[80];
    snprintf(text, sizeof text, "a whole number from %lld to %lld", (long long)min, (long long)max);
    return bad(n, name, v, text);
}

tern_status yolo_attr_pair(yolo_net *n, const tern_py *m, const char *name, int64_t min, int64_t max, int64_t out[2]) {
    const tern_py *v = tern_py_attr(m, name);
    int count = tern_py_to_ints(v, out, 2);
    if (count == 1) out[1] = out[0];
    if (count > 0 && out[0] >= min && out[0] <= max && out[1] >= min && out[1] <= max) return TERN_OK;
    char text[80];
    snprintf(text, sizeof text, "one or two whole numbers from %lld to %lld", (long long)min, (long long)max);
    return bad(n, name, v, text);
}

tern_status yolo_attr_real(yolo_net *n, const tern_py *m, const char *name, double *out) {
    const tern_py *v = tern_py_attr(m, name);
    if (tern_py_to_real(v, out) && isfinite(*out)) return TERN_OK;
    return bad(n, name, v, "a finite number");
}

tern_status yolo_attr_flag(yolo_net *n, const tern_py *m, const char *name, bool *out) {
    const tern_py *v = tern_py_attr(m, name);
    if (tern_py_to_bool(v, out)) return TERN_OK;
    return bad(n, name, v, "True or False");
}

tern_status yolo_attr_optional_tensor(yolo_net *n, const tern_py *m, const char *name, int rank, tern_tensor **out) {
    const tern_py *v = tern_py_attr(m, name);
    *out = NULL;
    if (!v || v->kind == TERN_PY_NONE) return TERN_OK;
    if (v->kind != TERN_PY_TENSOR) return bad(n, name, v, "a tensor");
    if (v->tensor->count < 1 || (rank >= 0 && v->tensor->rank != rank)) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "'%s' has rank %d and %lld elements; a tensor of rank %d is expected",
                         name, v->tensor->rank, (long long)v->tensor->count, rank);
    }
    tern_status status = tern_ckpt_read(out, n->ckpt, v, TERN_FLOAT, n->err);
    if (status != TERN_OK) tn_error_prefix(n->err, "%s.%s: ", n->path.data, name);
    return status;
}

tern_status yolo_attr_tensor(yolo_net *n, const tern_py *m, const char *name, int rank, tern_tensor **out) {
    TN_TRY(yolo_attr_optional_tensor(n, m, name, rank, out));
    return *out ? TERN_OK : bad(n, name, tern_py_attr(m, name), "a tensor");
}
