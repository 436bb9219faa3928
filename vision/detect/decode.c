/* From outputs to candidates. Positions whose objectness (or best class) is too low go first, which is nearly all of
 * them; the rest is read in the order of memory: class by class over all of them where a class is a plane. */
#include <math.h>

#include "vision/detect/head.h"

#define CHUNK 256 /* positions at a time whose best class is sought */

void tern_candidates_release(tern_candidates *c) {
    tn_free(c->items);
    tn_free(c->blocks);
    *c = (tern_candidates){0};
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* Places of the parts of a box among its numbers. */
static int classes_at(const tern_head_layout *l) {
    return l->head == TERN_HEAD_YOLOV8 ? 4 : l->head == TERN_HEAD_FACE ? 5 + 2 * TERN_FACE_LANDMARKS : 5;
}
static int points_at(const tern_head_layout *l) {
    if (l->head == TERN_HEAD_NMS) return 0;
    return l->head == TERN_HEAD_FACE ? 5 : classes_at(l) + l->classes;
}
static int masks_at(const tern_head_layout *l) { return l->head == TERN_HEAD_NMS ? 0 : classes_at(l) + l->classes; }
static int numbers_of(const tern_head_layout *l) {
    return classes_at(l) + l->classes + l->masks + (l->head == TERN_HEAD_FACE ? 0 : l->points * l->point_size);
}

/* ---- blocks ------------------------------------------------------------------------------------------------- */

static tern_head_block *add_block(tern_candidates *c, size_t *cap) {
    if (!tn_grow(&c->blocks, cap, c->n_blocks + 1, sizeof *c->blocks)) return NULL;
    return &c->blocks[c->n_blocks++];
}

static tern_status check_positions(int64_t n, tern_error *err) {
    if (n > INT32_MAX) return tn_fail(err, TERN_LIMIT_EXCEEDED, "%lld boxes are too many", (long long)n);
    return TERN_OK;
}

static tern_status raw_blocks(const tern_head_layout *l, const tern_head_output *outputs, int width,
                              tern_candidates *out, tern_error *err) {
    size_t cap = 0, numbers = (size_t)numbers_of(l);
    for (int i = 0; i < l->n_levels; i++) {
        const tern_head_output *o = &outputs[l->levels[i]];
        int64_t h = o->dims[2], w = o->dims[3];
        TN_TRY(check_positions(h * w, err));
        for (int a = 0; a < l->n_anchors; a++) {
            tern_head_block *b = add_block(out, &cap);
            if (!b) return tn_fail_oom(err, cap * sizeof *b);
            const double *anchor = l->anchors.sizes + ((ptrdiff_t)i * l->n_anchors + a) * 2;
            *b = (tern_head_block){.data = o->data + (size_t)a * numbers * (size_t)(h * w),
                                   .positions = (uint32_t)(h * w),
                                   .position_step = o->rank == 5 ? numbers : 1,
                                   .component_step = o->rank == 5 ? 1 : (size_t)(h * w),
                                   .grid_width = (int)w,
                                   .stride = (float)width / (float)w,
                                   .anchor_w = (float)anchor[0],
                                   .anchor_h = (float)anchor[1]};
        }
    }
    return TERN_OK;
}

/* The levels of YOLOX's one output: rows of stride 8, then 16, 32 (and 64). */
static tern_status grid_blocks(const tern_head_output *o, int width, int height, tern_candidates *out,
                               tern_error *err) {
    size_t cap = 0, numbers = (size_t)o->dims[2];
    int64_t at = 0;
    for (int stride = 8; stride <= 64 && at < o->dims[1]; stride *= 2) {
        int64_t cells = (int64_t)(width / stride) * (height / stride);
        if (width % stride || height % stride || cells > o->dims[1] - at) break;
        tern_head_block *b = add_block(out, &cap);
        if (!b) return tn_fail_oom(err, cap * sizeof *b);
        *b = (tern_head_block){.data = o->data + numbers * (size_t)at,
                               .positions = (uint32_t)cells,
                               .position_step = numbers,
                               .component_step = 1,
                               .grid_width = width / stride,
                               .stride = (float)stride};
        at += cells;
    }
    if (at != o->dims[1]) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s': %lld rows do not fit the grids of an input of %d x %d",
                       o->name, (long long)o->dims[1], width, height);
    }
    return TERN_OK;
}

