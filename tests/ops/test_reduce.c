/* Reductions, Softmax, ArgMax, TopK and normalisations, against their definitions computed in double. */
#include "ops/op_test.h"

#include <float.h>

static void unravel(const tn_shape *s, int64_t i, int64_t *at) {
    for (int d = s->rank - 1; d >= 0; d--) {
        at[d] = i % s->dims[d];
        i /= s->dims[d];
    }
}

/* ---- reductions ---------------------------------------------------------------------------------------------- */

static const char *const names[] = {"ReduceSum", "ReduceMean", "ReduceMax",    "ReduceMin",       "ReduceProd",
                                    "ReduceL1",  "ReduceL2",   "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"};

static double definition(int kind, const double *v, int n) {
    double sum = 0, prod = 1, abs = 0, square = 0, exps = 0, max = -INFINITY, min = INFINITY;
    for (int i = 0; i < n; i++) {
        sum += v[i];
        prod *= v[i];
        abs += fabs(v[i]);
        square += v[i] * v[i];
        exps += exp(v[i]);
        max = v[i] > max ? v[i] : max;
        min = v[i] < min ? v[i] : min;
    }
    const double results[] = {sum, sum / n, max, min, prod, abs, sqrt(square), log(sum), log(exps), square};
    return results[kind];
}

static void reduce_case(int kind, int opset, tern_dtype dtype, tern_tensor *x, unsigned mask, bool keep) {
    op_test t;
    op_begin(&t, names[kind], opset);
    tn_shape s = x->shape, full = s, out = {.rank = 0};
    int64_t axes[TERN_MAX_RANK];
    size_t n_axes = 0;
    for (int i = 0; i < s.rank; i++) {
        bool reduced = mask >> i & 1;
        if (reduced) {
            axes[n_axes++] = i % 2 ? i - s.rank : i;
            full.dims[i] = 1;
        }
        if (!reduced || keep) out.dims[out.rank++] = full.dims[i];
    }
    tern_tensor *y = op_tensor(dtype, out.rank, out.dims);
    for (int64_t o = 0; o < tern_tensor_count(y); o++) {
        double v[600];
        int n = 0;
        for (int64_t i = 0; i < tern_tensor_count(x); i++) {
            int64_t at[TERN_MAX_RANK], to = 0;
            unravel(&s, i, at);
            for (int d = 0; d < s.rank; d++) to = to * full.dims[d] + (mask >> d & 1 ? 0 : at[d]);
            if (to == o) v[n++] = tn_tensor_get_f64(x, i);
        }
        op_set(y, o, tn_type_in(dtype, TN_TYPES_FLOAT) ? definition(kind, v, n) : trunc(definition(kind, v, n)));
    }
    op_in(&t, x);
    if (opset >= 18)
        op_in(&t, op_int(TERN_INT64, DIMS((int64_t)n_axes), n_axes, axes));
    else
        op_attr_ints(&t, "axes", n_axes, axes);
    op_attr_i(&t, "keepdims", keep);
    op_out(&t, y);
    /* Half a unit of the type's last place, and of what the logarithm loses near 1. */
    double rtol = dtype == TERN_FLOAT16    ? 0x1p-10
                  : dtype == TERN_BFLOAT16 ? 0x1p-7
                  : dtype == TERN_FLOAT    ? 0x1p-22
                                           : 1e-13;
    op_run(&t, rtol, rtol);
}

static void test_reduce_every_axis(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (int kind = 0; kind < 10; kind++)
        for (unsigned mask = 1; mask < 16; mask++)
            for (int form = 0; form < 2; form++) {
                tern_dtype dtype = types[(mask + (unsigned)kind) % 4];
                tern_tensor *x = op_rand(dtype, DIMS(3, 2, 5, 19), 0.6, 1.4, mask);
                reduce_case(kind, form ? 18 : 11, dtype, x, mask, form);
            }
}

