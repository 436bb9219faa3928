#include "serve/warmup.h"

#include <string.h>

#include "thread/thread.h"

#define BUDGET_NS 2000000000u
#define SHORT_NS  200000   /* below, a measurement says little and a run costs little */
#define SAVES     0.95     /* of a row's time in smaller batches, what it may take in one that makes all of them wait */
#define TRIES_NS  50000000 /* short runs are tried more than twice */

/* Dims of input i for that many rows; false: not known. */
static bool dims_for(const serve_version *v, int i, int64_t rows, int64_t *dims) {
    const tern_value_info *in = &v->inputs[i];
    if (in->rank < 0) return false;
    for (int d = 0; d < in->rank; d++) dims[d] = in->dims[d];
    if (in->rank > 0 && dims[0] < 0) dims[0] = rows;
    if (in->rank == 4 && v->task != SERVE_TASK_NONE) {
        const tern_preprocess *p = v->task == SERVE_TASK_CLASSIFY ? &v->classifier.preprocess : &v->detector.preprocess;
        bool nhwc = p->layout == TERN_LAYOUT_NHWC;
        int64_t *c = &dims[nhwc ? 3 : 1], *h = &dims[nhwc ? 1 : 2], *w = &dims[nhwc ? 2 : 3];
        if (*c < 0) *c = tern_preprocess_channels(p);
        if (*h < 0 && p->height > 0) *h = p->height;
        if (*w < 0 && p->width > 0) *w = p->width;
    }
    for (int d = 0; d < in->rank; d++) {
        if (dims[d] < 0) return false;
    }
    return true;
}

/* Numbers in [0, 1): different in every element, and harmless as indices. */
static void fill(tern_tensor *t, uint64_t seed) {
    size_t n = (size_t)tern_tensor_count(t);
    void *data = tern_tensor_data(t);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        float value = (float)(seed >> 40) * 0x1p-24f;
        switch (tern_tensor_dtype(t)) {
        case TERN_FLOAT:
            ((float *)data)[i] = value;
            break;
        case TERN_DOUBLE:
            ((double *)data)[i] = (double)value;
            break;
        case TERN_FLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_f16(value);
            break;
        case TERN_BFLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_bf16(value);
            break;
        case TERN_UINT8:
        case TERN_INT8:
        case TERN_BOOL:
            ((uint8_t *)data)[i] = value < 0.5f;
            break;
        default:
            break; /* zero */
        }
    }
}

typedef struct trial {
    serve_job job;
    tern_tensor **inputs, **outputs;
} trial;

static void trial_release(trial *t, const serve_version *v) {
    for (int i = 0; t->inputs && i < v->n_inputs; i++) tern_tensor_free(t->inputs[i]);
    for (int i = 0; t->outputs && i < v->n_outputs; i++) tern_tensor_free(t->outputs[i]);
    tn_free(t->inputs);
    tn_free(t->outputs);
    *t = (trial){0};
}

/* *known false: the shapes are not. */
static tern_status trial_init(trial *t, serve_version *v, int64_t rows, uint64_t seed, bool *known, tern_error *err) {
    *t = (trial){.job = {.version = v, .rows = rows}};
    *known = true;
    t->job.inputs = t->inputs = tn_calloc((size_t)v->n_inputs + 1, sizeof *t->inputs);
    t->job.outputs = t->outputs = tn_calloc((size_t)v->n_outputs + 1, sizeof *t->outputs);
    if (!t->inputs || !t->outputs) return tn_fail_oom(err, 0);
    for (int i = 0; i < v->n_inputs; i++) {
        int64_t dims[TERN_MAX_RANK];
        *known = *known && dims_for(v, i, rows, dims);
        if (!*known) return TERN_OK;
        TN_TRY(tern_tensor_create(&t->inputs[i], v->inputs[i].dtype, v->inputs[i].rank, dims, err));
        fill(t->inputs[i], seed + (uint64_t)i);
    }
    return TERN_OK;
}

static bool same_outputs(const trial *a, const trial *b, const serve_version *v) {
    for (int i = 0; i < v->n_outputs; i++) {
        const tern_tensor *x = a->outputs[i], *y = b->outputs[i];
        size_t bytes = tern_tensor_bytes(x);
        if (bytes != tern_tensor_bytes(y) || tern_tensor_dtype(x) != tern_tensor_dtype(y)) return false;
        if (bytes && memcmp(tern_tensor_const_data(x), tern_tensor_const_data(y), bytes) != 0) return false;
    }
    return true;
}

/* Two rows, alone and together. */
static tern_status try_batch(serve_version *v, bool *independent, tern_error *err) {
    trial t[4] = {0};
    bool known = true;
    tern_status status = TERN_OK;
    for (int i = 0; i < 4 && status == TERN_OK; i++) {
        status = trial_init(&t[i], v, 1, 1 + (uint64_t)(i % 2), &known, err);
    }
    *independent = false;
    if (status == TERN_OK && known) {
        serve_job *together[] = {&t[2].job, &t[3].job}, *first = &t[0].job, *second = &t[1].job;
        serve_run_jobs(&first, 1);
        serve_run_jobs(&second, 1);
        serve_run_jobs(together, 2);
        bool ran = true;
        for (int i = 0; i < 4; i++) ran = ran && t[i].job.status == TERN_OK;
        *independent = ran && t[2].job.batch == 2 && same_outputs(&t[0], &t[2], v) && same_outputs(&t[1], &t[3], v);
    }
    for (int i = 0; i < 4; i++) trial_release(&t[i], v);
    return status;
}

