/* What the operators of ai.onnx.ml share: labels, post transforms, shapes. */
#include "ops/ml_internal.h"

#include <math.h>

tern_status tn_ml_post_transform(const tn_node *n, tn_ml_post *out, tern_error *err) {
    static const char *const names[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        *out = (tn_ml_post)i;
        if (tn_attr_is(n, "post_transform", "NONE", names[i])) return TERN_OK;
    }
    tn_str s = tn_attr_s(n, "post_transform", "");
    return tn_fail(err, TERN_INVALID_MODEL, "post_transform is '%.*s'", (int)TN_MIN(s.len, (size_t)40), s.data);
}

static void softmax(double *v, int64_t n, bool skip_zeros) {
    double most = v[0], sum = 0;
    for (int64_t i = 1; i < n; i++) most = TN_MAX(most, v[i]);
    for (int64_t i = 0; i < n; i++) {
        bool zero = skip_zeros && fabs(v[i]) <= 1e-7; /* SOFTMAX_ZERO: zeros stay zeros */
        v[i] = zero ? v[i] * exp(-most) : exp(v[i] - most);
        sum += v[i];
    }
    for (int64_t i = 0; i < n; i++) v[i] = sum == 0 ? 0.5 : v[i] / sum;
}

/* Winitzki's approximation of the inverse error function, which the standard's results are made with. */
static double inverse_erf(double x) {
    double sign = x < 0 ? -1 : 1, rest = (1 - x) * (1 + x);
    if (rest == 0) return 0;
    double l = log(rest), v = 2 / (3.14159265358979323846 * 0.147) + 0.5 * l;
    return sign * sqrt(sqrt(v * v - l / 0.147) - v);
}

void tn_ml_apply(tn_ml_post post, double *scores, int64_t n) {
    if (n < 1) return;
    if (post == TN_ML_SOFTMAX || post == TN_ML_SOFTMAX_ZERO) softmax(scores, n, post == TN_ML_SOFTMAX_ZERO);
    for (int64_t i = 0; post == TN_ML_LOGISTIC && i < n; i++) scores[i] = 1 / (1 + exp(-scores[i]));
    for (int64_t i = 0; post == TN_ML_PROBIT && i < n; i++) scores[i] = 1.41421356 * inverse_erf(2 * scores[i] - 1);
}

tn_ml_labels tn_ml_get_labels(const tn_node *n, const char *ints, const char *strings) {
    tn_ml_labels l = {0};
    l.strings = tn_attr_strings(n, strings, &l.count);
    if (l.strings && l.count) return l;
    l.strings = NULL;
    l.ints = tn_attr_ints(n, ints, &l.count);
    return l;
}

void tn_ml_put_label(const tn_ml_labels *l, tern_tensor *out, int64_t i, int64_t index) {
    bool there = index >= 0 && (size_t)index < l->count;
    if (l->strings) {
        tn_str s = there ? l->strings[index] : (tn_str){NULL, 0};
        ((tern_string *)out->data)[i] = (tern_string){s.data, s.len};
    } else {
        ((int64_t *)out->data)[i] = there ? l->ints[index] : index;
    }
}

bool tn_ml_matrix(const tn_shape *s, int64_t *rows, int64_t *columns) {
    if (s->rank < 1 || s->rank > 2) return false;
    *rows = s->rank == 2 ? s->dims[0] : 1;
    *columns = s->dims[s->rank - 1];
    return true;
}

tern_status tn_ml_need_matrix(tn_infer *c, tn_shape *out, bool *known) {
    TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS));
    *known = tn_args_shape(c, 0, out);
    if (!*known || (out->rank >= 1 && out->rank <= 2)) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an input of rank %d where [C] or [N,C] is needed", out->rank);
}