static void test_reduce_integers(void **state) {
    (void)state;
    static const int kinds[] = {0, 1, 2, 3, 5, 9};
    static const tern_dtype types[] = {TERN_INT32, TERN_INT64, TERN_UINT32, TERN_UINT64};
    for (size_t k = 0; k < TN_COUNT(kinds); k++)
        for (size_t d = 0; d < 4; d++)
            for (unsigned mask = 1; mask < 8; mask++) {
                double low = d < 2 ? -100 : 0;
                reduce_case(kinds[k], 18, types[d], op_rand(types[d], DIMS(4, 3, 21), low, 100, mask), mask, true);
            }
    op_test t;
    op_begin(&t, "ReduceMax", 20);
    op_in(&t, op_int(TERN_UINT64, DIMS(2), INTS(-1, 5))); /* 2^64 - 1 */
    op_out(&t, op_int(TERN_UINT64, DIMS(1), INTS(-1)));
    op_run_exact(&t);
    op_begin(&t, "ReduceMin", 20);
    op_in(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 1, 1)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(1)));
    op_out(&t, op_num(TERN_BOOL, DIMS(2, 1), VALS(0, 1)));
    op_run_exact(&t);
}

static void test_reduce_nothing(void **state) {
    (void)state;
    static const double empty[] = {0, NAN, -INFINITY, INFINITY, 1, 0, 0, -INFINITY, -INFINITY, 0};
    for (int kind = 0; kind < 10; kind++) {
        op_test t;
        op_begin(&t, names[kind], 18);
        op_in(&t, op_num(TERN_FLOAT, DIMS(2, 0), NO_VALS));
        op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(1)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(empty[kind], empty[kind])));
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "ReduceMax", 18);
    op_in(&t, op_num(TERN_INT32, DIMS(0), NO_VALS));
    op_out(&t, op_num(TERN_INT32, DIMS(1), VALS(INT32_MIN)));
    op_run_exact(&t);
    op_begin(&t, "ReduceSum", 13);
    op_attr_i(&t, "noop_with_empty_axes", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_run_exact(&t);
    op_begin(&t, "ReduceMax", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, NAN, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(NAN)));
    op_run_exact(&t);
    op_begin(&t, "ReduceLogSumExp", 13); /* no overflow */
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1000, 1000)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1000 + log(2))));
    op_run(&t, 1e-7, 0);
    op_begin(&t, "ReduceSum", 11);
    op_attr_ints(&t, "axes", INTS(0, 2));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 2", "[-1, 1)"));
}

/* A sum that single precision loses. */
static void test_reduce_accuracy(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "ReduceSum", 13);
    tern_tensor *x = op_tensor(TERN_FLOAT, DIMS(1 << 18));
    for (int64_t i = 0; i < 1 << 18; i++) ((float *)x->data)[i] = 0.1f;
    op_in(&t, x);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS((double)0.1f * (1 << 18))));
    op_run(&t, FLT_EPSILON, 0);
}

/* ---- Softmax ------------------------------------------------------------------------------------------------- */

static void softmax_case(const char *name, int opset, tern_dtype dtype, int axis) {
    op_test t;
    op_begin(&t, name, opset);
    op_attr_i(&t, "axis", axis);
    tern_tensor *x = op_rand(dtype, DIMS(2, 5, 3, 300), -20, 20, 7), *y = op_tensor(dtype, DIMS(2, 5, 3, 300));
    int64_t dim = 1, inner = 1, a = axis < 0 ? axis + 4 : axis;
    for (int i = 0; i < 4; i++) {
        if (opset < 13 ? i >= a : i == a) dim *= x->shape.dims[i];
        if (opset >= 13 && i > a) inner *= x->shape.dims[i];
    }
    for (int64_t row = 0; row < tern_tensor_count(x) / dim; row++) {
        int64_t base = row / inner * dim * inner + row % inner, best = 0;
        double sum = 0, top = -INFINITY;
        for (int64_t d = 0; d < dim; d++) {
            double v = tn_tensor_get_f64(x, base + d * inner);
            if (v <= top) continue;
            top = v;
            best = d;
        }
        for (int64_t d = 0; d < dim; d++) sum += exp(tn_tensor_get_f64(x, base + d * inner) - top);
        for (int64_t d = 0; d < dim; d++) {
            double v = tn_tensor_get_f64(x, base + d * inner) - top;
            op_set(y, base + d * inner, name[0] == 'H' ? d == best : name[0] == 'L' ? v - log(sum) : exp(v) / sum);
        }
    }
    op_in(&t, x);
    op_out(&t, y);
    double eps = dtype == TERN_FLOAT16    ? 0x1p-10
                 : dtype == TERN_BFLOAT16 ? 0x1p-7
                 : dtype == TERN_FLOAT    ? 0x1p-20
                                          : 1e-13;
    op_run(&t, eps, dtype == TERN_FLOAT16 ? 0x1p-24 : eps * 1e-3);
}

