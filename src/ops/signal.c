/* DFT and STFT. The last dim of a signal has 1 element (real) or 2 (real and imaginary part). */
#include "ops/args.h"
#include "ops/fft.h"
#include "ops/rowio.h"

#include <math.h>

/* ---- shared -------------------------------------------------------------------------------------------------- */

/* A scalar input's value when it is known; -1 otherwise. */
static tern_status infer_scalar(tn_infer *c, int i, const char *what, int64_t *out) {
    *out = -1;
    if (!tn_args_has(c, i)) return TERN_OK;
    TN_TRY(tn_args_need(c, i, TN_T(INT32) | TN_T(INT64)));
    tn_shape s;
    if (tn_args_shape(c, i, &s) && tn_shape_known(&s) && tn_shape_count(&s) != 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s has %lld elements where 1 is needed", what,
                             (long long)tn_shape_count(&s));
    if (!c->value[i]) return TERN_OK;
    *out = tn_tensor_get_i64(c->value[i], 0);
    if (*out < 1) return tn_infer_fail(c, TERN_INVALID_MODEL, "%s is %lld", what, (long long)*out);
    return TERN_OK;
}

static tern_status run_scalar(tn_run *c, int i, const char *what, int64_t *out) {
    const tern_tensor *t = tn_args_in(c, i);
    if (!t) return TERN_OK;
    if (tn_shape_count(&t->shape) != 1)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "%s has %lld elements where 1 is needed", what,
                           (long long)tn_shape_count(&t->shape));
    *out = tn_tensor_get_i64(t, 0);
    if (*out < 1) return tn_run_fail(c, TERN_INVALID_MODEL, "%s is %lld", what, (long long)*out);
    return TERN_OK;
}

static bool bad_parts(int64_t d) { return tn_dim_known(d) && d != 1 && d != 2; }

/* ---- DFT ----------------------------------------------------------------------------------------------------- */

/* The axis may be any but the last one. */
static tern_status dft_axis(const tn_node *n, const tern_tensor *input, int rank, int *axis, tern_error *err) {
    int64_t a = n->since < 20 ? tn_attr_i(n, "axis", 1) : -2;
    if (n->since >= 20 && input) {
        if (tn_shape_count(&input->shape) != 1)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "axis has %lld elements where 1 is needed",
                           (long long)tn_shape_count(&input->shape));
        a = tn_tensor_get_i64(input, 0);
    }
    TN_TRY(tn_args_axis(a, rank, axis, err));
    if (*axis == rank - 1)
        return tn_fail(err, TERN_INVALID_MODEL, "axis %lld is the one of real and imaginary parts", (long long)a);
    return TERN_OK;
}

typedef struct dft_mode {
    bool inverse, onesided;
} dft_mode;

static dft_mode dft_mode_of(const tn_node *n) {
    return (dft_mode){tn_attr_i(n, "inverse", 0) != 0, tn_attr_i(n, "onesided", 0) != 0};
}

static tern_status check_dft_input(tn_infer *c, const tn_shape *s, dft_mode m) {
    if (s->rank < 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, less than 2", s->rank);
    int64_t parts = s->dims[s->rank - 1];
    if (bad_parts(parts))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the last dim of the input is %lld, not 1 or 2", (long long)parts);
    if (m.onesided && !m.inverse && parts == 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "a onesided transform of a complex input");
    return TERN_OK;
}

static tern_status infer_dft(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    int64_t length;
    TN_TRY(infer_scalar(c, 1, "dft_length", &length));
    if (tn_args_has(c, 2)) TN_TRY(tn_args_need(c, 2, TN_T(INT32) | TN_T(INT64)));
    dft_mode m = dft_mode_of(c->node);
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    TN_TRY(check_dft_input(c, &s, m));
    s.dims[s.rank - 1] = m.onesided && m.inverse ? 1 : 2;
    if (tn_args_has(c, 2) && !c->value[2]) {
        for (int i = 0; i + 1 < s.rank; i++) s.dims[i] = TN_DIM_UNKNOWN;
        return tn_args_out_shape(c, 0, c->in[0]->dtype, &s);
    }
    int axis = 0;
    TN_TRY(dft_axis(c->node, tn_args_has(c, 2) ? c->value[2] : NULL, s.rank, &axis, c->err));
    int64_t n = s.dims[axis];
    if (length > 0) {
        n = length;
    } else if (tn_args_has(c, 1)) {
        n = TN_DIM_UNKNOWN;
    } else if (m.onesided && m.inverse) {
        n = tn_dim_known(n) ? 2 * (n - 1) : TN_DIM_UNKNOWN;
    }
    if (tn_dim_known(n) && n < 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "a transform of %lld elements", (long long)n);
    if (m.onesided && !m.inverse) n = tn_dim_known(n) ? n / 2 + 1 : TN_DIM_UNKNOWN;
    s.dims[axis] = n;
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &s);
}