static tern_status make_blocks(const tern_head_layout *l, const tern_head_output *outputs, int width, int height,
                               tern_candidates *out, tern_error *err) {
    if (l->raw) return raw_blocks(l, outputs, width, out, err);
    const tern_head_output *o = &outputs[l->levels[0]];
    bool rows = l->head != TERN_HEAD_YOLOV8 || l->transposed;
    int64_t positions = o->dims[rows ? 1 : 2], numbers = o->dims[rows ? 2 : 1];
    TN_TRY(check_positions(positions, err));
    if (numbers != numbers_of(l)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s': a box has %lld numbers, not %d", o->name,
                       (long long)numbers, numbers_of(l));
    }
    if (l->head == TERN_HEAD_YOLOX) return grid_blocks(o, width, height, out, err);
    size_t cap = 0;
    tern_head_block *b = add_block(out, &cap);
    if (!b) return tn_fail_oom(err, sizeof *b);
    *b = (tern_head_block){.data = o->data,
                           .positions = (uint32_t)positions,
                           .position_step = rows ? (size_t)numbers : 1,
                           .component_step = rows ? 1 : (size_t)positions};
    return TERN_OK;
}

/* ---- scores ------------------------------------------------------------------------------------------------- */

typedef struct decoder {
    const tern_head_layout *layout;
    const tern_decode_options *options;
    tern_candidates *out;
    float conf;      /* scores are above it */
    float threshold; /* a logit not above it can not give such a score; the same as conf where there are no logits */
    /* of the block, as many as the largest has positions */
    uint32_t *hits;
    float *best;
    int32_t *cls;
} decoder;

/* Positions whose objectness is high enough. */
static uint32_t hits_by_objectness(const decoder *d, const tern_head_block *b) {
    const float *p = b->data + 4 * b->component_step;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->positions; i++, p += b->position_step) {
        d->hits[n] = i;
        n += *p > d->threshold;
    }
    return n;
}

/* Largest of the classes at each of n <= CHUNK positions, of planes. */
static void chunk_maxima(const tern_head_block *b, uint32_t first, uint32_t n, int at, int classes, float *most) {
    for (uint32_t i = 0; i < CHUNK; i++) most[i] = -INFINITY;
    for (int c = 0; c < classes; c++) {
        const float *p = b->data + (size_t)(at + c) * b->component_step + first;
        if (n == CHUNK) {
            for (uint32_t i = 0; i < CHUNK; i++) most[i] = p[i] > most[i] ? p[i] : most[i];
        } else {
            for (uint32_t i = 0; i < n; i++) most[i] = p[i] > most[i] ? p[i] : most[i];
        }
    }
}

/* Positions with a class whose score is high enough, of heads without objectness. */
static uint32_t hits_by_class(const decoder *d, const tern_head_block *b) {
    int at = classes_at(d->layout), classes = d->layout->classes;
    uint32_t n = 0;
    if (b->position_step == 1) {
        float most[CHUNK];
        for (uint32_t first = 0; first < b->positions; first += CHUNK) {
            uint32_t count = TN_MIN(b->positions - first, (uint32_t)CHUNK);
            chunk_maxima(b, first, count, at, classes, most);
            for (uint32_t i = 0; i < count; i++) {
                d->hits[n] = first + i;
                n += most[i] > d->threshold;
            }
        }
        return n;
    }
    for (uint32_t i = 0; i < b->positions; i++) {
        const float *p = b->data + (size_t)i * b->position_step + (size_t)at * b->component_step;
        float most = -INFINITY;
        for (int c = 0; c < classes; c++) most = TN_MAX(most, p[(size_t)c * b->component_step]);
        d->hits[n] = i;
        n += most > d->threshold;
    }
    return n;
}