static void test_softmax(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    static const char *const ops[] = {"Softmax", "LogSoftmax", "Hardmax"};
    for (size_t o = 0; o < 3; o++)
        for (size_t d = 0; d < 4; d++) {
            for (int axis = -4; axis < 4; axis++) softmax_case(ops[o], 13, types[d], axis);
            for (int axis = 0; axis < 4; axis++) softmax_case(ops[o], 11, types[d], axis);
        }
    op_test t;
    op_begin(&t, "Softmax", 13);
    op_attr_i(&t, "axis", 2);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 2"));
}

/* ---- positions of extremes ----------------------------------------------------------------------------------- */

static void test_arg(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_INT8, TERN_UINT64, TERN_FLOAT16};
    for (size_t d = 0; d < 4; d++)
        for (int axis = 0; axis < 3; axis++)
            for (int form = 0; form < 4; form++) {
                bool max = form & 1, last = form & 2;
                op_test t;
                op_begin(&t, max ? "ArgMax" : "ArgMin", 13);
                op_attr_i(&t, "axis", axis);
                op_attr_i(&t, "keepdims", 0);
                op_attr_i(&t, "select_last_index", last);
                double low = types[d] == TERN_UINT64 ? 0 : -4;
                tern_tensor *x = op_tensor(types[d], DIMS(3, 290, 4)), *r = op_rand(TERN_INT32, DIMS(3480), low, 4, 3);
                for (int64_t i = 0; i < 3480; i++) op_set(x, i, tn_tensor_get_f64(r, i)); /* many are equal */
                tern_tensor_free(r);
                int64_t dims[2], inner = 1;
                for (int i = 0, k = 0; i < 3; i++) {
                    if (i != axis) dims[k++] = x->shape.dims[i];
                    if (i > axis) inner *= x->shape.dims[i];
                }
                tern_tensor *y = op_tensor(TERN_INT64, 2, dims);
                for (int64_t o = 0; o < tern_tensor_count(y); o++) {
                    int64_t n = x->shape.dims[axis], base = o / inner * n * inner + o % inner, best = 0;
                    for (int64_t i = 1; i < n; i++) {
                        double v = tn_tensor_get_f64(x, base + i * inner),
                               b = tn_tensor_get_f64(x, base + best * inner);
                        if ((max ? v > b : v < b) || (last && v == b)) best = i;
                    }
                    op_set(y, o, (double)best);
                }
                op_in(&t, x);
                op_out(&t, y);
                op_run_exact(&t);
            }
}

