#include "cli/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/tensor.h"

double cli_element(const tern_tensor *t, int64_t i) { return tn_tensor_get_f64(t, i); }

/* "[1,0,3]" of a flat index. */
static const char *index_text(const tern_tensor *t, int64_t flat, char *buffer, size_t size) {
    int64_t index[TERN_MAX_RANK];
    int rank = tern_tensor_rank(t);
    const int64_t *dims = tern_tensor_dims(t);
    for (int d = rank - 1; d >= 0; d--) {
        index[d] = flat % dims[d];
        flat /= dims[d];
    }
    size_t at = 0;
    buffer[0] = 0;
    for (int d = 0; d < rank && at < size; d++) {
        int n = snprintf(buffer + at, size - at, "%s%" PRId64, d ? "," : "", index[d]);
        at += n > 0 ? (size_t)n : 0;
    }
    return buffer;
}

static bool close_enough(double got, double want, double rtol, double atol) {
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) return got == want;
    return fabs(got - want) <= atol + rtol * fabs(want);
}

static bool compare_strings(const tern_tensor *got, const tern_tensor *want, char *why, size_t size) {
    const tern_string *a = tern_tensor_const_data(got), *b = tern_tensor_const_data(want);
    char where[160];
    for (int64_t i = 0; i < tern_tensor_count(want); i++) {
        if (a[i].len == b[i].len && (a[i].len == 0 || memcmp(a[i].data, b[i].data, a[i].len) == 0)) continue;
        snprintf(why, size, "element [%s] is \"%.*s\", expected \"%.*s\"", index_text(want, i, where, sizeof where),
                 (int)(a[i].len < 60 ? a[i].len : 60), a[i].data ? a[i].data : "", (int)(b[i].len < 60 ? b[i].len : 60),
                 b[i].data ? b[i].data : "");
        return false;
    }
    return true;
}

static bool compare_numbers(const tern_tensor *got, const tern_tensor *want, double rtol, double atol, char *why,
                            size_t size) {
    int64_t n = tern_tensor_count(want), bad = 0, first = -1;
    bool complex_pairs = tern_tensor_dtype(want) == TERN_COMPLEX64 || tern_tensor_dtype(want) == TERN_COMPLEX128;
    for (int64_t i = 0; i < n; i++) {
        bool ok = close_enough(tn_tensor_get_f64(got, i), tn_tensor_get_f64(want, i), rtol, atol);
        if (ok && complex_pairs) { /* the imaginary part lies behind the real one */
            size_t half = tern_dtype_size(tern_tensor_dtype(want)) / 2, at = (size_t)i * 2 * half + half;
            const char *a = (const char *)tern_tensor_const_data(got) + at;
            const char *b = (const char *)tern_tensor_const_data(want) + at;
            float fa, fb;
            double da, db;
            memcpy(&fa, a, sizeof fa), memcpy(&fb, b, sizeof fb);
            memcpy(&da, a, half), memcpy(&db, b, half);
            ok = half == 4 ? close_enough(fa, fb, rtol, atol) : close_enough(da, db, rtol, atol);
        }
        if (ok) continue;
        if (bad++ == 0) first = i;
    }
    if (!bad) return true;
    char where[160];
    snprintf(why, size, "element [%s] is %.9g, expected %.9g (%" PRId64 " of %" PRId64 " differ)",
             index_text(want, first, where, sizeof where), tn_tensor_get_f64(got, first),
             tn_tensor_get_f64(want, first), bad, n);
    return false;
}

