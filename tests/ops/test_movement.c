/* Operators that move elements, against element-by-element definitions. */
#include "ops/op_test.h"

static double index_value(int64_t i) { return (double)(i % 120); }

/* Position of element i of a dense tensor. */
static void unravel(const tn_shape *s, int64_t i, int64_t *at) {
    for (int d = s->rank - 1; d >= 0; d--) {
        at[d] = i % s->dims[d];
        i /= s->dims[d];
    }
}

static int64_t ravel(const tn_shape *s, const int64_t *at) {
    int64_t i = 0;
    for (int d = 0; d < s->rank; d++) i = i * s->dims[d] + at[d];
    return i;
}

/* Copies element j of src to element i of dst, whatever the type. */
static void put(tern_tensor *dst, int64_t i, const tern_tensor *src, int64_t j) {
    size_t n = tern_dtype_size(dst->dtype);
    if (dst->dtype == TERN_STRING) {
        tern_string s = ((const tern_string *)src->data)[j];
        assert_int_equal(tern_tensor_set_string(dst, i, s.data, s.len, NULL), TERN_OK);
        return;
    }
    memcpy((char *)dst->data + (size_t)i * n, (const char *)src->data + (size_t)j * n, n);
}

static tern_tensor *numbered(tern_dtype dtype, int rank, const int64_t *dims) {
    if (dtype != TERN_STRING) return op_gen(dtype, rank, dims, index_value);
    tern_tensor *t = op_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < tern_tensor_count(t); i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "s%lld", (long long)i);
        assert_int_equal(tern_tensor_set_string(t, i, text, (size_t)n, NULL), TERN_OK);
    }
    return t;
}

/* One of each element size, and strings. */
static const tern_dtype sizes[] = {TERN_UINT8,     TERN_FLOAT16,    TERN_FLOAT, TERN_INT64,
                                   TERN_COMPLEX64, TERN_COMPLEX128, TERN_STRING};

static void test_transpose(void **state) {
    (void)state;
    static const int64_t shapes[][4] = {{2, 3, 4, 5}, {1, 70, 1, 67}, {3, 1, 40, 33}, {2, 2, 2, 0}};
    static const int64_t perms[][4] = {{3, 2, 1, 0}, {0, 2, 3, 1}, {0, 3, 1, 2}, {1, 0, 2, 3}, {2, 0, 3, 1}};
    for (size_t d = 0; d < TN_COUNT(sizes); d++)
        for (size_t s = 0; s < TN_COUNT(shapes); s++)
            for (size_t p = 0; p < TN_COUNT(perms); p++) {
                op_test t;
                op_begin(&t, "Transpose", 13);
                tern_tensor *x = numbered(sizes[d], 4, shapes[s]);
                int64_t dims[4], at[4], from[4];
                for (int i = 0; i < 4; i++) dims[i] = shapes[s][perms[p][i]];
                tern_tensor *y = op_tensor(sizes[d], 4, dims);
                for (int64_t i = 0; i < tern_tensor_count(y); i++) {
                    unravel(&y->shape, i, at);
                    for (int k = 0; k < 4; k++) from[perms[p][k]] = at[k];
                    put(y, i, x, ravel(&x->shape, from));
                }
                op_in(&t, x);
                op_out(&t, y);
                op_attr_ints(&t, "perm", 4, perms[p]);
                op_run_exact(&t);
            }
    op_test t;
    op_begin(&t, "Transpose", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3)));
    op_attr_ints(&t, "perm", INTS(0, 2));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 2"));
}

static void reshape_case(int opset, tern_tensor *shape, int allow, int rank, const int64_t *dims) {
    op_test t;
    op_begin(&t, "Reshape", opset);
    op_in(&t, numbered(TERN_INT32, DIMS(2, 3, 4)));
    op_in(&t, shape);
    if (allow) op_attr_i(&t, "allowzero", 1);
    op_out(&t, numbered(TERN_INT32, rank, dims));
    op_run_exact(&t);
}

