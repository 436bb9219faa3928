/* POST /v2/models/{m}[/versions/{v}]/infer */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "serve/infer.h"
#include "tensor/tensor.h"

/* Answers that take longer than copying this are not written by the executor, which has batches to run. */
#define LARGE_ANSWER (1 << 20)
/* Writing a number as JSON takes so many times as long as copying it. */
#define JSON_WORK 16

/* ---- the answer --------------------------------------------------------------------------------------------- */

typedef struct ranked {
    double score;
    size_t index;
} ranked;

/* The highest first, NaN last, equals by index. */
static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    bool no_x = isnan(x->score), no_y = isnan(y->score);
    if (no_x != no_y) return no_x ? 1 : -1;
    if (x->score != y->score && !no_x) return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool has_scores(const tern_tensor *t) {
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR) return false;
    tern_dtype dtype = tern_tensor_dtype(t);
    return serve_datatype(dtype) && dtype != TERN_STRING && dtype != TERN_BOOL;
}

static tern_status put_class(const serve_infer *q, const ranked *r, bool whole, tern_tensor *out, int64_t at,
                             tern_error *err) {
    const char *label = tern_labels_get(&q->version->labels, r->index);
    char text[800]; /* a double has up to 309 digits before its point */
    snprintf(text, sizeof text, "%.*f:%zu%s%.300s", whole ? 0 : 6, r->score, r->index, label ? ":" : "",
             label ? label : "");
    return tern_tensor_set_string(out, at, text, strlen(text), err);
}

/* The classification extension: of each row the best classes, as "score:index:label" in a BYTES tensor. Rows are
 * sorted as a whole: their length and the number of classes are the client's to choose. */
static tern_status classes_of(const serve_infer *q, const tern_tensor *t, int64_t k, tern_tensor **out,
                              tern_error *err) {
    if (!has_scores(t)) return tn_fail(err, TERN_UNSUPPORTED, "classification is for outputs that are numbers");
    bool batch = q->version->batchable;
    int64_t rows = batch && tern_tensor_rank(t) > 0 ? tern_tensor_dims(t)[0] : 1;
    size_t n = rows > 0 ? (size_t)(tern_tensor_count(t) / rows) : 0;
    k = TN_MIN(k, (int64_t)n);
    int64_t dims[2] = {rows, k};
    TN_TRY(tern_tensor_create(out, TERN_STRING, batch ? 2 : 1, batch ? dims : dims + 1, err));
    ranked *all = tn_alloc_array(n + 1, sizeof *all);
    if (!all) return tn_fail_oom(err, n * sizeof *all);
    tern_dtype dtype = tern_tensor_dtype(t);
    bool whole = dtype != TERN_FLOAT && dtype != TERN_DOUBLE && dtype != TERN_FLOAT16 && dtype != TERN_BFLOAT16;
    tern_status status = TERN_OK;
    for (int64_t i = 0; i < rows && status == TERN_OK; i++) {
        for (size_t j = 0; j < n; j++) all[j] = (ranked){tn_tensor_get_f64(t, i * (int64_t)n + (int64_t)j), j};
        qsort(all, n, sizeof *all, by_score);
        for (int64_t j = 0; j < k && status == TERN_OK; j++)
            status = put_class(q, &all[j], whole, *out, i * k + j, err);
    }
    tn_free(all);
    return status;
}

/* Bytes as the binary extension has them. */
static void put_binary(tn_text *to, const tern_tensor *t) {
    if (tern_tensor_dtype(t) != TERN_STRING) {
        tn_text_add_str(to, tern_tensor_const_data(t), tern_tensor_bytes(t));
        return;
    }
    const tern_string *s = tern_tensor_const_data(t);
    for (int64_t i = 0; i < tern_tensor_count(t); i++) {
        uint32_t n = (uint32_t)s[i].len;
        tn_text_add_str(to, (const char *)&n, sizeof n);
        tn_text_add_str(to, s[i].data, s[i].len);
    }
}

static size_t binary_size(const tern_tensor *t) {
    if (tern_tensor_dtype(t) != TERN_STRING) return tern_tensor_bytes(t);
    const tern_string *s = tern_tensor_const_data(t);
    size_t sum = 0;
    for (int64_t i = 0; i < tern_tensor_count(t); i++) sum += sizeof(uint32_t) + s[i].len;
    return sum;
}

