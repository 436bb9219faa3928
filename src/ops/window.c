/* HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix: tables for spectra, computed in double. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define OUT_TYPES TN_TYPES_NUMERIC
#define BLOCK     256

/* The attribute output_datatype. */
static tern_status table_type(tn_infer *c, tern_dtype *out) {
    int64_t d = tn_attr_i(c->node, "output_datatype", TERN_FLOAT);
    *out = (tern_dtype)d;
    if (d > 0 && d < TERN_DTYPE_COUNT && tn_type_in((tern_dtype)d, OUT_TYPES)) return TERN_OK;
    return tn_infer_fail(c, TERN_INVALID_MODEL, "output_datatype %lld is not a numeric type", (long long)d);
}

static tern_status check_scalar(tn_infer *c, int i, uint32_t types) {
    TN_TRY(tn_args_need(c, i, types));
    tn_shape s;
    if (tn_args_shape(c, i, &s) && tn_shape_known(&s) && tn_shape_count(&s) != 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has %lld elements where 1 is needed", i,
                             (long long)tn_shape_count(&s));
    return TERN_OK;
}

/* ---- windows ------------------------------------------------------------------------------------------------- */

static tern_status window_shape(int64_t size, tn_shape *out, tern_error *err) {
    if (size < 0) return tn_fail(err, TERN_INVALID_ARGUMENT, "a window of %lld elements", (long long)size);
    *out = (tn_shape){.rank = 1, .dims = {size}};
    return TERN_OK;
}

static tern_status infer_window(tn_infer *c) {
    TN_TRY(check_scalar(c, 0, TN_T(INT32) | TN_T(INT64)));
    tern_dtype dtype;
    TN_TRY(table_type(c, &dtype));
    tn_shape s = tn_args_unknown_dims(1);
    if (c->value[0]) TN_TRY(window_shape(tn_tensor_get_i64(c->value[0], 0), &s, c->err));
    return tn_args_out_shape(c, 0, dtype, &s);
}

typedef struct window {
    tern_tensor *y;
    double period;  /* elements after which it repeats */
    double a, b, d; /* a - b cos(x) + d cos(2x) */
} window;

static void window_task(void *context, int64_t begin, int64_t end, int worker) {
    const window *w = context;
    (void)worker;
    double v[BLOCK];
    int64_t count = tn_shape_count(&w->y->shape);
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t * BLOCK, n = TN_MIN((int64_t)BLOCK, count - at);
        for (int64_t i = 0; i < n; i++) {
            double x = 2 * 3.14159265358979323846 * (double)(at + i) / w->period;
            v[i] = w->a - w->b * cos(x) + w->d * cos(2 * x);
        }
        tn_row_store_f64(w->y->dtype, w->y->data, at, n, v);
    }
}

static tern_status run_window(tn_run *c, double a, double b, double d) {
    if (tn_shape_count(&c->in[0]->shape) != 1)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "size has %lld elements where 1 is needed",
                           (long long)tn_shape_count(&c->in[0]->shape));
    int64_t size = tn_tensor_get_i64(c->in[0], 0);
    bool periodic = tn_attr_i(c->node, "periodic", 1) != 0;
    window w = {c->out[0], (double)(periodic ? size : size - 1), a, b, d};
    static const double one = 1;
    if (size == 1)
        tn_row_store_f64(w.y->dtype, w.y->data, 0, 1, &one); /* of one element: its peak, whatever the period */
    else
        tn_parallel_for(size < 8192 ? 1 : c->threads, tn_ceil_div(size, BLOCK), window_task, &w);
    return TERN_OK;
}

static tern_status run_hann(tn_run *c) { return run_window(c, 0.5, 0.5, 0); }
static tern_status run_hamming(tn_run *c) { return run_window(c, 25.0 / 46, 21.0 / 46, 0); }
static tern_status run_blackman(tn_run *c) { return run_window(c, 0.42, 0.5, 0.08); }

const tn_op tn_op_hann_window = TN_ARGS_OP(infer_window, run_hann, 1, 1, 1, 1, 0);
const tn_op tn_op_hamming_window = TN_ARGS_OP(infer_window, run_hamming, 1, 1, 1, 1, 0);
const tn_op tn_op_blackman_window = TN_ARGS_OP(infer_window, run_blackman, 1, 1, 1, 1, 0);