static void test_reshape(void **state) {
    (void)state;
    reshape_case(5, op_int(TERN_INT64, DIMS(2), INTS(6, 4)), 0, DIMS(6, 4));
    reshape_case(13, op_int(TERN_INT64, DIMS(2), INTS(-1, 8)), 0, DIMS(3, 8));
    reshape_case(14, op_int(TERN_INT64, DIMS(3), INTS(0, -1, 2)), 0, DIMS(2, 6, 2));
    reshape_case(21, op_int(TERN_INT64, DIMS(4), INTS(4, 0, 2, 1)), 0, DIMS(4, 3, 2, 1));
    static const struct {
        int64_t shape[3];
        int allow;
        tern_status status;
        const char *word;
    } bad[] = {{{5, 5, 1}, 0, TERN_SHAPE_MISMATCH, "2x3x4"},
               {{-1, -1, 2}, 0, TERN_INVALID_MODEL, "second -1"},
               {{-2, 3, 4}, 0, TERN_INVALID_MODEL, "-2"},
               {{-1, 7, 1}, 0, TERN_SHAPE_MISMATCH, "2x3x4"},
               {{0, -1, 4}, 1, TERN_INVALID_MODEL, "allowzero"},
               {{INT64_MAX, INT64_MAX, 16}, 0, TERN_SHAPE_MISMATCH, "2x3x4"},
               {{INT64_MAX, INT64_MAX, -1}, 0, TERN_SHAPE_MISMATCH, "2x3x4"}};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        op_test t;
        op_begin(&t, "Reshape", 14);
        op_in(&t, numbered(TERN_INT32, DIMS(2, 3, 4)));
        op_in(&t, op_int(TERN_INT64, DIMS(3), 3, bad[i].shape));
        if (bad[i].allow) op_attr_i(&t, "allowzero", 1);
        op_error(&t, bad[i].status, 1, &bad[i].word);
    }
}

static void test_squeeze_and_flatten(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Squeeze", 11);
    op_in(&t, numbered(TERN_STRING, DIMS(1, 3, 1)));
    op_attr_ints(&t, "axes", INTS(-1));
    op_out(&t, numbered(TERN_STRING, DIMS(1, 3)));
    op_run_exact(&t);
    op_begin(&t, "Squeeze", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(1, 3, 1)));
    op_out(&t, numbered(TERN_FLOAT, DIMS(3)));
    op_run_exact(&t);
    op_begin(&t, "Squeeze", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(1, 3, 1)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x3x1", "is 3"));
    op_begin(&t, "Unsqueeze", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(3, 0)));
    op_out(&t, numbered(TERN_FLOAT, DIMS(1, 2, 3, 1)));
    op_run_exact(&t);
    op_begin(&t, "Unsqueeze", 1);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3)));
    op_attr_ints(&t, "axes", INTS(1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("twice"));
    op_begin(&t, "Flatten", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3, 4)));
    op_attr_i(&t, "axis", -1);
    op_out(&t, numbered(TERN_FLOAT, DIMS(6, 4)));
    op_run_exact(&t);
    op_begin(&t, "Flatten", 9);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3, 4)));
    op_attr_i(&t, "axis", 4);
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 4"));
}

/* Elements of a dim that start:end:step takes, found by walking. */
static int64_t python_range(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *out) {
    int64_t count = 0;
    if (start < 0) start = start < -n ? INT64_MIN / 4 : start + n;
    if (end < 0) end = end < -n ? INT64_MIN / 4 : end + n;
    if (step > 0) {
        for (int64_t i = TN_MAX(start, 0); i < TN_MIN(end, n); i += step) out[count++] = i;
    } else {
        for (int64_t i = TN_MIN(start, n - 1); i > TN_MAX(end, -1); i += step) out[count++] = i;
    }
    return count;
}