/* The best class of each hit; the first among equals. */
static void best_classes(const decoder *d, const tern_head_block *b, uint32_t n) {
    int at = classes_at(d->layout);
    for (uint32_t i = 0; i < n; i++) {
        d->best[i] = -INFINITY;
        d->cls[i] = 0;
    }
    if (b->component_step == 1) {
        for (uint32_t i = 0; i < n; i++) {
            const float *p = b->data + (size_t)d->hits[i] * b->position_step + at;
            for (int32_t c = 0; c < d->layout->classes; c++) {
                if (p[c] > d->best[i]) {
                    d->best[i] = p[c];
                    d->cls[i] = c;
                }
            }
        }
        return;
    }
    for (int32_t c = 0; c < d->layout->classes; c++) {
        const float *p = b->data + (size_t)(at + c) * b->component_step;
        for (uint32_t i = 0; i < n; i++) {
            float v = p[(size_t)d->hits[i] * b->position_step];
            if (v > d->best[i]) {
                d->best[i] = v;
                d->cls[i] = c;
            }
        }
    }
}

/* ---- boxes -------------------------------------------------------------------------------------------------- */

static const float *numbers_at(const tern_head_block *b, uint32_t position) {
    return b->data + (size_t)position * b->position_step;
}

static tern_box box_at(const tern_head_layout *l, const tern_head_block *b, uint32_t position) {
    const float *p = numbers_at(b, position);
    size_t step = b->component_step;
    float x = p[0], y = p[step], w = p[2 * step], h = p[3 * step];
    if (l->raw) {
        float gx = (float)(position % (uint32_t)b->grid_width), gy = (float)(position / (uint32_t)b->grid_width);
        float sw = sigmoid(w) * 2, sh = sigmoid(h) * 2;
        x = (sigmoid(x) * 2 + (gx - 0.5f)) * b->stride;
        y = (sigmoid(y) * 2 + (gy - 0.5f)) * b->stride;
        w = sw * sw * b->anchor_w;
        h = sh * sh * b->anchor_h;
    } else if (l->head == TERN_HEAD_YOLOX) {
        x = (x + (float)(position % (uint32_t)b->grid_width)) * b->stride;
        y = (y + (float)(position / (uint32_t)b->grid_width)) * b->stride;
        w = expf(w) * b->stride;
        h = expf(h) * b->stride;
    }
    return (tern_box){x - w / 2, y - h / 2, x + w / 2, y + h / 2};
}

static bool is_finite_box(const tern_box *b) {
    return isfinite(b->x1) && isfinite(b->y1) && isfinite(b->x2) && isfinite(b->y2);
}

static bool is_wanted(const tern_decode_options *o, int32_t cls) {
    for (size_t i = 0; i < o->n_classes; i++) {
        if (o->classes[i] == cls) return true;
    }
    return o->n_classes == 0;
}

static tern_status add(tern_candidates *out, const tern_candidate *c, tern_error *err) {
    if (!tn_grow(&out->items, &out->cap, out->count + 1, sizeof *out->items)) {
        return tn_fail_oom(err, (out->count + 1) * sizeof *out->items);
    }
    out->items[out->count++] = *c;
    return TERN_OK;
}

/* Every class above the limit is a candidate of its own. */
static tern_status add_all_classes(const decoder *d, const tern_head_block *b, tern_candidate *c, float objectness,
                                   tern_error *err) {
    const float *p = numbers_at(b, c->position) + (size_t)classes_at(d->layout) * b->component_step;
    for (int32_t k = 0; k < d->layout->classes; k++, p += b->component_step) {
        float v = d->layout->raw ? sigmoid(*p) : *p;
        c->score = objectness * v;
        c->cls = k;
        if (c->score > d->conf && is_wanted(d->options, k)) TN_TRY(add(d->out, c, err));
    }
    return TERN_OK;
}