/* What JSON says of an output; binary tensors follow it. */
static tern_status put_output(serve_infer *q, const serve_wanted *w, tern_error *err) {
    tern_tensor *t = q->outputs[w->index];
    const char *name = q->version->output_names[w->index];
    if (w->classes > 0) {
        tern_tensor *classes = NULL;
        tern_status status = classes_of(q, t, w->classes, &classes, err);
        tern_tensor_free(t);
        q->outputs[w->index] = t = classes;
        if (status != TERN_OK) return status;
    }
    const char *datatype = tern_tensor_kind(t) == TERN_KIND_TENSOR ? serve_datatype(tern_tensor_dtype(t)) : NULL;
    if (!datatype)
        return tn_fail(err, TERN_UNSUPPORTED, "output '%s' is of a type that the protocol can not carry", name);
    tn_text *out = &q->x->out;
    serve_put_open(out, NULL, '{');
    serve_put_string(out, "name", name);
    serve_put_string(out, "datatype", datatype);
    serve_put_dims(out, "shape", tern_tensor_dims(t), tern_tensor_rank(t));
    if (w->binary) {
        serve_put_open(out, "parameters", '{');
        serve_put_u64(out, "binary_data_size", binary_size(t));
        serve_put_close(out, '}');
    } else {
        TN_TRY(serve_put_tensor(out, "data", t, name, err));
    }
    serve_put_close(out, '}');
    return TERN_OK;
}

/* The binary tensors, in the order of the JSON. */
static void put_tail(serve_infer *q) {
    tn_text *out = &q->x->out;
    size_t sum = 0;
    for (int i = 0; i < q->n_wanted; i++) {
        if (q->wanted[i].binary) sum += binary_size(q->outputs[q->wanted[i].index]);
    }
    tn_text_reserve(out, sum); /* a failure stays in `out` */
    for (int i = 0; i < q->n_wanted; i++) {
        if (q->wanted[i].binary) put_binary(out, q->outputs[q->wanted[i].index]);
    }
}

tern_status serve_infer_answer(serve_infer *q, tern_error *err) {
    serve_exchange *x = q->x;
    bool binary = false;
    serve_put_open(&x->out, NULL, '{');
    serve_put_string(&x->out, "model_name", q->version->name);
    serve_put_string(&x->out, "model_version", q->version->number_text);
    if (q->id) serve_put_string(&x->out, "id", q->id);
    serve_put_open(&x->out, "outputs", '[');
    tern_status status = TERN_OK;
    for (int i = 0; i < q->n_wanted && status == TERN_OK; i++) {
        status = put_output(q, &q->wanted[i], err);
        binary = binary || q->wanted[i].binary;
    }
    serve_put_close(&x->out, ']');
    serve_put_close(&x->out, '}');
    x->status = 200;
    x->type = binary ? "application/octet-stream" : "application/json";
    if (status != TERN_OK || !binary) return status;
    x->header_length = (int64_t)x->out.len;
    put_tail(q);
    return TERN_OK;
}

/* ---- the way there ------------------------------------------------------------------------------------------ */

static void end(serve_infer *q) {
    serve_exchange *x = q->x;
    serve_infer_release(q);
    tn_free(q);
    serve_done(x);
}

static size_t output_bytes(const serve_infer *q) {
    size_t sum = 0;
    for (int i = 0; i < q->version->n_outputs; i++) {
        const tern_tensor *t = q->outputs[i];
        if (t && tern_tensor_kind(t) == TERN_KIND_TENSOR) sum += tern_tensor_bytes(t);
    }
    return sum;
}

/* What writing the answer costs, in bytes copied. */
static size_t answer_work(const serve_infer *q) {
    size_t sum = 0;
    for (int i = 0; i < q->n_wanted; i++) {
        const serve_wanted *w = &q->wanted[i];
        const tern_tensor *t = q->outputs[w->index];
        if (!t || tern_tensor_kind(t) != TERN_KIND_TENSOR) continue;
        size_t bytes = tern_tensor_bytes(t);
        sum += w->binary && w->classes == 0 ? bytes : bytes * JSON_WORK;
    }
    return sum;
}

