/* POST /v1/models/{m}:classify and :detect. Each picture is decoded, made into the network's input and queued by
 * itself, so that the pictures of a request are batched like requests are; when the last one comes back, the answer is
 * made. */
#include <math.h>
#include <stdio.h>

#include "serve/upload.h"
#include "vision/draw/draw.h"

#define DEFAULT_TOP     5
#define JPEG_QUALITY    90
#define TOTAL_PICTURES  4                   /* times the largest picture, of all requests together */
#define MAX_MASK_PIXELS ((size_t)256 << 20) /* of all masks of a picture together */
#define DEFAULT_PIXELS  ((size_t)64 << 20)  /* vision's */

typedef struct pictures pictures;

typedef struct item {
    pictures *all;
    const char *name;
    tn_str bytes;
    tern_image image;
    int width, height;
    size_t pixels; /* counted in the server */
    tern_detector detector;
    tern_detector_pass *pass;
    tern_tensor *input;
    tern_tensor *outputs[TERN_MAX_HEAD_OUTPUTS];
    serve_job job;
    bool queued, rejected;
    tern_status status;
    tern_error err;
    uint64_t decode_ns;
} item;

struct pictures {
    serve_exchange *x;
    serve_version *version;
    serve_upload upload;
    bool detect;
    const char *format; /* "x.jpg" or "x.png": the annotated picture is wanted; NULL: JSON */
    item *items;
    int count;
    atomic_int left; /* items not back yet, and one for who hands them out */
    uint64_t post_ns;
};

static void drop_image(item *k) {
    tern_image_release(&k->image);
    atomic_fetch_sub(&k->all->x->server->pixels, k->pixels);
    k->pixels = 0;
}

static void release(pictures *p) {
    for (int i = 0; p->items && i < p->count; i++) {
        item *k = &p->items[i];
        if (k->all) drop_image(k);
        /* A detector's input is its pass's. */
        if (k->pass) {
            tern_detector_pass_free(k->pass);
        } else {
            tern_tensor_free(k->input);
        }
        for (int o = 0; o < p->version->n_outputs; o++) tern_tensor_free(k->outputs[o]);
    }
    tn_free(p->items);
    serve_version_unref(p->version);
    tn_free(p);
}

static void end(pictures *p) {
    serve_exchange *x = p->x;
    tern_error err;
    release(p);
    /* The outputs are gone, what was made of them is there. */
    serve_uncount_answer(x, atomic_load(&x->answered));
    if (x->status == 200 && serve_count_answer(x, x->out.len, &err) != TERN_OK) serve_failed(x, &err);
    serve_done(x);
}

/* ---- one picture -------------------------------------------------------------------------------------------- */

static tern_status decode(item *k, tern_error *err) {
    const tern_image_options options = {.max_pixels = k->all->x->server->options->max_pixels};
    TN_TRY(tern_image_decode(&k->image, k->bytes.data, k->bytes.len, &options, err));
    k->width = k->image.width;
    k->height = k->image.height;
    k->pixels = (size_t)k->width * (size_t)k->height;
    serve_server *s = k->all->x->server;
    size_t most = TOTAL_PICTURES * (size_t)(options.max_pixels ? options.max_pixels : DEFAULT_PIXELS);
    if (atomic_fetch_add(&s->pixels, k->pixels) + k->pixels <= most) return TERN_OK;
    drop_image(k);
    k->rejected = true;
    return tn_fail(err, TERN_CANCELLED, "too many large pictures at the moment; try again later");
}

static tern_status make_input(item *k, tern_error *err) {
    const pictures *p = k->all;
    const serve_version *v = p->version;
    if (!p->detect) {
        TN_TRY(tern_classifier_input(&v->classifier, &k->image, 1, &k->input, err));
        drop_image(k);
        return TERN_OK;
    }
    k->detector = v->detector;
    if (p->upload.conf >= 0) k->detector.options.conf = p->upload.conf;
    if (p->upload.iou >= 0) k->detector.options.iou = p->upload.iou;
    const tern_tensor *input;
    TN_TRY(tern_detector_begin(&k->detector, &k->image, &k->pass, &input, err));
    k->input = (tern_tensor *)(uintptr_t)input;
    return TERN_OK;
}

static void write_answer(serve_exchange *x);

static void one_back(pictures *p) {
    if (atomic_fetch_sub(&p->left, 1) == 1) serve_later(p->x, write_answer);
}