static tern_status decode_block(const decoder *d, uint32_t index, tern_error *err) {
    const tern_head_block *b = &d->out->blocks[index];
    const tern_head_layout *l = d->layout;
    bool objectness = l->head != TERN_HEAD_YOLOV8, all = d->options->multi_label && l->classes > 1;
    if (b->positions == 0) return TERN_OK;
    uint32_t n = objectness ? hits_by_objectness(d, b) : hits_by_class(d, b);
    if (!all) best_classes(d, b, n);
    for (uint32_t i = 0; i < n; i++) {
        tern_candidate c = {.block = index, .position = d->hits[i]};
        float obj = objectness ? numbers_at(b, c.position)[4 * b->component_step] : 1;
        if (l->raw) obj = sigmoid(obj);
        if (objectness && !(obj > d->conf)) continue;
        if (!all) {
            c.score = obj * (l->raw ? sigmoid(d->best[i]) : d->best[i]);
            c.cls = d->cls[i];
            if (!(c.score > d->conf) || !is_wanted(d->options, c.cls)) continue;
        }
        c.box = box_at(l, b, c.position);
        if (!is_finite_box(&c.box)) continue;
        TN_TRY(all ? add_all_classes(d, b, &c, obj, err) : add(d->out, &c, err));
    }
    return TERN_OK;
}

/* A little below the logit of `conf`: the exact comparison is made with the score. */
static float logit_below(double conf) {
    if (conf <= 0) return -INFINITY;
    if (conf >= 1) return INFINITY;
    return (float)(log(conf / (1 - conf)) - 1e-3);
}

static tern_status decode_blocks(decoder *d, tern_error *err) {
    uint32_t most = 1;
    for (size_t i = 0; i < d->out->n_blocks; i++) most = TN_MAX(most, d->out->blocks[i].positions);
    d->hits = tn_alloc_array((size_t)most + 1, sizeof *d->hits);
    d->best = tn_alloc_array(most, sizeof *d->best);
    d->cls = tn_alloc_array(most, sizeof *d->cls);
    tern_status status = d->hits && d->best && d->cls ? TERN_OK : tn_fail_oom(err, (size_t)most * 12);
    for (size_t i = 0; i < d->out->n_blocks && status == TERN_OK; i++) status = decode_block(d, (uint32_t)i, err);
    tn_free(d->hits);
    tn_free(d->best);
    tn_free(d->cls);
    return status;
}

/* ---- heads after suppression -------------------------------------------------------------------------------- */

static tern_status add_final(tern_candidates *out, const tern_decode_options *o, int64_t row, const float *box,
                             float score, float cls, tern_error *err) {
    if (!(score > (float)o->conf) || !(cls >= 0 && cls < TERN_MAX_CLASSES)) return TERN_OK;
    tern_candidate c = {
        .box = {box[0], box[1], box[2], box[3]}, .score = score, .cls = (int32_t)cls, .position = (uint32_t)row};
    return is_finite_box(&c.box) && is_wanted(o, c.cls) ? add(out, &c, err) : TERN_OK;
}

/* Rows of x1 y1 x2 y2 score class, or of batch x1 y1 x2 y2 class score. */
static tern_status decode_final_rows(const tern_head_output *o, const tern_decode_options *options,
                                     tern_candidates *out, tern_error *err) {
    int64_t rows = o->rank == 3 && o->dims[0] == 0 ? 0 : o->dims[o->rank - 2], numbers = o->dims[o->rank - 1];
    TN_TRY(check_positions(rows, err));
    const float *p = o->data;
    for (int64_t i = 0; i < rows; i++, p += numbers) {
        if (numbers == 6) {
            TN_TRY(add_final(out, options, i, p, p[4], p[5], err));
        } else if (p[0] == 0) {
            TN_TRY(add_final(out, options, i, p + 1, p[6], p[5], err));
        }
    }
    return TERN_OK;
}