static bool compare_groups(const tern_tensor *got, const tern_tensor *want, double rtol, double atol, char *why,
                           size_t size) {
    size_t n = tern_tensor_item_count(want);
    if (tern_tensor_item_count(got) != n) {
        snprintf(why, size, "has %zu items, expected %zu", tern_tensor_item_count(got), n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char inner[300];
        if (cli_compare(tern_tensor_item(got, i), tern_tensor_item(want, i), rtol, atol, inner, sizeof inner)) continue;
        snprintf(why, size, "item %zu: %s", i, inner);
        return false;
    }
    return true;
}

bool cli_compare(const tern_tensor *got, const tern_tensor *want, double rtol, double atol, char *why, size_t size) {
    static const char *const kinds[] = {"tensor", "sequence", "optional", "map"};
    if (tern_tensor_kind(got) != tern_tensor_kind(want)) {
        snprintf(why, size, "is a %s, expected a %s", kinds[tern_tensor_kind(got)], kinds[tern_tensor_kind(want)]);
        return false;
    }
    if (tern_tensor_kind(want) != TERN_KIND_TENSOR) return compare_groups(got, want, rtol, atol, why, size);
    if (tern_tensor_dtype(got) != tern_tensor_dtype(want)) {
        snprintf(why, size, "is %s, expected %s", tern_dtype_name(tern_tensor_dtype(got)),
                 tern_dtype_name(tern_tensor_dtype(want)));
        return false;
    }
    if (!tn_shape_equal(&got->shape, &want->shape)) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        snprintf(why, size, "has shape %s, expected %s", tn_shape_text(&got->shape, a, sizeof a),
                 tn_shape_text(&want->shape, b, sizeof b));
        return false;
    }
    if (tern_tensor_dtype(want) == TERN_STRING) return compare_strings(got, want, why, size);
    return compare_numbers(got, want, rtol, atol, why, size);
}

/* Numbers of one sign lie in the order of their bits; the others are mirrored below zero. */
static double ordered(const tern_tensor *t, int64_t i) {
    const void *data = tern_tensor_const_data(t);
    switch (tern_tensor_dtype(t)) {
    case TERN_FLOAT: {
        int32_t b; /* unaligned in some files (tern_tensor.unaligned) */
        memcpy(&b, (const char *)data + i * (int64_t)sizeof b, sizeof b);
        return b < 0 ? -(double)(b & INT32_MAX) : (double)b;
    }
    case TERN_DOUBLE: {
        int64_t b = ((const int64_t *)data)[i];
        return b < 0 ? -(double)(b & INT64_MAX) : (double)b;
    }
    case TERN_FLOAT16:
    case TERN_BFLOAT16: {
        int16_t b = ((const int16_t *)data)[i];
        return b < 0 ? -(double)(b & INT16_MAX) : (double)b;
    }
    default:
        return tn_tensor_get_f64(t, i);
    }
}

cli_difference cli_measure_difference(const tern_tensor *got, const tern_tensor *want) {
    cli_difference d = {.cosine = 1};
    double dot = 0, aa = 0, bb = 0;
    bool comparable = tern_tensor_kind(got) == TERN_KIND_TENSOR && tern_tensor_kind(want) == TERN_KIND_TENSOR &&
                      tern_tensor_dtype(got) == tern_tensor_dtype(want) && tern_tensor_dtype(want) != TERN_STRING &&
                      tn_shape_equal(&got->shape, &want->shape);
    for (int64_t i = 0, n = comparable ? tern_tensor_count(want) : 0; i < n; i++) {
        double a = tn_tensor_get_f64(got, i), b = tn_tensor_get_f64(want, i);
        if (isfinite(b)) d.max_want = fmax(d.max_want, fabs(b));
        if (a == b || (isnan(a) && isnan(b))) {
            if (isfinite(a)) dot += a * b, aa += a * a, bb += b * b;
            continue;
        }
        double abs_error = fabs(a - b), ulp = fabs(ordered(got, i) - ordered(want, i));
        d.max_abs = isnan(abs_error) ? INFINITY : fmax(d.max_abs, abs_error);
        d.max_ulp = fmax(d.max_ulp, ulp);
        if (isfinite(a) && isfinite(b)) dot += a * b, aa += a * a, bb += b * b;
    }
    if (aa > 0 && bb > 0)
        d.cosine = fmin(1, dot / (sqrt(aa) * sqrt(bb)));
    else if (aa != bb)
        d.cosine = 0;
    return d;
}

bool cli_same_top1(const tern_tensor *got, const tern_tensor *want, char *why, size_t size) {
    int rank = tern_tensor_rank(want);
    int64_t n = tern_tensor_count(want), width = rank ? tern_tensor_dims(want)[rank - 1] : 1;
    for (int64_t row = 0; width > 0 && row < n / width; row++) {
        int64_t a = 0, b = 0;
        for (int64_t i = 1; i < width; i++) {
            if (cli_element(got, row * width + i) > cli_element(got, row * width + a)) a = i;
            if (cli_element(want, row * width + i) > cli_element(want, row * width + b)) b = i;
        }
        if (a == b) continue;
        snprintf(why, size, "row %" PRId64 " has its maximum at %" PRId64 ", expected at %" PRId64, row, a, b);
        return false;
    }
    return true;
}