typedef struct dft {
    tn_fft fft;
    const tern_tensor *x;
    tern_tensor *y;
    int64_t in_n, out_n, inner; /* elements along the axis; lines beside each other */
    int parts, out_parts;
    dft_mode mode;
    tn_complex *work; /* per worker: n of the line, then scratch */
    size_t work_step;
} dft;

static void load_line(const dft *d, int64_t line, tn_complex *v) {
    int64_t at = (line / d->inner * d->in_n * d->inner + line % d->inner) * d->parts, step = d->inner * d->parts;
    int64_t n = d->fft.n, half = n / 2 + 1;
    bool mirrored = d->mode.inverse && d->mode.onesided;
    int64_t given = TN_MIN(d->in_n, mirrored ? half : n);
    memset(v, 0, (size_t)n * sizeof *v);
    for (int64_t k = 0; k < given; k++) {
        double p[2] = {0, 0};
        tn_row_load_f64(d->x->dtype, d->x->data, at + k * step, d->parts, p);
        v[k] = (tn_complex){p[0], p[1]};
    }
    if (!mirrored) return;
    /* The spectrum of a real signal: X[n - k] is the conjugate of X[k]. */
    v[0].im = 0;
    if (n % 2 == 0) v[n / 2].im = 0;
    for (int64_t k = half; k < n; k++) v[k] = (tn_complex){v[n - k].re, -v[n - k].im};
}

static void store_line(const dft *d, int64_t line, const tn_complex *v) {
    int64_t at = (line / d->inner * d->out_n * d->inner + line % d->inner) * d->out_parts;
    int64_t step = d->inner * d->out_parts;
    double scale = d->mode.inverse ? 1 / (double)d->fft.n : 1;
    for (int64_t k = 0; k < d->out_n; k++) {
        double p[2] = {v[k].re * scale, v[k].im * scale};
        tn_row_store_f64(d->y->dtype, d->y->data, at + k * step, d->out_parts, p);
    }
}

static void dft_task(void *context, int64_t begin, int64_t end, int worker) {
    const dft *d = context;
    tn_complex *v = d->work + (size_t)worker * d->work_step;
    for (int64_t line = begin; line < end; line++) {
        load_line(d, line, v);
        tn_fft_run(&d->fft, v, d->mode.inverse, v + d->fft.n);
        store_line(d, line, v);
    }
}

/* Room for a line and the transform's scratch for each of `threads` workers. */
static tn_complex *alloc_work(const tn_fft *f, int threads, size_t *step, tern_error *err) {
    size_t bytes;
    *step = (size_t)f->n + f->scratch;
    bool ok = tn_mul_size(*step, sizeof(tn_complex), &bytes) && tn_mul_size(bytes, (size_t)threads, &bytes);
    tn_complex *work = ok ? tn_alloc(bytes) : NULL;
    if (!work) tn_fail_oom(err, ok ? bytes : SIZE_MAX);
    return work;
}