static void test_slice(void **state) {
    (void)state;
    static const int64_t ranges[][3] = {{0, 100, 1},   {1, -1, 1},  {-3, 100, 2}, {100, -100, -1},
                                        {-1, 0, -2},   {2, 2, 1},   {5, 1, 1},    {-100, 3, 1},
                                        {3, -100, -3}, {0, 100, 9}, {4, 0, -7}};
    for (size_t a = 0; a < TN_COUNT(ranges); a++)
        for (size_t b = 0; b < TN_COUNT(ranges); b++) {
            tern_dtype dtype = sizes[(a + b) % TN_COUNT(sizes)];
            int64_t rows[8], cols[8];
            int64_t n0 = python_range(5, ranges[a][0], ranges[a][1], ranges[a][2], rows);
            int64_t n1 = python_range(7, ranges[b][0], ranges[b][1], ranges[b][2], cols);
            op_test t;
            op_begin(&t, "Slice", 13);
            tern_tensor *x = numbered(dtype, DIMS(5, 3, 7)), *y = op_tensor(dtype, DIMS(n0, 3, n1));
            for (int64_t i = 0; i < tern_tensor_count(y); i++)
                put(y, i, x, rows[i / n1 / 3] * 21 + i / n1 % 3 * 7 + cols[i % n1]);
            op_in(&t, x);
            op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(ranges[b][0], ranges[a][0])));
            op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(ranges[b][1], ranges[a][1])));
            op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(-1, 0)));
            op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(ranges[b][2], ranges[a][2])));
            op_out(&t, y);
            op_run_exact(&t);
        }
    op_test t;
    op_begin(&t, "Slice", 13); /* how exporters write a flip */
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(-1)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MIN)));
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(-1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(3, 2, 1)));
    op_run_exact(&t);
    op_begin(&t, "Slice", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_attr_ints(&t, "starts", INTS(1));
    op_attr_ints(&t, "ends", INTS(INT64_MAX));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(2, 3)));
    op_run_exact(&t);
    op_begin(&t, "Slice", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(0)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(2)));
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("steps[0] is 0"));
}

static void test_concat_split(void **state) {
    (void)state;
    for (int axis = 0; axis < 3; axis++)
        for (size_t d = 0; d < TN_COUNT(sizes); d++) {
            int64_t dims[3] = {2, 3, 4}, parts[3] = {1, 4, 0}, total[3] = {2, 3, 4};
            total[axis] = 5;
            tern_tensor *whole = numbered(sizes[d], 3, total);
            op_test concat, split;
            op_begin(&concat, "Concat", 13);
            op_begin(&split, "Split", 13);
            op_attr_i(&concat, "axis", axis - 3);
            op_attr_i(&split, "axis", axis);
            op_in(&split, whole);
            op_in(&split, op_int(TERN_INT64, DIMS(3), INTS(1, 4, 0)));
            int64_t first = 0;
            for (int p = 0; p < 3; p++) {
                dims[axis] = parts[p];
                tern_tensor *in = op_tensor(sizes[d], 3, dims), *out = op_tensor(sizes[d], 3, dims);
                for (int64_t i = 0; i < tern_tensor_count(in); i++) {
                    int64_t at[3];
                    unravel(&in->shape, i, at);
                    at[axis] += first;
                    put(in, i, whole, ravel(&whole->shape, at));
                    put(out, i, whole, ravel(&whole->shape, at));
                }
                first += parts[p];
                op_in(&concat, in);
                op_out(&split, out);
            }
            op_out(&concat, numbered(sizes[d], 3, total));
            op_run_exact(&concat);
            op_run_exact(&split);
        }
    op_test t;
    op_begin(&t, "Concat", 13);
    op_attr_i(&t, "axis", 1);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, numbered(TERN_FLOAT, DIMS(3, 3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2x3", "3x3"));
    op_begin(&t, "Split", 18);
    op_attr_i(&t, "num_outputs", 3);
    op_in(&t, op_num(TERN_FLOAT, DIMS(5), VALS(1, 2, 3, 4, 5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(3, 4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(5)));
    op_run_exact(&t);
    op_begin(&t, "Split", 2);
    op_attr_ints(&t, "split", INTS(1, 3));
    op_in(&t, op_num(TERN_FLOAT, DIMS(5), VALS(1, 2, 3, 4, 5)));
    op_out_any(&t);
    op_out_any(&t);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("add up to 4", "is 5"));
}

static void test_gather(void **state) {
    (void)state;
    op_test t;
    for (size_t d = 0; d < TN_COUNT(sizes); d++) {
        op_begin(&t, "Gather", 13);
        op_attr_i(&t, "axis", -2);
        tern_tensor *x = numbered(sizes[d], DIMS(2, 3, 4)), *y = op_tensor(sizes[d], DIMS(2, 2, 2, 4));
        static const int64_t index[] = {2, -3, 1, 1};
        for (int64_t i = 0; i < 32; i++) {
            int64_t k = index[i / 4 % 4];
            put(y, i, x, i / 16 * 12 + (k < 0 ? k + 3 : k) * 4 + i % 4);
        }
        op_in(&t, x);
        op_in(&t, op_int(TERN_INT32, DIMS(2, 2), 4, index));
        op_out(&t, y);
        op_run_exact(&t);
    }
    op_begin(&t, "Gather", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(3)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("is 3", "[-3, 3)"));
    op_begin(&t, "GatherElements", 13);
    op_attr_i(&t, "axis", 0);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3, 3), VALS(1, 2, 3, 4, 5, 6, 7, 8, 9)));
    op_in(&t, op_int(TERN_INT64, DIMS(2, 2), INTS(1, -1, 2, 0)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(4, 8, 7, 2)));
    op_run_exact(&t);
    op_begin(&t, "GatherND", 12);
    op_attr_i(&t, "batch_dims", 1);
    op_in(&t, op_num(TERN_INT8, DIMS(2, 2, 2), VALS(0, 1, 2, 3, 4, 5, 6, 7)));
    op_in(&t, op_int(TERN_INT64, DIMS(2, 1), INTS(1, 0)));
    op_out(&t, op_num(TERN_INT8, DIMS(2, 2), VALS(2, 3, 4, 5)));
    op_run_exact(&t);
    op_begin(&t, "GatherND", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 2)));
    op_in(&t, op_int(TERN_INT64, DIMS(1, 2), INTS(0, -3)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("is -3"));
    op_begin(&t, "Compress", 11);
    op_attr_i(&t, "axis", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_BOOL, DIMS(2), VALS(0, 1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(2, 5)));
    op_run_exact(&t);
}