static void no_batching(serve_version *v) {
    v->batchable = false;
    v->max_batch = v->sizes[0] = v->n_sizes = 1;
}

static tern_status settle_batching(serve_version *v, tern_error *err) {
    bool independent;
    if (!v->batchable || v->max_batch == 1) return TERN_OK;
    TN_TRY(try_batch(v, &independent, err));
    if (independent) return TERN_OK;
    trial t;
    bool known;
    tern_status status = trial_init(&t, v, 1, 1, &known, err);
    trial_release(&t, v);
    TN_TRY(status);
    /* Where it can not be tried, whoever configured a batch knows. */
    if (v->config.batch_dim && !known) return TERN_OK;
    if (v->config.batch_dim) {
        return tn_fail(err, TERN_UNSUPPORTED,
                       "a largest batch is configured, but a row's result depends on the other rows of its batch");
    }
    no_batching(v);
    return TERN_OK;
}

/* Files may leave the types of outputs open. */
static void note_types(serve_version *v, const trial *t) {
    for (int i = 0; i < v->n_outputs; i++) {
        if (v->outputs[i].dtype != TERN_UNDEFINED || v->outputs[i].kind != TERN_KIND_TENSOR) continue;
        v->outputs[i].kind = tern_tensor_kind(t->outputs[i]);
        if (v->outputs[i].kind == TERN_KIND_TENSOR) v->outputs[i].dtype = tern_tensor_dtype(t->outputs[i]);
    }
}

void serve_keep_sizes(serve_version *v, const uint64_t *times, int tested) {
    double best = (double)times[0];
    int n = 1;
    for (int i = 1; i < v->n_sizes; i++) {
        double row = i < tested ? (double)times[i] / (double)v->sizes[i] : 0;
        bool keep = i < tested && (times[i] < SHORT_NS || row <= best * SAVES);
        for (int k = 0; k < v->config.n_preferred; k++) keep = keep || v->config.preferred[k] == v->sizes[i];
        if (keep) v->sizes[n++] = v->sizes[i];
        if (keep && i < tested) best = TN_MIN(best, row);
    }
    v->n_sizes = n;
}

static void release_outputs(serve_job *job) {
    for (int i = 0; i < job->version->n_outputs; i++) {
        tern_tensor_free(job->outputs[i]);
        job->outputs[i] = NULL;
    }
}

/* The best of some runs, on one thread, as batches are run that others wait behind. */
static uint64_t time_of(serve_job *const *jobs, int count) {
    uint64_t best = UINT64_MAX, begin = tn_clock_ns();
    bool before = tn_thread_alone(true);
    for (int i = 0; i < 2 || (i < 8 && tn_clock_ns() - begin < TRIES_NS); i++) {
        uint64_t start = tn_clock_ns();
        serve_run_jobs(jobs, count);
        best = TN_MIN(best, tn_clock_ns() - start);
        for (int k = 0; k < count; k++) release_outputs(jobs[k]);
    }
    tn_thread_alone(before);
    return best;
}

/* A batch of so many requests of a row each: what they are copied together for counts. *good: it ran. */
static tern_status try_size(serve_version *v, int size, bool *known, bool *good, uint64_t *time, tern_error *err) {
    trial *t = tn_calloc((size_t)size, sizeof *t);
    serve_job **jobs = tn_calloc((size_t)size, sizeof *jobs);
    tern_status status = t && jobs ? TERN_OK : tn_fail_oom(err, 0);
    *known = true;
    for (int i = 0; i < size && status == TERN_OK && *known; i++) {
        status = trial_init(&t[i], v, 1, 1 + (uint64_t)i, known, err);
        jobs[i] = &t[i].job;
    }
    if (status == TERN_OK && *known) {
        serve_run_jobs(jobs, size);
        /* A failure is not held against the model: the numbers are made up. */
        for (int i = 0; i < size; i++) *good = *good && jobs[i]->status == TERN_OK && jobs[i]->batch == size;
        if (*good) note_types(v, &t[0]);
        for (int i = 0; i < size; i++) release_outputs(jobs[i]);
        if (*good && v->n_sizes > 1) *time = time_of(jobs, size);
    }
    for (int i = 0; t && i < size; i++) trial_release(&t[i], v);
    tn_free(t);
    tn_free(jobs);
    return status;
}

static tern_status warm(serve_version *v, tern_error *err) {
    TN_TRY(settle_batching(v, err));
    uint64_t end = tn_clock_ns() + BUDGET_NS, times[SERVE_MAX_SIZES];
    int tested = 0;
    bool good = true, known = true;
    for (; tested < v->n_sizes && tn_clock_ns() < end; tested++) {
        TN_TRY(try_size(v, (int)v->sizes[tested], &known, &good, &times[tested], err));
        if (!known) return TERN_OK;
    }
    if (good && v->n_sizes > 1) serve_keep_sizes(v, times, tested);
    return TERN_OK;
}

tern_status serve_warm_up(serve_version *v, tern_error *err) {
    if (v->config.no_warmup) {
        if (!v->config.batch_dim) no_batching(v);
        return TERN_OK;
    }
    /* Not counted. */
    serve_stats *stats = v->stats, mine;
    if (!serve_stats_init(&mine)) return tn_fail(err, TERN_INTERNAL, "a mutex can not be made");
    v->stats = &mine;
    tern_status status = warm(v, err);
    v->stats = stats;
    serve_stats_release(&mine);
    return status;
}