/* ---- MelWeightMatrix ----------------------------------------------------------------------------------------- */

typedef struct mel {
    int64_t bins, dft, rate;
    double low, high; /* hertz */
} mel;

static tern_status mel_of(const tern_tensor *const *in, mel *m, tern_error *err) {
    for (int i = 0; i < 5; i++)
        if (tn_shape_count(&in[i]->shape) != 1)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "input %d has %lld elements where 1 is needed", i,
                           (long long)tn_shape_count(&in[i]->shape));
    *m = (mel){tn_tensor_get_i64(in[0], 0), tn_tensor_get_i64(in[1], 0), tn_tensor_get_i64(in[2], 0),
               tn_tensor_get_f64(in[3], 0), tn_tensor_get_f64(in[4], 0)};
    if (m->bins < 1 || m->dft < 1 || m->rate < 1 || m->dft > INT64_MAX / 4 || m->bins > INT64_MAX / 4)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%lld mel bins, a dft_length of %lld, a sample_rate of %lld",
                       (long long)m->bins, (long long)m->dft, (long long)m->rate);
    if (!(m->low >= 0 && m->high >= m->low && m->high < INFINITY))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "frequencies from %g to %g hertz", m->low, m->high);
    return TERN_OK;
}

static tern_status infer_mel(tn_infer *c) {
    for (int i = 0; i < 5; i++) TN_TRY(check_scalar(c, i, i < 3 ? TN_T(INT32) | TN_T(INT64) : TN_TYPES_FLOAT));
    tern_dtype dtype;
    TN_TRY(table_type(c, &dtype));
    tn_shape s = tn_args_unknown_dims(2);
    bool known = true;
    for (int i = 0; i < 5; i++) known = known && c->value[i];
    if (known) {
        mel m;
        TN_TRY(mel_of(c->value, &m, c->err));
        s = (tn_shape){.rank = 2, .dims = {m.dft / 2 + 1, m.bins}};
    }
    return tn_args_out_shape(c, 0, dtype, &s);
}

static double to_mel(double hertz) { return 2595 * log10(1 + hertz / 700); }

/* Spectrum bin of the i-th of bins + 2 edges, evenly spaced on the mel scale. */
static double edge(const mel *m, int64_t i) {
    double low = to_mel(m->low), step = (to_mel(m->high) - low) / (double)(m->bins + 2);
    double hertz = 700 * (pow(10, ((double)i * step + low) / 2595) - 1);
    return floor((double)(m->dft + 1) * hertz / (double)m->rate);
}

/* Rises from 0 at `left` to 1 at `center`, falls to 0 at `right`. */
static double triangle(double j, double left, double center, double right) {
    if (j == center) return 1;
    if (j < center) return j >= left ? (j - left) / (center - left) : 0;
    return j < right ? (right - j) / (right - center) : 0;
}

static tern_status run_mel(tn_run *c) {
    mel m;
    const tern_tensor *in[5] = {c->in[0], c->in[1], c->in[2], c->in[3], c->in[4]};
    TN_TRY(mel_of(in, &m, c->err));
    tn_shape s = {.rank = 2, .dims = {m.dft / 2 + 1, m.bins}};
    tern_tensor *y = c->out[0];
    double *edges = tn_alloc_array((size_t)m.bins + 2, sizeof *edges);
    if (!edges) return tn_fail_oom(c->err, ((size_t)m.bins + 2) * sizeof *edges);
    for (int64_t i = 0; i < m.bins + 2; i++) edges[i] = edge(&m, i);
    double row[BLOCK];
    for (int64_t j = 0; j < s.dims[0]; j++) {
        for (int64_t at = 0; at < m.bins; at += BLOCK) {
            int64_t n = TN_MIN((int64_t)BLOCK, m.bins - at);
            for (int64_t i = 0; i < n; i++)
                row[i] = triangle((double)j, edges[at + i], edges[at + i + 1], edges[at + i + 2]);
            tn_row_store_f64(y->dtype, y->data, j * m.bins + at, n, row);
        }
    }
    tn_free(edges);
    return TERN_OK;
}

const tn_op tn_op_mel_weight_matrix = TN_ARGS_OP(infer_mel, run_mel, 5, 5, 1, 1, 0);