static void test_scatter(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "ScatterElements", 18);
    op_attr_i(&t, "axis", 1);
    op_attr_s(&t, "reduction", "max");
    op_in(&t, op_num(TERN_INT32, DIMS(1, 4), VALS(1, 2, 3, 4)));
    op_in(&t, op_int(TERN_INT64, DIMS(1, 3), INTS(1, -1, 1)));
    op_in(&t, op_num(TERN_INT32, DIMS(1, 3), VALS(5, 0, 4)));
    op_out(&t, op_num(TERN_INT32, DIMS(1, 4), VALS(1, 5, 3, 4)));
    op_run_exact(&t);
    op_begin(&t, "ScatterND", 16);
    op_attr_s(&t, "reduction", "add");
    op_in(&t, op_num(TERN_UINT8, DIMS(2, 2), VALS(1, 250, 3, 4)));
    op_in(&t, op_int(TERN_INT64, DIMS(2, 1), INTS(0, 0)));
    op_in(&t, op_num(TERN_UINT8, DIMS(2, 2), VALS(5, 6, 7, 8)));
    op_out(&t, op_num(TERN_UINT8, DIMS(2, 2), VALS(13, 8, 3, 4))); /* wraps */
    op_run_exact(&t);
    op_begin(&t, "ScatterElements", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(-4)));
    op_in(&t, numbered(TERN_FLOAT, DIMS(1)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("is -4"));
    op_begin(&t, "ScatterND", 18);
    op_in(&t, numbered(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1, 1), INTS(0)));
    op_in(&t, numbered(TERN_FLOAT, DIMS(2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x1"));
}

/* Index of the element that the mode puts at i of a dim of n; -1: the constant. One reflection at a time. */
static int64_t pad_source(const char *mode, int64_t i, int64_t n) {
    if (i >= 0 && i < n) return i;
    if (strcmp(mode, "constant") == 0) return -1;
    if (strcmp(mode, "edge") == 0) return i < 0 ? 0 : n - 1;
    while (i < 0 || i >= n) {
        if (strcmp(mode, "wrap") == 0)
            i += i < 0 ? n : -n;
        else
            i = i < 0 ? -i : 2 * (n - 1) - i;
    }
    return i;
}

static void test_pad(void **state) {
    (void)state;
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    static const int64_t pads[][6] = {{1, 2, 3, 4, 0, 1}, {0, -1, 5, 0, 2, -2}, {-1, 0, -2, 0, 0, 7}};
    for (size_t m = 0; m < 4; m++)
        for (size_t p = 0; p < TN_COUNT(pads); p++)
            for (size_t d = 0; d < TN_COUNT(sizes); d++) {
                op_test t;
                op_begin(&t, "Pad", 19);
                const int64_t *b = pads[p];
                tern_tensor *x = numbered(sizes[d], DIMS(2, 3, 4)), *value = numbered(sizes[d], SCALAR);
                tern_tensor *y = op_tensor(sizes[d], DIMS(2 + b[0] + b[3], 3 + b[1] + b[4], 4 + b[2] + b[5]));
                for (int64_t i = 0; i < tern_tensor_count(y); i++) {
                    int64_t at[3];
                    bool inside = true;
                    unravel(&y->shape, i, at);
                    for (int k = 0; k < 3; k++) {
                        at[k] = pad_source(modes[m], at[k] - b[k], x->shape.dims[k]);
                        inside = inside && at[k] >= 0;
                    }
                    put(y, i, inside ? x : value, inside ? ravel(&x->shape, at) : 0);
                }
                op_attr_s(&t, "mode", modes[m]);
                op_in(&t, x);
                op_in(&t, op_int(TERN_INT64, DIMS(6), 6, b));
                op_in(&t, value);
                op_out(&t, y);
                op_run_exact(&t);
            }
    op_test t;
    op_begin(&t, "Pad", 2);
    op_attr_ints(&t, "pads", INTS(1, 0));
    op_attr_f(&t, "value", 1.5f);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(7, 8)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1.5, 7, 8)));
    op_run_exact(&t);
    op_begin(&t, "Pad", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(INT64_MAX, 5)));
    op_error(&t, TERN_INVALID_MODEL, STRS("9223372036854775807"));
    op_begin(&t, "Pad", 18);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 2)));
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(1, 1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("2 values", "4"));
}

