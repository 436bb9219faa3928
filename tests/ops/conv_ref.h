/* Convolution by definition, in double, for tests of everything that convolves. */
#ifndef TN_TESTS_CONV_REF_H
#define TN_TESTS_CONV_REF_H

#include "ops/op_test.h"

typedef struct conv_case {
    int rank; /* spatial */
    int64_t n, ic, oc, groups;
    int64_t in[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
    bool bias;
} conv_case;

static inline int64_t conv_case_out(const conv_case *c, int i) {
    return (c->in[i] + c->pad[i] + c->pad_end[i] - (c->kernel[i] - 1) * c->dilation[i] - 1) / c->stride[i] + 1;
}

static inline int64_t volume(int rank, const int64_t *dims) {
    int64_t v = 1;
    for (int i = 0; i < rank; i++) v *= dims[i];
    return v;
}

/* Index `i` in a box, to coordinates. */
static inline void coordinates(int64_t i, int rank, const int64_t *dims, int64_t *at) {
    for (int d = rank - 1; d >= 0; d--) {
        at[d] = i % dims[d];
        i /= dims[d];
    }
}

/* Sum over one window of (x - xz) * (w - wz), and in *magnitude the sum of absolute products. */
static inline double conv_ref_at(const conv_case *c, const tern_tensor *x, const tern_tensor *w, double xz, double wz,
                                 int64_t n, int64_t oc, const int64_t *at, double *magnitude) {
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups, taps = volume(c->rank, c->kernel);
    double sum = 0;
    *magnitude = 0;
    for (int64_t ic = 0; ic < icg; ic++)
        for (int64_t t = 0; t < taps; t++) {
            int64_t tap[3], xi = n * c->ic + oc / ocg * icg + ic;
            bool inside = true;
            coordinates(t, c->rank, c->kernel, tap);
            for (int d = 0; d < c->rank; d++) {
                int64_t p = at[d] * c->stride[d] + tap[d] * c->dilation[d] - c->pad[d];
                inside = inside && p >= 0 && p < c->in[d];
                xi = xi * c->in[d] + p;
            }
            if (!inside) continue;
            double v = (tn_tensor_get_f64(x, xi) - xz) * (tn_tensor_get_f64(w, (oc * icg + ic) * taps + t) - wz);
            sum += v;
            *magnitude += fabs(v);
        }
    return sum;
}

static inline tern_tensor *conv_case_x(const conv_case *c, tern_dtype dtype, double lo, double hi) {
    int64_t dims[5] = {c->n, c->ic};
    memcpy(dims + 2, c->in, sizeof c->in);
    return op_rand(dtype, c->rank + 2, dims, lo, hi, 1);
}

static inline tern_tensor *conv_case_w(const conv_case *c, tern_dtype dtype, double lo, double hi) {
    int64_t dims[5] = {c->oc, c->ic / c->groups};
    memcpy(dims + 2, c->kernel, sizeof c->kernel);
    return op_rand(dtype, c->rank + 2, dims, lo, hi, 2);
}

static inline void conv_case_attrs(op_test *t, const conv_case *c) {
    int64_t pads[6];
    for (int i = 0; i < c->rank; i++) pads[i] = c->pad[i], pads[c->rank + i] = c->pad_end[i];
    op_attr_ints(t, "kernel_shape", (size_t)c->rank, c->kernel);
    op_attr_ints(t, "strides", (size_t)c->rank, c->stride);
    op_attr_ints(t, "dilations", (size_t)c->rank, c->dilation);
    op_attr_ints(t, "pads", 2 * (size_t)c->rank, pads);
    op_attr_i(t, "group", c->groups);
}

/* Fails unless `y` has the shape that the case gives. */
static inline int64_t conv_case_check_shape(const conv_case *c, const tern_tensor *y, int64_t *out) {
    assert_int_equal(y->shape.rank, c->rank + 2);
    assert_int_equal(y->shape.dims[0], c->n);
    assert_int_equal(y->shape.dims[1], c->oc);
    for (int i = 0; i < c->rank; i++) {
        out[i] = conv_case_out(c, i);
        assert_int_equal(y->shape.dims[2 + i], out[i]);
    }
    return volume(c->rank, out);
}

static const conv_case conv_cases[] = {
    /* rank, n, ic, oc, groups, in, kernel, stride, dilation, pad, pad_end, bias */
    {1, 2, 3, 5, 1, {17}, {3}, {1}, {1}, {1}, {1}, true},
    {1, 1, 4, 8, 2, {20}, {5}, {3}, {2}, {0}, {4}, false},
    {1, 1, 2, 6, 1, {1}, {1}, {1}, {1}, {0}, {0}, true},
    {2, 1, 3, 16, 1, {9, 11}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, true},
    {2, 2, 16, 24, 1, {7, 5}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, true},
    {2, 1, 8, 8, 8, {10, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, true},
    {2, 1, 8, 16, 8, {10, 9}, {3, 5}, {2, 2}, {1, 1}, {0, 3}, {2, 1}, false},
    {2, 2, 12, 20, 4, {13, 6}, {3, 2}, {2, 1}, {2, 3}, {1, 0}, {3, 2}, true},
    {2, 1, 40, 70, 1, {12, 12}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, true},
    {2, 1, 5, 7, 1, {6, 6}, {1, 1}, {2, 3}, {1, 1}, {0, 0}, {0, 0}, true},
    {2, 1, 3, 4, 1, {3, 3}, {7, 7}, {1, 1}, {1, 1}, {3, 3}, {3, 3}, true},
    {2, 1, 16, 16, 1, {40, 70}, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, false},
    {2, 1, 2, 4, 1, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {5, 5}, {5, 5}, true}, /* windows in padding alone */
    {3, 1, 4, 6, 2, {5, 6, 7}, {3, 2, 3}, {1, 2, 1}, {1, 1, 2}, {1, 0, 2}, {1, 1, 2}, true},
    {3, 2, 3, 3, 3, {4, 4, 4}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, true},
};

#endif