static void job_done(serve_job *job) {
    item *k = job->context;
    k->status = job->status;
    if (job->status != TERN_OK) k->err = job->err;
    size_t bytes = 0;
    for (int i = 0; k->status == TERN_OK && i < job->version->n_outputs; i++) {
        if (tern_tensor_kind(k->outputs[i]) == TERN_KIND_TENSOR) bytes += tern_tensor_bytes(k->outputs[i]);
    }
    if (bytes) {
        k->status = serve_count_answer(k->all->x, bytes, &k->err);
        k->rejected = k->status == TERN_CANCELLED;
    }
    one_back(k->all);
}

static void start(item *k) {
    pictures *p = k->all;
    serve_version *v = p->version;
    uint64_t begin = tn_clock_ns();
    k->status = decode(k, &k->err);
    if (k->status == TERN_OK) k->status = make_input(k, &k->err);
    k->decode_ns = tn_clock_ns() - begin;
    if (k->status == TERN_OK) {
        k->job = (serve_job){.version = v,
                             .inputs = &k->input,
                             .outputs = k->outputs,
                             .rows = v->batchable ? 1 : 0,
                             .done = job_done,
                             .context = k};
        if (v->config.timeout_us) k->job.deadline_ns = p->x->begin_ns + (uint64_t)v->config.timeout_us * 1000;
        k->queued = serve_batcher_submit(p->x->server->batcher, &k->job);
        if (k->queued) return;
        k->rejected = true;
        k->status = tn_fail(&k->err, TERN_CANCELLED,
                            "model '%s' has as many requests waiting as it may have; try again later", v->name);
    }
    one_back(p);
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

/* Logits become probabilities; numbers that are some already stay. */
static void to_probabilities(const serve_version *v, float *scores, size_t n) {
    double sum = 0;
    bool in_range = true;
    for (size_t i = 0; i < n; i++) {
        sum += (double)scores[i];
        in_range = in_range && scores[i] >= 0 && scores[i] <= 1;
    }
    bool wanted = v->config.softmax < 0 ? !in_range || fabs(sum - 1) > 1e-2 : v->config.softmax > 0;
    if (wanted) tern_softmax(scores, n);
}

static tern_status put_scores(const pictures *p, float *scores, size_t n, tn_text *t, tern_error *err) {
    const serve_version *v = p->version;
    size_t top = TN_MIN((size_t)(p->upload.top ? p->upload.top : DEFAULT_TOP), n);
    tern_score *best = tn_alloc_array(top + 1, sizeof *best);
    if (!best) return tn_fail_oom(err, top * sizeof *best);
    to_probabilities(v, scores, n);
    size_t have = tern_top_k(scores, n, best, top);
    serve_put_open(t, "results", '[');
    for (size_t i = 0; i < have; i++) {
        serve_put_open(t, NULL, '{');
        serve_put_u64(t, "index", best[i].index);
        serve_put_string(t, "label", tern_labels_get(&v->labels, best[i].index));
        serve_put_f32(t, "score", best[i].score);
        serve_put_close(t, '}');
    }
    serve_put_close(t, ']');
    tn_free(best);
    return TERN_OK;
}

static tern_status put_classes(const item *k, tn_text *t, tern_error *err) {
    const serve_version *v = k->all->version;
    float *scores;
    size_t n;
    TN_TRY(tern_classifier_scores(&v->classifier, k->outputs[v->score_output], 1, &scores, &n, err));
    tern_status status = put_scores(k->all, scores, n, t, err);
    tn_free(scores);
    return status;
}

/* Pixels of the box of detection i: [x1, x2) and [y1, y2). */
typedef struct span {
    int x1, y1, x2, y2;
} span;

static span pixels_of(const tern_detections *d, size_t i) {
    const tern_box *b = &d->items[i].box;
    return (span){(int)b->x1, (int)b->y1, (int)TN_MIN(ceil((double)b->x2), (double)d->width),
                  (int)TN_MIN(ceil((double)b->y2), (double)d->height)};
}

static size_t area_of(span s) { return s.x2 > s.x1 && s.y2 > s.y1 ? (size_t)(s.x2 - s.x1) * (size_t)(s.y2 - s.y1) : 0; }

/* COCO's run lengths: down the columns of the picture, zeros first. */
static tern_status put_mask(tn_text *t, const tern_detections *d, size_t i, tern_error *err) {
    span s = pixels_of(d, i);
    size_t area = area_of(s), w = area ? (size_t)(s.x2 - s.x1) : 0, h = area ? (size_t)(s.y2 - s.y1) : 0;
    uint8_t *mask = tn_alloc(TN_MAX(area, (size_t)1));
    if (!mask) return tn_fail_oom(err, area);
    for (size_t y = 0; y < h; y++) tern_mask_row(d, i, s.y1 + (int)y, s.x1, s.x2, mask + y * w);
    const int64_t size[] = {d->height, d->width};
    serve_put_open(t, "mask", '{');
    serve_put_dims(t, "size", size, 2);
    serve_put_open(t, "counts", '[');
    uint64_t begin = 0, all = (uint64_t)d->height * (uint64_t)d->width;
    uint8_t last = 0;
    for (size_t x = 0; x < w; x++) {
        /* Above and below the box there is nothing. */
        uint64_t column = (uint64_t)(s.x1 + (int)x) * (uint64_t)d->height + (uint64_t)s.y1;
        for (size_t y = 0; y <= h; y++) {
            uint8_t v = y < h ? mask[y * w + x] : 0;
            bool ends = y == h && column + h < all && (size_t)d->height == h;
            if (v == last || ends) continue;
            serve_put_u64(t, NULL, column + y - begin);
            begin = column + y;
            last = v;
        }
    }
    if (begin < all) serve_put_u64(t, NULL, all - begin);
    serve_put_close(t, ']');
    serve_put_close(t, '}');
    tn_free(mask);
    return TERN_OK;
}

/* Boxes may lie over each other any number of times. */
static tern_status check_mask_area(const tern_detections *d, tern_error *err) {
    size_t sum = 0;
    for (size_t i = 0; i < d->count; i++) sum += area_of(pixels_of(d, i));
    if (sum <= MAX_MASK_PIXELS) return TERN_OK;
    return tn_fail(err, TERN_LIMIT_EXCEEDED, "masks of %zu pixels in all, at most %zu are written: a smaller picture",
                   sum, (size_t)MAX_MASK_PIXELS);
}

static tern_status put_detection(const pictures *p, tn_text *t, const tern_detections *d, size_t i, tern_error *err) {
    const serve_version *v = p->version;
    tern_status status = TERN_OK;
    const tern_detection *item = &d->items[i];
    const float box[] = {item->box.x1, item->box.y1, item->box.x2, item->box.y2};
    serve_put_open(t, NULL, '{');
    serve_put_open(t, "box", '[');
    for (int c = 0; c < 4; c++) serve_put_f32(t, NULL, box[c]);
    serve_put_close(t, ']');
    serve_put_f32(t, "score", item->score);
    serve_put_i64(t, "class", item->cls);
    serve_put_string(t, "name", tern_labels_get(&v->labels, (size_t)item->cls));
    if (d->landmarks) {
        const float *at = d->landmarks + i * (size_t)d->points * (size_t)d->point_size;
        serve_put_open(t, "landmarks", '[');
        for (int point = 0; point < d->points; point++) {
            serve_put_open(t, NULL, '[');
            for (int c = 0; c < d->point_size; c++) serve_put_f32(t, NULL, *at++);
            serve_put_close(t, ']');
        }
        serve_put_close(t, ']');
    }
    if (d->masks && p->upload.masks) status = put_mask(t, d, i, err);
    serve_put_close(t, '}');
    return status;
}

static tern_status find_boxes(item *k, tern_detections *d, tern_error *err) {
    bool again;
    TN_TRY(tern_detector_finish(&k->detector, k->pass, k->outputs, d, &again, err));
    /* The rare case in which the network wants other pictures than the first one of its kind showed. */
    return again ? tern_detector_run(&k->detector, &k->image, d, err) : TERN_OK;
}

static tern_status put_boxes(item *k, tn_text *t, tern_error *err) {
    tern_detections d;
    TN_TRY(find_boxes(k, &d, err));
    tern_status status = TERN_OK;
    if (d.class_scores) {
        status = put_scores(k->all, d.class_scores, d.n_class_scores, t, err);
    } else {
        if (d.masks && k->all->upload.masks) status = check_mask_area(&d, err);
        serve_put_open(t, "detections", '[');
        for (size_t i = 0; i < d.count && status == TERN_OK; i++) status = put_detection(k->all, t, &d, i, err);
        serve_put_close(t, ']');
    }
    tern_detections_release(&d);
    return status;
}

static void put_result(item *k, tn_text *t) {
    if (k->name) serve_put_string(t, "picture", k->name);
    if (k->width) serve_put_i64(t, "width", k->width);
    if (k->height) serve_put_i64(t, "height", k->height);
    if (k->status == TERN_OK) k->status = k->all->detect ? put_boxes(k, t, &k->err) : put_classes(k, t, &k->err);
    if (k->status != TERN_OK) serve_put_string(t, "error", k->err.text);
}

static void put_timing(const pictures *p, tn_text *t) {
    const serve_times *s = &p->x->times;
    serve_put_open(t, "timing", '{');
    serve_put_fixed(t, "decode_ms", (double)s->input * 1e-6, 3);
    serve_put_fixed(t, "queue_ms", (double)s->queue * 1e-6, 3);
    serve_put_fixed(t, "infer_ms", (double)s->infer * 1e-6, 3);
    serve_put_fixed(t, "post_ms", (double)p->post_ns * 1e-6, 3);
    serve_put_fixed(t, "total_ms", (double)(tn_clock_ns() - p->x->begin_ns) * 1e-6, 3);
    serve_put_i64(t, "batch", s->batch);
    serve_put_close(t, '}');
}

static void put_json(pictures *p) {
    tn_text *t = &p->x->out;
    uint64_t begin = tn_clock_ns();
    p->x->status = 200;
    p->x->type = "application/json";
    serve_put_open(t, NULL, '{');
    serve_put_string(t, "model", p->version->name);
    serve_put_string(t, "version", p->version->number_text);
    if (p->upload.list) serve_put_open(t, "pictures", '[');
    for (int i = 0; i < p->count; i++) {
        if (p->upload.list) serve_put_open(t, NULL, '{');
        put_result(&p->items[i], t);
        if (p->upload.list) serve_put_close(t, '}');
    }
    if (p->upload.list) serve_put_close(t, ']');
    p->post_ns = tn_clock_ns() - begin;
    put_timing(p, t);
    serve_put_close(t, '}');
}

/* ---- the annotated picture ---------------------------------------------------------------------------------- */

static tern_status draw(pictures *p, tern_error *err) {
    item *k = &p->items[0];
    tern_detections d;
    TN_TRY(find_boxes(k, &d, err));
    tern_draw_options o = {.names = (const char *const *)p->version->labels.names, .n_names = p->version->labels.count};
    tern_status status = tern_draw_detections(&k->image, &d, &o, err);
    tern_detections_release(&d);
    if (status != TERN_OK) return status;
    uint8_t *data;
    size_t size;
    TN_TRY(tern_image_encode(&k->image, p->format, JPEG_QUALITY, &data, &size, err));
    tn_text_add_str(&p->x->out, (const char *)data, size);
    tn_free(data);
    p->x->status = 200;
    p->x->type = strstr(p->format, "jpg") ? "image/jpeg" : "image/png";
    return TERN_OK;
}

/* ---- the answer --------------------------------------------------------------------------------------------- */

/* Pictures run side by side: the longest way counts. */
static void add_times(pictures *p) {
    serve_times *t = &p->x->times;
    for (int i = 0; i < p->count; i++) {
        const item *k = &p->items[i];
        t->input += k->decode_ns;
        if (!k->queued) continue;
        t->queue = TN_MAX(t->queue, k->job.begin_ns - k->job.queued_ns);
        t->infer = TN_MAX(t->infer, k->job.inferred_ns - k->job.infer_ns);
        t->batch = TN_MAX(t->batch, k->job.batch);
    }
}

static void fail_all(pictures *p, const item *k, serve_failure why) {
    serve_exchange *x = p->x;
    serve_failed(x, &k->err);
    if (why == SERVE_FAILED_CANCELED) {
        x->status = 504;
        x->retry_after = 0;
    }
    serve_stats_failure(p->version->stats, why, tn_clock_ns() - x->begin_ns);
}

/* A request of one picture fails with it; so does any whose pictures found no place in the queue. */
static const item *find_failure(const pictures *p, serve_failure *why) {
    for (int i = 0; i < p->count; i++) {
        const item *k = &p->items[i];
        if (k->status == TERN_OK || (p->upload.list && !k->rejected)) continue;
        *why = k->rejected                   ? SERVE_FAILED_REJECTED
               : !k->queued                  ? SERVE_FAILED_OTHER
               : k->status == TERN_CANCELLED ? SERVE_FAILED_CANCELED
                                             : SERVE_FAILED_BACKEND;
        return k;
    }
    return NULL;
}

static void write_answer(serve_exchange *x) {
    pictures *p = x->state;
    serve_failure why;
    add_times(p);
    const item *failed = find_failure(p, &why);
    if (failed) {
        fail_all(p, failed, why);
        end(p);
        return;
    }
    uint64_t begin = tn_clock_ns();
    if (p->format) {
        item *k = &p->items[0];
        k->status = draw(p, &k->err);
    } else {
        put_json(p);
    }
    x->times.output = tn_clock_ns() - begin;
    x->times.request = tn_clock_ns() - x->begin_ns;
    failed = find_failure(p, &why);
    if (failed) {
        fail_all(p, failed, SERVE_FAILED_OTHER);
    } else {
        serve_stats_success(p->version->stats, &x->times, p->count);
    }
    end(p);
}

static const char *wanted_format(const serve_exchange *x) {
    const char *accept = x->headers.accept;
    if (accept && strstr(accept, "image/jpeg")) return "x.jpg";
    return accept && strstr(accept, "image/png") ? "x.png" : NULL;
}

static tern_status prepare(pictures *p, tern_error *err) {
    serve_version *v = p->version;
    const char *task = p->detect ? "detect" : "classify";
    if (v->task != (p->detect ? SERVE_TASK_DETECT : SERVE_TASK_CLASSIFY)) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "model '%s' does not %s%s%s", v->name, task,
                       v->task == SERVE_TASK_CLASSIFY ? "; it classifies"
                       : v->task == SERVE_TASK_DETECT ? "; it detects"
                                                      : ": ",
                       v->task == SERVE_TASK_NONE ? v->task_error : "");
    }
    if (v->n_outputs > TERN_MAX_HEAD_OUTPUTS)
        return tn_fail(err, TERN_UNSUPPORTED, "model '%s' has more than %d outputs", v->name, TERN_MAX_HEAD_OUTPUTS);
    TN_TRY(serve_upload_read(&p->upload, p->x, err));
    p->format = wanted_format(p->x);
    if (p->format && !p->detect) return tn_fail(err, TERN_UNSUPPORTED, "annotated pictures come from :detect");
    if (p->format && p->upload.count > 1)
        return tn_fail(err, TERN_UNSUPPORTED, "an annotated picture is the answer to one picture, not to %d",
                       p->upload.count);
    if (p->format && !tern_draw_library())
        return tn_fail(err, TERN_UNSUPPORTED, "this build can not draw; install libcairo2-dev and rebuild");
    p->items = tn_calloc((size_t)p->upload.count, sizeof *p->items);
    if (!p->items) return tn_fail_oom(err, 0);
    p->count = p->upload.count;
    return TERN_OK;
}

static void handle(serve_exchange *x, tn_str model, tn_str version, bool detect) {
    serve_version *v = serve_find_version(x, model, version);
    pictures *p = v ? tn_calloc(1, sizeof *p) : NULL;
    if (!p) {
        if (v) serve_error(x, 503, "no memory");
        serve_version_unref(v);
        serve_done(x);
        return;
    }
    *p = (pictures){.x = x, .version = v, .detect = detect};
    x->state = p;
    tern_error err;
    serve_stats_begin(v->stats);
    if (prepare(p, &err) != TERN_OK) {
        serve_failed(x, &err);
        serve_stats_failure(v->stats, SERVE_FAILED_OTHER, tn_clock_ns() - x->begin_ns);
        end(p);
        return;
    }
    atomic_init(&p->left, p->count + 1);
    int count = p->count;
    for (int i = 0; i < count; i++) {
        p->items[i] = (item){.all = p, .name = p->upload.pictures[i].name, .bytes = p->upload.pictures[i].bytes};
        start(&p->items[i]);
    }
    one_back(p);
}

void serve_classify(serve_exchange *x, tn_str model, tn_str version) { handle(x, model, version, false); }
void serve_detect(serve_exchange *x, tn_str model, tn_str version) { handle(x, model, version, true); }