static void test_expand_tile(void **state) {
    (void)state;
    for (size_t d = 0; d < TN_COUNT(sizes); d++) {
        op_test t;
        op_begin(&t, "Expand", 13);
        tern_tensor *x = numbered(sizes[d], DIMS(3, 1)), *y = op_tensor(sizes[d], DIMS(2, 3, 4));
        for (int64_t i = 0; i < 24; i++) put(y, i, x, i / 4 % 3);
        op_in(&t, x);
        op_in(&t, op_int(TERN_INT64, DIMS(3), INTS(2, 1, 4)));
        op_out(&t, y);
        op_run_exact(&t);
        op_begin(&t, "Tile", 13);
        x = numbered(sizes[d], DIMS(2, 3));
        y = op_tensor(sizes[d], DIMS(6, 6));
        for (int64_t i = 0; i < 36; i++) put(y, i, x, i / 6 % 2 * 3 + i % 3);
        op_in(&t, x);
        op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(3, 2)));
        op_out(&t, y);
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "Tile", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MAX)));
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("9223372036854775807"));
    op_begin(&t, "Expand", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2", "3"));
    op_begin(&t, "Expand", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(1)));
    op_in(&t, op_int(TERN_INT64, DIMS(3), INTS((int64_t)1 << 40, (int64_t)1 << 40, 2)));
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("1099511627776"));
}

static void test_depth_space(void **state) {
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        op_test t;
        op_begin(&t, mode == 2 ? "SpaceToDepth" : "DepthToSpace", 13);
        op_attr_i(&t, "blocksize", 2);
        if (mode == 1) op_attr_s(&t, "mode", "CRD");
        tern_tensor *deep = numbered(TERN_FLOAT, DIMS(2, 12, 3, 5)), *wide = op_tensor(TERN_FLOAT, DIMS(2, 3, 6, 10));
        for (int64_t i = 0; i < tern_tensor_count(wide); i++) {
            int64_t at[4];
            unravel(&wide->shape, i, at);
            int64_t b = at[2] % 2 * 2 + at[3] % 2, c = mode == 1 ? at[1] * 4 + b : b * 3 + at[1];
            put(wide, i, deep, ((at[0] * 12 + c) * 3 + at[2] / 2) * 5 + at[3] / 2);
        }
        op_in(&t, mode == 2 ? wide : deep);
        op_out(&t, mode == 2 ? deep : wide);
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "DepthToSpace", 13);
    op_attr_i(&t, "blocksize", 2);
    op_in(&t, numbered(TERN_FLOAT, DIMS(1, 6, 1, 1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("is 6", "4"));
}

/* More elements than a task has: every 5th of 257 x 3 x 300 is not zero. */
static void test_non_zero_in_parts(void **state) {
    (void)state;
    enum { A = 257, B = 3, C = 300, N = A * B * C, FOUND = (N + 4) / 5 };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_BFLOAT16, TERN_INT8, TERN_INT64};
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        tern_tensor *x = op_tensor(types[k], DIMS(A, B, C)), *y = op_tensor(TERN_INT64, DIMS(3, FOUND));
        int64_t *places = y->data;
        for (int64_t i = 0, found = 0; i < N; i++) {
            op_set(x, i, i % 5 == 0 ? 1 : 0);
            if (i % 5) continue;
            places[found] = i / C / B;
            places[FOUND + found] = i / C % B;
            places[2 * FOUND + found++] = i % C;
        }
        op_test t;
        op_begin(&t, "NonZero", 13);
        op_in(&t, x);
        op_out(&t, y);
        op_run_exact(&t);
    }
}