/* Landmarks and mask coefficients of final boxes: blocks 0 and 1. */
static tern_status final_blocks(const tern_head_layout *l, const tern_head_output *outputs, tern_candidates *out,
                                tern_error *err) {
    size_t cap = 0;
    for (int i = 0; i < 2; i++) {
        tern_head_block *b = add_block(out, &cap);
        if (!b) return tn_fail_oom(err, 2 * sizeof *b);
        int index = i == 0 ? l->landmarks : l->coefficients;
        *b = (tern_head_block){.component_step = 1};
        if (index < 0) continue;
        b->data = outputs[index].data;
        b->position_step = (size_t)outputs[index].dims[outputs[index].rank - 1];
    }
    return TERN_OK;
}

/* Of a batch, the first picture's. */
static tern_status decode_final_outputs(const tern_head_layout *l, const tern_head_output *outputs,
                                        const tern_decode_options *options, tern_candidates *out, tern_error *err) {
    const tern_head_output *boxes = &outputs[l->boxes];
    int64_t n = boxes->rank > 1 ? boxes->dims[boxes->rank - 2] : 1;
    for (int i = 0; i < boxes->rank; i++) n = boxes->dims[i] == 0 ? 0 : n;
    TN_TRY(check_positions(n, err));
    TN_TRY(final_blocks(l, outputs, out, err));
    if (l->number >= 0 && outputs[l->number].rank > 0 && outputs[l->number].dims[0] > 0) {
        float have = outputs[l->number].data[0];
        n = have >= 0 && have < (float)n ? (int64_t)have : n;
    }
    for (int64_t i = 0; i < n; i++) {
        if (l->batches >= 0 && outputs[l->batches].data[i] != 0) continue;
        TN_TRY(add_final(out, options, i, boxes->data + 4 * i, outputs[l->scores].data[i], outputs[l->labels].data[i],
                         err));
    }
    return TERN_OK;
}

/* ---- the doors ---------------------------------------------------------------------------------------------- */

static tern_status decode(const tern_head_layout *l, const tern_head_output *outputs, int width, int height,
                          const tern_decode_options *options, tern_candidates *out, tern_error *err) {
    if (l->head == TERN_HEAD_NMS) {
        return l->boxes >= 0 ? decode_final_outputs(l, outputs, options, out, err)
                             : decode_final_rows(&outputs[l->levels[0]], options, out, err);
    }
    TN_TRY(make_blocks(l, outputs, width, height, out, err));
    decoder d = {.layout = l, .options = options, .out = out, .conf = (float)options->conf};
    d.threshold = l->raw ? logit_below(options->conf) : d.conf;
    return decode_blocks(&d, err);
}

tern_status tern_head_decode(const tern_head_layout *layout, const tern_head_output *outputs, int width, int height,
                             const tern_decode_options *options, tern_candidates *out, tern_error *err) {
    *out = (tern_candidates){0};
    tern_status status = decode(layout, outputs, width, height, options, out, err);
    if (status != TERN_OK) tern_candidates_release(out);
    return status;
}

void tern_head_points(const tern_head_layout *l, const tern_candidates *c, const tern_candidate *candidate,
                      float *out) {
    const tern_head_block *b = &c->blocks[candidate->block];
    const float *p = numbers_at(b, candidate->position) + (size_t)points_at(l) * b->component_step;
    for (int i = 0; i < l->points * l->point_size; i++, p += b->component_step) {
        int axis = i % l->point_size;
        out[i] = *p;
        if (!l->raw || axis > 1) continue;
        uint32_t cell =
            axis ? candidate->position / (uint32_t)b->grid_width : candidate->position % (uint32_t)b->grid_width;
        out[i] = *p * (axis ? b->anchor_h : b->anchor_w) + (float)cell * b->stride;
    }
}

void tern_head_masks(const tern_head_layout *l, const tern_candidates *c, const tern_candidate *candidate, float *out) {
    const tern_head_block *b = &c->blocks[l->head == TERN_HEAD_NMS ? 1 : candidate->block];
    const float *p = numbers_at(b, candidate->position) + (size_t)masks_at(l) * b->component_step;
    for (int i = 0; i < l->masks; i++, p += b->component_step) out[i] = *p;
}