/* Many elements, few values, not-a-number among them: the paths for small, middle and full k against a plain sort. */
static void topk_large(int64_t n, int64_t k, bool largest, bool sorted) {
    op_test t;
    op_begin(&t, "TopK", 11);
    op_attr_i(&t, "largest", largest);
    op_attr_i(&t, "sorted", sorted);
    tern_tensor *x = op_rand(TERN_FLOAT, DIMS(3, n), -40, 40, (uint32_t)k);
    tern_tensor *v = op_tensor(TERN_FLOAT, DIMS(3, k)), *p = op_tensor(TERN_INT64, DIMS(3, k));
    float *d = x->data;
    for (int64_t i = 0; i < 3 * n; i++) d[i] = i % 97 == 5 ? NAN : i % 3 ? (float)(int)d[i] : d[i];
    for (int64_t row = 0; row < 3; row++) {
        const float *f = d + row * n;
        int64_t *place = p->data, filled = 0;
        for (int64_t i = 0; i < n; i++) { /* its place in the order: how many come before it */
            int64_t before = 0;
            for (int64_t j = 0; j < n; j++) {
                float a = largest ? f[j] : f[i], b = largest ? f[i] : f[j];
                bool more = a != a ? b == b : a > b, equal = a == b || (a != a && b != b);
                before += more || (equal && j < i);
            }
            if (before >= k) continue;
            int64_t to = row * k + (sorted ? before : filled++);
            place[to] = i;
            ((float *)v->data)[to] = f[i];
        }
    }
    op_in(&t, x);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(k)));
    op_out(&t, v);
    op_out(&t, p);
    op_run_exact(&t);
}

static void test_topk_large(void **state) {
    (void)state;
    static const int64_t ks[] = {1, 64, 65, 300, 999, 1001, 1999, 2000};
    for (size_t i = 0; i < TN_COUNT(ks); i++)
        for (int form = 0; form < 4; form++) topk_large(2000, ks[i], form & 1, form & 2);
}

static void test_topk(void **state) {
    (void)state;
    for (int form = 0; form < 4; form++)
        for (int64_t k = 0; k <= 40; k += 8) {
            bool largest = form & 1;
            int axis = form >> 1;
            op_test t;
            op_begin(&t, "TopK", 11);
            op_attr_i(&t, "axis", axis);
            op_attr_i(&t, "largest", largest);
            tern_tensor *x = op_rand(TERN_INT32, DIMS(40, 40), -30, 30, (uint32_t)form);
            tern_tensor *v = op_tensor(TERN_INT32, DIMS(axis ? 40 : k, axis ? k : 40));
            tern_tensor *p = op_tensor(TERN_INT64, DIMS(axis ? 40 : k, axis ? k : 40));
            for (int64_t row = 0; row < 40; row++) {
                bool taken[40] = {false};
                for (int64_t j = 0; j < k; j++) {
                    int64_t best = -1;
                    for (int64_t i = 0; i < 40; i++) {
                        const int32_t *d = x->data;
                        int64_t at = axis ? row * 40 + i : i * 40 + row, b = axis ? row * 40 + best : best * 40 + row;
                        if (!taken[i] && (best < 0 || (largest ? d[at] > d[b] : d[at] < d[b]))) best = i;
                    }
                    taken[best] = true;
                    int64_t to = axis ? row * k + j : j * 40 + row;
                    op_set(v, to, ((int32_t *)x->data)[axis ? row * 40 + best : best * 40 + row]);
                    op_set(p, to, (double)best);
                }
            }
            op_in(&t, x);
            op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(k)));
            op_out(&t, v);
            op_out(&t, p);
            op_run_exact(&t);
        }
    op_test t;
    op_begin(&t, "TopK", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(3)));
    op_out_any(&t);
    op_out_any(&t);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("k is 3", "2 elements"));
}

/* ---- normalisations ------------------------------------------------------------------------------------------ */

static void moments(const tern_tensor *x, int64_t at, int64_t n, double *mean, double *variance) {
    *mean = *variance = 0;
    for (int64_t i = 0; i < n; i++) *mean += tn_tensor_get_f64(x, at + i) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = tn_tensor_get_f64(x, at + i) - *mean;
        *variance += d * d / (double)n;
    }
}