/* Along each axis of 3 x 600 x 2 in both directions, against the definition. */
static void test_cumulative(void **state) {
    (void)state;
    enum { A = 3, B = 600, C = 2, N = A * B * C };
    static const int64_t dim[3] = {A, B, C}, step[3] = {B * C, C, 1};
    for (int k = 0; k < 3 * 8; k++) {
        bool product = k & 1, exclusive = k & 2, reverse = k & 4;
        int axis = k / 8;
        tern_tensor *x = op_tensor(TERN_INT32, DIMS(A, B, C)), *y = op_tensor(TERN_INT32, DIMS(A, B, C));
        for (int64_t i = 0; i < N; i++) op_set(x, i, (double)(i % 7 - 3 + (i % 7 == 3)));
        for (int64_t i = 0; i < N; i++) {
            int64_t place = i / step[axis] % dim[axis];
            uint32_t v = product;
            for (int64_t d = 0; d < dim[axis]; d++) {
                bool before = reverse ? d > place : d < place;
                uint32_t e = (uint32_t)((const int32_t *)x->data)[i + (d - place) * step[axis]];
                if (before || (d == place && !exclusive)) v = product ? v * e : v + e;
            }
            ((int32_t *)y->data)[i] = (int32_t)v;
        }
        op_test t;
        op_begin(&t, product ? "CumProd" : "CumSum", 26);
        op_attr_i(&t, "exclusive", exclusive);
        op_attr_i(&t, "reverse", reverse);
        op_in(&t, x);
        op_in(&t, op_num(TERN_INT64, SCALAR, VALS(axis - 3)));
        op_out(&t, y);
        op_run_exact(&t);
    }
}

static void test_selection(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "OneHot", 11);
    op_attr_i(&t, "axis", 0);
    op_in(&t, op_num(TERN_INT64, DIMS(4), VALS(0, -1, 3, 2)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(3)));
    op_in(&t, op_str(DIMS(2), STRS("-", "X")));
    op_out(&t, op_str(DIMS(3, 4), STRS("X", "-", "-", "-", "-", "-", "-", "-", "-", "X", "-", "X")));
    op_run_exact(&t);
    op_begin(&t, "NonZero", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(0, -1, NAN, -0.0)));
    op_out(&t, op_num(TERN_INT64, DIMS(2, 2), VALS(0, 1, 1, 0)));
    op_run_exact(&t);
    op_begin(&t, "Trilu", 14);
    op_attr_i(&t, "upper", 0);
    op_in(&t, op_num(TERN_INT16, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(1)));
    op_out(&t, op_num(TERN_INT16, DIMS(2, 3), VALS(1, 2, 0, 4, 5, 6)));
    op_run_exact(&t);
    op_begin(&t, "CumSum", 14);
    op_attr_i(&t, "exclusive", 1);
    op_attr_i(&t, "reverse", 1);
    op_in(&t, op_num(TERN_INT32, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT32, SCALAR, VALS(-1)));
    op_out(&t, op_num(TERN_INT32, DIMS(2, 3), VALS(5, 3, 0, 11, 6, 0)));
    op_run_exact(&t);
    op_begin(&t, "CumSum", 14);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, op_num(TERN_INT32, SCALAR, VALS(2)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 2"));
    op_begin(&t, "Unique", 11);
    op_attr_i(&t, "sorted", 0);
    op_in(&t, op_str(DIMS(4), STRS("b", "a", "b", "c")));
    op_out(&t, op_str(DIMS(3), STRS("b", "a", "c")));
    op_out(&t, op_num(TERN_INT64, DIMS(3), VALS(0, 1, 3)));
    op_out(&t, op_num(TERN_INT64, DIMS(4), VALS(0, 1, 0, 2)));
    op_out(&t, op_num(TERN_INT64, DIMS(3), VALS(2, 1, 1)));
    op_run_exact(&t);
    op_begin(&t, "ReverseSequence", 10);
    op_attr_i(&t, "batch_axis", 0);
    op_attr_i(&t, "time_axis", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(2, 3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 3), VALS(2, 1, 3, 6, 5, 4)));
    op_run_exact(&t);
}