static void write_answer(serve_exchange *x) {
    serve_infer *q = x->state;
    serve_stats *stats = q->version->stats;
    tern_error err;
    uint64_t begin = tn_clock_ns();
    tern_status status = serve_infer_answer(q, &err);
    /* The text takes the place of the tensors, which go with q. */
    serve_uncount_answer(x, atomic_load(&x->answered));
    if (status == TERN_OK) status = serve_count_answer(x, x->out.len, &err);
    x->times.output += tn_clock_ns() - begin;
    x->times.request = tn_clock_ns() - x->begin_ns;
    if (status == TERN_OK) {
        serve_stats_success(stats, &x->times, TN_MAX(q->job.rows, 1));
    } else {
        serve_failed(x, &err);
        bool full = status == TERN_CANCELLED;
        serve_stats_failure(stats, full ? SERVE_FAILED_REJECTED : SERVE_FAILED_OTHER, x->times.request);
    }
    end(q);
}

static void job_done(serve_job *job) {
    serve_infer *q = job->context;
    serve_exchange *x = q->x;
    x->times.queue = job->begin_ns - job->queued_ns;
    x->times.input += job->infer_ns - job->begin_ns;
    x->times.infer = job->inferred_ns - job->infer_ns;
    x->times.output = job->end_ns - job->inferred_ns;
    x->times.batch = job->batch;
    size_t bytes = job->status == TERN_OK ? output_bytes(q) : 0;
    bool late = job->status == TERN_CANCELLED, full = false;
    if (job->status == TERN_OK) {
        job->status = serve_count_answer(x, bytes, &job->err);
        full = job->status != TERN_OK;
    }
    if (job->status == TERN_OK) {
        if (answer_work(q) > LARGE_ANSWER) {
            serve_later(x, write_answer);
        } else {
            write_answer(x);
        }
        return;
    }
    serve_stats_failure(q->version->stats,
                        late   ? SERVE_FAILED_CANCELED
                        : full ? SERVE_FAILED_REJECTED
                               : SERVE_FAILED_BACKEND,
                        tn_clock_ns() - x->begin_ns);
    serve_failed(x, &job->err);
    if (late) {
        x->status = 504;
        x->retry_after = 0;
    }
    end(q);
}

/* A client may shorten the model's limit, not lengthen it (Triton's allow_timeout_override); 0: no limit. */
static int64_t timeout_of(const serve_infer *q) {
    const serve_config *c = &q->version->config;
    if (c->no_timeout_of_client || q->timeout_us <= 0) return c->timeout_us;
    return c->timeout_us > 0 ? TN_MIN(q->timeout_us, c->timeout_us) : q->timeout_us;
}

void serve_v2_infer(serve_exchange *x, tn_str model, tn_str version) {
    serve_version *v = serve_find_version(x, model, version);
    if (!v) {
        serve_done(x);
        return;
    }
    serve_infer *q = tn_alloc(sizeof *q);
    if (!q) {
        serve_version_unref(v);
        serve_error(x, 503, "no memory");
        serve_done(x);
        return;
    }
    tern_error err;
    serve_stats_begin(v->stats);
    tern_status status = serve_infer_parse(q, x, v, &err);
    x->state = q;
    if (q->id) snprintf(x->id, sizeof x->id, "%.60s", q->id);
    uint64_t now = tn_clock_ns();
    x->times.input = now - x->begin_ns;
    if (status != TERN_OK) {
        serve_failed(x, &err);
        serve_stats_failure(v->stats, SERVE_FAILED_OTHER, now - x->begin_ns);
        end(q);
        return;
    }
    int64_t timeout = timeout_of(q);
    q->job.version = v;
    q->job.inputs = q->inputs;
    q->job.outputs = q->outputs;
    q->job.done = job_done;
    q->job.context = q;
    if (timeout > 0) q->job.deadline_ns = x->begin_ns + (uint64_t)TN_MIN(timeout, INT64_C(1) << 50) * 1000;
    if (serve_batcher_submit(x->server->batcher, &q->job)) return;
    serve_stats_failure(v->stats, SERVE_FAILED_REJECTED, now - x->begin_ns);
    x->retry_after = 1;
    serve_error(x, 503, "model '%s' has as many requests waiting as it may have; try again later", v->name);
    end(q);
}