static void test_layer_norm(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16};
    for (size_t d = 0; d < 3; d++)
        for (int wide = 0; wide < 2; wide++) {
            op_test t;
            op_begin(&t, "LayerNormalization", 17);
            op_attr_i(&t, "axis", -1);
            tern_tensor *x = op_rand(types[d], DIMS(2, 3, 523), -3, 5, 1), *y = op_tensor(types[d], DIMS(2, 3, 523));
            tern_tensor *scale = op_rand(types[d], DIMS(wide ? 3 : 1, 523), 0.5, 2, 2);
            tern_tensor *bias = op_rand(types[d], DIMS(523), -1, 1, 3);
            tern_tensor *m = op_tensor(TERN_FLOAT, DIMS(2, 3, 1)), *inv = op_tensor(TERN_FLOAT, DIMS(2, 3, 1));
            for (int64_t i = 0; i < tern_tensor_count(x); i++) {
                double mean, var;
                moments(x, i / 523 * 523, 523, &mean, &var);
                double f = 1 / sqrt(var + (double)1e-5f), s = tn_tensor_get_f64(scale, wide ? i % (3 * 523) : i % 523);
                op_set(y, i, (tn_tensor_get_f64(x, i) - mean) * f * s + tn_tensor_get_f64(bias, i % 523));
                op_set(m, i / 523, mean);
                op_set(inv, i / 523, f);
            }
            op_in(&t, x);
            op_in(&t, scale);
            op_in(&t, bias);
            op_out(&t, y);
            op_out(&t, m);
            op_out(&t, inv);
            op_run(&t, d == 2 ? 0x1p-9 : 0x1p-20, d == 2 ? 0x1p-10 : 0x1p-20);
        }
    op_test t;
    op_begin(&t, "LayerNormalization", 17);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(2, 3), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4), 0, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2x3", "4"));
}

static void test_group_norms(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int opset, groups, params;
    } cases[] = {
        {"InstanceNormalization", 6, 6, 6}, {"GroupNormalization", 21, 2, 6}, {"GroupNormalization", 18, 3, 3}};
    for (size_t c = 0; c < TN_COUNT(cases); c++) {
        op_test t;
        op_begin(&t, cases[c].name, cases[c].opset);
        if (cases[c].name[0] == 'G') op_attr_i(&t, "num_groups", cases[c].groups);
        tern_tensor *x = op_rand(TERN_FLOAT, DIMS(2, 6, 5, 7), -3, 5, 1), *y = op_tensor(TERN_FLOAT, DIMS(2, 6, 5, 7));
        tern_tensor *scale = op_rand(TERN_FLOAT, DIMS(cases[c].params), 0.5, 2, 2);
        tern_tensor *bias = op_rand(TERN_FLOAT, DIMS(cases[c].params), -1, 1, 3);
        int64_t n = 6 * 35 / cases[c].groups;
        for (int64_t i = 0; i < tern_tensor_count(x); i++) {
            double mean, var;
            int64_t p = cases[c].params == 6 ? i / 35 % 6 : i / n % cases[c].groups;
            moments(x, i / n * n, n, &mean, &var);
            op_set(y, i,
                   (tn_tensor_get_f64(x, i) - mean) / sqrt(var + (double)1e-5f) * tn_tensor_get_f64(scale, p) +
                       tn_tensor_get_f64(bias, p));
        }
        op_in(&t, x);
        op_in(&t, scale);
        op_in(&t, bias);
        op_out(&t, y);
        op_run(&t, 0x1p-20, 0x1p-20);
    }
    op_test t;
    op_begin(&t, "GroupNormalization", 21);
    op_attr_i(&t, "num_groups", 4);
    for (int i = 0; i < 3; i++)
        op_in(&t, i ? op_rand(TERN_FLOAT, DIMS(6), 0, 1, 1) : op_rand(TERN_FLOAT, DIMS(1, 6, 2), 0, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("6 channels", "4 groups"));
}

/* size 4: one channel before, two after. */
static void check_lrn(tern_dtype dtype, float beta) {
    op_test t;
    op_begin(&t, "LRN", 13);
    op_attr_i(&t, "size", 4);
    op_attr_f(&t, "alpha", 0.5f);
    op_attr_f(&t, "beta", beta);
    tern_tensor *x = op_rand(dtype, DIMS(2, 7, 3), -3, 3, 1), *y = op_tensor(dtype, DIMS(2, 7, 3));
    for (int64_t i = 0; i < 42; i++) {
        double sum = 0;
        for (int64_t c = i / 3 % 7 - 1; c <= i / 3 % 7 + 2; c++) {
            if (c < 0 || c > 6) continue;
            double v = tn_tensor_get_f64(x, i / 21 * 21 + c * 3 + i % 3);
            sum += v * v;
        }
        op_set(y, i, tn_tensor_get_f64(x, i) / pow(1 + 0.5 / 4 * sum, (double)beta));
    }
    op_in(&t, x);
    op_out(&t, y);
    op_run(&t, dtype == TERN_DOUBLE ? 0x1p-50 : 0x1p-22, 0);
}