/* ---- Unique -------------------------------------------------------------------------------------------------- */

/* Every output against all pairs of elements. NaNs are alike and last, -0 equals 0. */
static void check_unique(tern_dtype dtype, double low, double high, int64_t n, bool sorted) {
    op_test t;
    op_begin(&t, "Unique", 11);
    op_attr_i(&t, "sorted", sorted);
    tern_tensor *x = op_rand(dtype, DIMS(n), low, high, 5);
    if (n > 9 && tn_type_in(dtype, TN_TYPES_FLOAT)) {
        static const double special[] = {NAN, -0.0, INFINITY, 0.0, -NAN, -INFINITY};
        for (int64_t i = 0; i < 6; i++) op_set(x, i + 3, special[i]);
    }
    op_in(&t, x);
    for (int i = 0; i < 4; i++) op_out_any(&t);
    op_eval(&t);
    const tern_tensor *y = t.result[0], *first = t.result[1], *inverse = t.result[2], *counts = t.result[3];
    int64_t groups = tern_tensor_count(y), total = 0, seen = 0;
    for (int64_t g = 0; g < groups; g++) {
        double v = tn_tensor_get_f64(y, g), before = g ? tn_tensor_get_f64(y, g - 1) : 0;
        if (sorted && g) assert_true(before < v || (v != v && before == before));
        if (!sorted && g) assert_true(tn_tensor_get_i64(first, g - 1) < tn_tensor_get_i64(first, g));
        total += tn_tensor_get_i64(counts, g);
    }
    assert_int_equal(total, n);
    for (int64_t i = 0; i < n; i++) {
        double v = tn_tensor_get_f64(x, i);
        int64_t g = tn_tensor_get_i64(inverse, i), same = i, count = 0;
        double u = tn_tensor_get_f64(y, g);
        assert_true(u == v || (u != u && v != v));
        for (int64_t j = n - 1; j >= 0; j--) {
            double w = tn_tensor_get_f64(x, j);
            if (w == v || (w != w && v != v)) same = j, count++;
        }
        seen += same == i;
        assert_int_equal(tn_tensor_get_i64(first, g), same);
        assert_int_equal(tn_tensor_get_i64(counts, g), count);
    }
    assert_int_equal(seen, groups);
    op_end(&t);
}

static void test_unique_numbers(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,  TERN_INT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32};
    for (size_t i = 0; i < TN_COUNT(types); i++)
        for (int sorted = 0; sorted < 2; sorted++) {
            double low = i < 8 ? -100 : 0;
            check_unique(types[i], low, 100, 700, sorted);
            check_unique(types[i], low, 100, 1, sorted);
            check_unique(types[i], low, 100, 0, sorted);
        }
    check_unique(TERN_INT64, -0x1p52, 0x1p52, 500, true);
    check_unique(TERN_DOUBLE, -1, 1, 500, true);
    op_test t; /* beyond what an int64 holds */
    op_begin(&t, "Unique", 11);
    tern_tensor *x = op_tensor(TERN_UINT64, DIMS(3)), *y = op_tensor(TERN_UINT64, DIMS(2));
    memcpy(x->data, (const uint64_t[]){UINT64_MAX, 1, UINT64_MAX}, 3 * sizeof(uint64_t));
    memcpy(y->data, (const uint64_t[]){1, UINT64_MAX}, 2 * sizeof(uint64_t));
    op_in(&t, x);
    op_out(&t, y);
    op_run_exact(&t);
}

/* ---- blocked layout ------------------------------------------------------------------------------------------ */