static tern_status run_dft(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0, last = x->shape.rank - 1;
    dft d = {.x = x, .mode = dft_mode_of(c->node), .parts = (int)x->shape.dims[last]};
    TN_TRY(dft_axis(c->node, tn_args_in(c, 2), x->shape.rank, &axis, c->err));
    d.in_n = x->shape.dims[axis];
    int64_t n = d.mode.onesided && d.mode.inverse ? 2 * (d.in_n - 1) : d.in_n;
    TN_TRY(run_scalar(c, 1, "dft_length", &n));
    if (n < 1) return tn_run_fail(c, TERN_SHAPE_MISMATCH, "a transform of %lld elements", (long long)n);
    d.y = c->out[0];
    if (tn_tensor_bytes(d.y) == 0) return TERN_OK;
    d.out_n = d.y->shape.dims[axis];
    d.out_parts = (int)d.y->shape.dims[last];
    d.inner = tn_shape_count_range(&x->shape, axis + 1, last);
    int64_t lines = tn_shape_count_range(&x->shape, 0, axis) * d.inner;
    int threads = lines * n < 4096 ? 1 : c->threads;
    TN_TRY(tn_fft_init(&d.fft, n, c->err));
    d.work = alloc_work(&d.fft, threads, &d.work_step, c->err);
    if (d.work) tn_parallel_for(threads, lines, dft_task, &d);
    tn_fft_release(&d.fft);
    tern_status s = d.work ? TERN_OK : TERN_OUT_OF_MEMORY;
    tn_free(d.work);
    return s;
}

const tn_op tn_op_dft = TN_ARGS_OP(infer_dft, run_dft, 1, 3, 1, 1, 0);

/* ---- STFT ---------------------------------------------------------------------------------------------------- */

static tern_status check_stft_signal(tn_infer *c, const tn_shape *s, bool onesided) {
    if (s->rank != 3 && s->rank != 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the signal has rank %d instead of 3", s->rank);
    if (s->rank == 3 && bad_parts(s->dims[2]))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the last dim of the signal is %lld, not 1 or 2",
                             (long long)s->dims[2]);
    if (s->rank == 3 && s->dims[2] == 2 && onesided)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "a onesided transform of a complex signal");
    return TERN_OK;
}

static bool stft_onesided(const tn_node *n) { return tn_attr_i(n, "onesided", 1) != 0; }

/* Elements of a transform: frame_length, else the window, else the signal. Unknown when that is. */
static tern_status infer_stft_length(tn_infer *c, int64_t signal, int64_t given, int64_t *out) {
    tn_shape w;
    *out = tn_args_has(c, 3) ? (given > 0 ? given : TN_DIM_UNKNOWN) : tn_args_has(c, 2) ? TN_DIM_UNKNOWN : signal;
    if (!tn_args_shape(c, 2, &w)) return TERN_OK;
    if (w.rank != 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the window has rank %d instead of 1", w.rank);
    if (tn_args_has(c, 3) && given > 0 && tn_dim_known(w.dims[0]) && w.dims[0] > given)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "a window of %lld elements for frames of %lld",
                             (long long)w.dims[0], (long long)given);
    if (!tn_args_has(c, 3)) *out = w.dims[0];
    return TERN_OK;
}