static void test_lrn_lp(void **state) {
    (void)state;
    static const float betas[] = {0.75f, 0.5f, 1, 0.6f};
    for (size_t i = 0; i < TN_COUNT(betas); i++) check_lrn(TERN_FLOAT, betas[i]), check_lrn(TERN_DOUBLE, betas[i]);
    op_test t;
    op_begin(&t, "LpNormalization", 1);
    op_attr_i(&t, "axis", 0);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(3, 0, 4, 0)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(0.6, 0, 0.8, 0)));
    op_run(&t, 1e-7, 0);
    op_begin(&t, "LpNormalization", 1);
    op_attr_i(&t, "p", 3);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("p is 3"));
}

static void test_nms(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "NonMaxSuppression", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 3, 4), VALS(0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, 10, 1, 11)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 3), VALS(0.75, 0.9, 0.6)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(3)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(0.5)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(0)));
    op_out(&t, op_num(TERN_INT64, DIMS(2, 3), VALS(0, 0, 1, 0, 0, 2)));
    op_run_exact(&t);
    op_begin(&t, "NonMaxSuppression", 11);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 3, 4), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 2), 0, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x3x4", "1x1x2"));
}

static float iou_of(const float *a, const float *b) {
    float h = TN_MIN(a[2], b[2]) - TN_MAX(a[0], b[0]), w = TN_MIN(a[3], b[3]) - TN_MAX(a[1], b[1]);
    float both = h > 0 && w > 0 ? h * w : 0;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

/* More boxes than are compared at once, with falling scores, against the definition. */
static void test_nms_many(void **state) {
    (void)state;
    enum { N = 100 };
    tern_tensor *boxes = op_tensor(TERN_FLOAT, DIMS(1, N, 4)), *scores = op_tensor(TERN_FLOAT, DIMS(1, 1, N));
    float *v = boxes->data;
    int64_t kept[N], n = 0;
    for (int64_t i = 0; i < N; i++) {
        op_set(scores, i, 1 - (double)i / N);
        v[4 * i] = (float)(i * 37 % 50);
        v[4 * i + 1] = (float)(i * 61 % 40);
        v[4 * i + 2] = v[4 * i] + 5 + (float)(i % 7);
        v[4 * i + 3] = v[4 * i + 1] + 5 + (float)(i % 5);
        bool stays = true;
        for (int64_t k = 0; k < n; k++) stays = stays && !(iou_of(&v[4 * kept[k]], &v[4 * i]) > 0.3f);
        if (stays) kept[n++] = i;
    }
    assert_true(n > 32 && n < N);
    tern_tensor *y = op_tensor(TERN_INT64, DIMS(n, 3));
    for (int64_t k = 0; k < n; k++) {
        op_set(y, 3 * k, 0);
        op_set(y, 3 * k + 1, 0);
        op_set(y, 3 * k + 2, (double)kept[k]);
    }
    op_test t;
    op_begin(&t, "NonMaxSuppression", 11);
    op_in(&t, boxes);
    op_in(&t, scores);
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(N)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(0.3)));
    op_out(&t, y);
    op_run_exact(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce_every_axis),
        cmocka_unit_test(test_reduce_integers),
        cmocka_unit_test(test_reduce_nothing),
        cmocka_unit_test(test_reduce_accuracy),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_arg),
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_topk_large),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_group_norms),
        cmocka_unit_test(test_lrn_lp),
        cmocka_unit_test(test_nms),
        cmocka_unit_test(test_nms_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