static tern_tensor *blocked_of(const tern_tensor *x, int block) {
    const int64_t *d = x->shape.dims;
    int64_t hw = d[2] * d[3], cb = (d[1] + block - 1) / block;
    tern_tensor *b = op_tensor(TERN_FLOAT, DIMS(d[0], cb, hw, block));
    for (int64_t i = 0; x->data && i < tern_tensor_count(x); i++) {
        int64_t at[4];
        unravel(&x->shape, i, at);
        int64_t to = (((at[0] * cb + at[1] / block) * hw) + at[2] * d[3] + at[3]) * block + at[1] % block;
        ((float *)b->data)[to] = ((const float *)x->data)[i];
    }
    b->shape = x->shape;
    b->block = block;
    return b;
}

/* Concat of c[0] and c[1] channels, then Split back, in blocked layout; what is compared includes the padding lanes. */
static void concat_split_blocked(int block, int64_t c0, int64_t c1) {
    tern_tensor *plain[3] = {numbered(TERN_FLOAT, DIMS(2, c0, 3, 2)), numbered(TERN_FLOAT, DIMS(2, c1, 3, 2)), NULL};
    op_test t;
    op_begin(&t, "Concat", 13);
    op_attr_i(&t, "axis", 1);
    op_in(&t, plain[0]);
    op_in(&t, plain[1]);
    op_out_any(&t);
    op_eval(&t);
    tern_tensor *in[2] = {blocked_of(plain[0], block), blocked_of(plain[1], block)};
    tern_tensor *want = blocked_of(t.result[0], block), *got = blocked_of(t.result[0], block);
    memset(got->data, 0x55, tn_tensor_bytes(got));
    tn_run run = {.node = t.node, .in = in, .out = &got, .threads = 1, .err = &t.err};
    assert_int_equal(t.node->op->run(&run), TERN_OK);
    assert_memory_equal(got->data, want->data, tn_tensor_bytes(want));
    op_end(&t);

    op_begin(&t, "Split", 2);
    op_attr_i(&t, "axis", 1);
    op_attr_ints(&t, "split", INTS(c0, c1));
    tern_tensor *whole = op_tensor(TERN_FLOAT, DIMS(2, c0 + c1, 3, 2));
    op_in(&t, whole);
    op_out_any(&t);
    op_out_any(&t);
    op_eval(&t);
    tern_tensor *parts[2] = {blocked_of(t.result[0], block), blocked_of(t.result[1], block)};
    for (int i = 0; i < 2; i++) memset(parts[i]->data, 0x55, tn_tensor_bytes(parts[i]));
    run = (tn_run){.node = t.node, .in = &got, .out = parts, .threads = 1, .err = &t.err};
    assert_int_equal(t.node->op->run(&run), TERN_OK);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(parts[i]->data, in[i]->data, tn_tensor_bytes(in[i]));
        tern_tensor_free(parts[i]);
        tern_tensor_free(in[i]);
    }
    op_end(&t);
    tern_tensor_free(want);
    tern_tensor_free(got);
}

static void test_blocked(void **state) {
    (void)state;
    static const int64_t channels[] = {8, 16, 5, 1, 24, 19};
    for (int block = 8; block <= 16; block += 8)
        for (size_t a = 0; a < TN_COUNT(channels); a++)
            for (size_t b = 0; b < TN_COUNT(channels); b++) concat_split_blocked(block, channels[a], channels[b]);
}

static void test_dropout(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Dropout", 7);
    op_in(&t, numbered(TERN_FLOAT, DIMS(4)));
    op_out(&t, numbered(TERN_FLOAT, DIMS(4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4), VALS(1, 1, 1, 1)));
    op_run_exact(&t);
    op_begin(&t, "Dropout", 13);
    op_in(&t, numbered(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1.5)));
    op_in(&t, op_num(TERN_BOOL, SCALAR, VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("ratio 1.5"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unique_numbers),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_reshape),
        cmocka_unit_test(test_squeeze_and_flatten),
        cmocka_unit_test(test_slice),
        cmocka_unit_test(test_concat_split),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_scatter),
        cmocka_unit_test(test_pad),
        cmocka_unit_test(test_expand_tile),
        cmocka_unit_test(test_depth_space),
        cmocka_unit_test(test_non_zero_in_parts),
        cmocka_unit_test(test_cumulative),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