static tern_status infer_stft(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    if (tn_args_has(c, 2)) {
        TN_TRY(tn_args_need(c, 2, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, 0, 2));
    }
    int64_t step, given, length, signal = TN_DIM_UNKNOWN;
    TN_TRY(infer_scalar(c, 1, "frame_step", &step));
    TN_TRY(infer_scalar(c, 3, "frame_length", &given));
    tn_shape s, out = tn_args_unknown_dims(4);
    if (tn_args_shape(c, 0, &s)) {
        TN_TRY(check_stft_signal(c, &s, stft_onesided(c->node)));
        out.dims[0] = s.dims[0];
        signal = s.dims[1];
    }
    TN_TRY(infer_stft_length(c, signal, given, &length));
    out.dims[3] = 2;
    if (tn_dim_known(length)) {
        out.dims[2] = stft_onesided(c->node) ? length / 2 + 1 : length;
        if (length < 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "frames of %lld elements", (long long)length);
        if (tn_dim_known(signal) && length > signal)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "frames of %lld elements in a signal of %lld",
                                 (long long)length, (long long)signal);
        if (tn_dim_known(signal) && step > 0) out.dims[1] = 1 + (signal - length) / step;
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

typedef struct stft {
    tn_fft fft;
    const tern_tensor *x, *window;
    tern_tensor *y;
    int64_t signal, step, frames, bins, width; /* width: elements of the window, <= fft.n */
    int parts;
    double *weights; /* width; NULL: all 1 */
    tn_complex *work;
    size_t work_step;
} stft;

static void stft_task(void *context, int64_t begin, int64_t end, int worker) {
    const stft *s = context;
    tn_complex *v = s->work + (size_t)worker * s->work_step;
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t / s->frames * s->signal + t % s->frames * s->step;
        memset(v, 0, (size_t)s->fft.n * sizeof *v);
        for (int64_t k = 0; k < s->width; k++) {
            double p[2] = {0, 0}, w = s->weights ? s->weights[k] : 1;
            tn_row_load_f64(s->x->dtype, s->x->data, (at + k) * s->parts, s->parts, p);
            v[k] = (tn_complex){p[0] * w, p[1] * w};
        }
        tn_fft_run(&s->fft, v, false, v + s->fft.n);
        tn_row_store_f64(s->y->dtype, s->y->data, t * s->bins * 2, s->bins * 2, &v[0].re);
    }
}

static tern_status stft_frames(tn_run *c, stft *s, int64_t *length) {
    TN_TRY(run_scalar(c, 1, "frame_step", &s->step));
    *length = s->window ? s->window->shape.dims[0] : s->signal;
    TN_TRY(run_scalar(c, 3, "frame_length", length));
    s->width = s->window ? s->window->shape.dims[0] : *length;
    if (*length < 1 || *length > s->signal || s->width > *length)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "frames of %lld elements, a window of %lld, a signal of %lld",
                           (long long)*length, (long long)s->width, (long long)s->signal);
    s->frames = 1 + (s->signal - *length) / s->step;
    s->bins = stft_onesided(c->node) ? *length / 2 + 1 : *length;
    return TERN_OK;
}

static tern_status load_window(stft *s, tern_error *err) {
    if (!s->window) return TERN_OK;
    s->weights = tn_alloc_array((size_t)s->width, sizeof *s->weights);
    if (!s->weights) return tn_fail_oom(err, (size_t)s->width * sizeof *s->weights);
    tn_row_load_f64(s->window->dtype, s->window->data, 0, s->width, s->weights);
    return TERN_OK;
}

static tern_status run_stft(tn_run *c) {
    const tern_tensor *x = c->in[0];
    stft s = {.x = x, .window = tn_args_in(c, 2), .signal = x->shape.dims[1]};
    s.parts = x->shape.rank == 3 ? (int)x->shape.dims[2] : 1;
    int64_t length = 0, batch = x->shape.dims[0];
    TN_TRY(stft_frames(c, &s, &length));
    s.y = c->out[0];
    if (tn_tensor_bytes(s.y) == 0) return TERN_OK;
    int threads = batch * s.frames * length < 4096 ? 1 : c->threads;
    TN_TRY(tn_fft_init(&s.fft, length, c->err));
    tern_status status = load_window(&s, c->err);
    if (status == TERN_OK) {
        s.work = alloc_work(&s.fft, threads, &s.work_step, c->err);
        if (s.work)
            tn_parallel_for(threads, batch * s.frames, stft_task, &s);
        else
            status = TERN_OUT_OF_MEMORY;
    }
    tn_fft_release(&s.fft);
    tn_free(s.weights);
    tn_free(s.work);
    return status;
}

const tn_op tn_op_stft = TN_ARGS_OP(infer_stft, run_stft, 2, 4, 1, 1, 0);
