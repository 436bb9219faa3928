#include "vision/detect/head.h"

#include <ctype.h>
#include <math.h>

/* ---- the grid ----------------------------------------------------------------------------------------------- */

/* Cells of levels with strides first, 2 * first, ... , last; 0 when the input is no multiple of them. */
static int64_t count_cells(int width, int height, int first, int last) {
    int64_t cells = 0;
    for (int stride = first; stride <= last; stride *= 2) {
        if (width % stride || height % stride) return 0;
        cells += (int64_t)(width / stride) * (height / stride);
    }
    return cells;
}

/* Boxes per cell when `rows` is that of a usual pyramid of levels; 0: it is not. */
static int grid_anchors(int64_t rows, int width, int height) {
    static const int pyramids[][2] = {{8, 32}, {8, 64}, {4, 32}, {16, 32}, {4, 64}};
    for (size_t i = 0; i < TN_COUNT(pyramids); i++) {
        int64_t cells = count_cells(width, height, pyramids[i][0], pyramids[i][1]);
        if (cells > 0 && rows > 0 && rows % cells == 0 && rows / cells <= TERN_MAX_ANCHORS) return (int)(rows / cells);
    }
    return 0;
}

/* ---- anchors ------------------------------------------------------------------------------------------------ */

static const double anchors_p5[] = {10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326};
static const double anchors_p6[] = {19,  27,  44,  40,  38,  94,  96,  68,  86,  152, 180, 137,
                                    140, 301, 303, 264, 238, 542, 436, 615, 739, 380, 925, 792};
static const double anchors_face[] = {4, 5, 8, 10, 13, 16, 23, 29, 43, 55, 73, 105, 146, 217, 231, 300, 335, 433};

/* YOLOv5's standard anchors are listed from the finest level on; the outputs may come in any order. */
static tern_status assume_anchors(tern_head_layout *out, const tern_head_output *outputs, tern_error *err) {
    bool face = out->head == TERN_HEAD_FACE;
    if (out->n_anchors != 3 || !(out->n_levels == 3 || (out->n_levels == 4 && !face))) {
        return tn_fail(err, TERN_NOT_FOUND,
                       "the model does not say its anchors, and there are no standard ones for %d levels with %d "
                       "anchors: give them (--anchors)",
                       out->n_levels, out->n_anchors);
    }
    const double *sizes = face ? anchors_face : out->n_levels == 4 ? anchors_p6 : anchors_p5;
    for (int i = 0; i < out->n_levels; i++) {
        const tern_head_output *o = &outputs[out->levels[i]];
        int finer = 0;
        for (int k = 0; k < out->n_levels; k++) {
            const tern_head_output *other = &outputs[out->levels[k]];
            if (other->dims[3] > o->dims[3]) finer++;
        }
        memcpy(out->anchors.sizes + 6 * i, sizes + (ptrdiff_t)6 * finer, 6 * sizeof *sizes);
    }
    out->anchors.count = 6 * out->n_levels;
    out->assumed_anchors = true;
    return TERN_OK;
}

/* ---- how many numbers a box has ------------------------------------------------------------------------------ */

/* Divides the numbers of a box among classes, landmarks and mask coefficients. */
static tern_status split_numbers(tern_head_layout *out, int64_t numbers, const tern_head_output *outputs,
                                 const tern_head_hints *hints, tern_error *err) {
    int64_t fixed = out->head == TERN_HEAD_YOLOV8 ? 4 : 5;
    int64_t masks = out->proto >= 0 ? outputs[out->proto].dims[1] : 0;
    int64_t names = (int64_t)hints->names, points = 0;
    if (out->head == TERN_HEAD_YOLOV5 && hints->head == TERN_HEAD_AUTO && names > 0 && masks == 0 &&
        numbers == names + 5 + 2 * TERN_FACE_LANDMARKS) {
        out->head = TERN_HEAD_FACE;
    }
    if (out->head == TERN_HEAD_FACE) {
        out->points = TERN_FACE_LANDMARKS;
        out->point_size = 2;
    } else if (out->head == TERN_HEAD_YOLOV8 && hints->points > 0) {
        out->points = hints->points;
        out->point_size = hints->point_size;
    }
    points = (int64_t)out->points * out->point_size;
    int64_t classes = numbers - fixed - points - masks;
    if (masks > TERN_MAX_EXTRA_NUMBERS || points > TERN_MAX_EXTRA_NUMBERS || classes > TERN_MAX_CLASSES) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a box of %lld classes, %lld numbers of landmarks and %lld of a mask",
                       (long long)classes, (long long)points, (long long)masks);
    }
    if (classes < 1 || (names > 0 && classes != names)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "a box has %lld numbers, of which %lld are no classes, but there are %lld names of classes: is "
                       "it another head (--head), or are the names others (--labels)?",
                       (long long)numbers, (long long)(fixed + points + masks), (long long)names);
    }
    out->classes = (int)classes;
    out->masks = (int)masks;
    return TERN_OK;
}

/* ---- heads --------------------------------------------------------------------------------------------------- */

static tern_status raw_level(const tern_head_output *o, const tern_head_hints *hints, int64_t numbers,
                             tern_error *err) {
    int64_t h = o->dims[2], w = o->dims[3];
    if (w < 1 || h < 1 || hints->width % w || hints->height % h || hints->width / w != hints->height / h) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "output '%s': a grid of %lld x %lld does not fit an input of %d x %d (sides must be multiples "
                       "of the stride)",
                       o->name, (long long)w, (long long)h, hints->width, hints->height);
    }
    if (numbers < 6) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s': a box of %lld numbers is too small", o->name,
                       (long long)numbers);
    }
    return TERN_OK;
}

static tern_status recognise_raw(tern_head_layout *out, const tern_head_output *outputs, const tern_head_hints *hints,
                                 tern_error *err) {
    if (hints->head != TERN_HEAD_AUTO && hints->head != TERN_HEAD_YOLOV5 && hints->head != TERN_HEAD_FACE) {
        return tn_fail(err, TERN_UNSUPPORTED, "outputs per level are read of YOLOv5's heads only, not of this one");
    }
    out->raw = true;
    out->head = hints->head == TERN_HEAD_FACE ? TERN_HEAD_FACE : TERN_HEAD_YOLOV5;
    int per_level = hints->anchors.count / out->n_levels;
    if (per_level * out->n_levels != hints->anchors.count || per_level % 2) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%d numbers are no anchors for %d levels", hints->anchors.count,
                       out->n_levels);
    }
    int64_t numbers = 0;
    for (int i = 0; i < out->n_levels; i++) {
        const tern_head_output *o = &outputs[out->levels[i]];
        int64_t anchors = o->rank == 5 ? o->dims[1] : per_level ? per_level / 2 : 3;
        int64_t n = o->rank == 5 ? o->dims[4] : o->dims[1] / anchors;
        bool fits = anchors >= 1 && anchors <= TERN_MAX_ANCHORS && (per_level == 0 || anchors == per_level / 2) &&
                    (o->rank == 5 || n * anchors == o->dims[1]);
        if (!fits || (i > 0 && (n != numbers || anchors != out->n_anchors))) {
            return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s': %lld channels are no %lld boxes of one size",
                           o->name, (long long)o->dims[1], (long long)anchors);
        }
        TN_TRY(raw_level(o, hints, n, err));
        numbers = n;
        out->n_anchors = (int)anchors;
    }
    TN_TRY(split_numbers(out, numbers, outputs, hints, err));
    out->anchors = hints->anchors;
    return out->anchors.count ? TERN_OK : assume_anchors(out, outputs, err);
}

/* One output of boxes: (n, rows, numbers) or (n, numbers, columns). */
static tern_status recognise_rows(tern_head_layout *out, const tern_head_output *outputs, const tern_head_hints *hints,
                                  tern_error *err) {
    const tern_head_output *o = &outputs[out->levels[0]];
    int64_t a = o->dims[1], b = o->dims[2];
    bool grid_a = grid_anchors(a, hints->width, hints->height) > 0,
         grid_b = grid_anchors(b, hints->width, hints->height) > 0;
    bool rows = grid_a == grid_b ? a >= b : grid_a;
    bool final = b == 6 || (b == 7 && hints->names != 2);
    /* Their number may be that of a rare grid by chance: names that fit no other head settle it. */
    int64_t usual = count_cells(hints->width, hints->height, 8, 32);
    bool chance = hints->names > 0 && (size_t)b != 5 + hints->names && (size_t)b != 4 + hints->names &&
                  (usual == 0 || a % usual != 0);
    if (hints->head == TERN_HEAD_AUTO && final && ((!grid_a && !grid_b) || chance)) {
        out->head = TERN_HEAD_NMS;
        out->classes = 1;
        return TERN_OK;
    }
    int64_t numbers = rows ? b : a, names = (int64_t)hints->names;
    int64_t masks = out->proto >= 0 ? outputs[out->proto].dims[1] : 0;
    int64_t points = (int64_t)hints->points * hints->point_size;
    out->head = hints->head;
    if (out->head == TERN_HEAD_AUTO) {
        bool no_objectness = !rows || (names > 0 && numbers == 4 + names + masks + points);
        out->head = no_objectness ? TERN_HEAD_YOLOV8 : TERN_HEAD_YOLOV5;
    }
    if (out->head != TERN_HEAD_YOLOV8 && !rows) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' (%lld x %lld) has no rows of boxes, as this head has",
                       o->name, (long long)a, (long long)b);
    }
    out->transposed = out->head == TERN_HEAD_YOLOV8 && rows;
    return split_numbers(out, numbers, outputs, hints, err);
}

static bool name_has(const char *name, const char *part) {
    size_t n = strlen(part);
    for (; *name; name++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)name[i]) == part[i]) i++;
        if (i == n) return true;
    }
    return false;
}

/* Outputs for boxes, scores and classes, told by their names; *out stays as it is when one of the three is missing. */
static bool find_nms_outputs(tern_head_layout *out, const tern_head_output *outputs, int count) {
    tern_head_layout l = *out;
    const struct {
        const char *part;
        int *index;
    } roles[] = {{"proto", &l.proto},   {"landmark", &l.landmarks}, {"mask", &l.coefficients},
                 {"batch", &l.batches}, {"num", &l.number},         {"box", &l.boxes},
                 {"score", &l.scores},  {"class", &l.labels},       {"label", &l.labels}};
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < TN_COUNT(roles); k++) {
            if (!name_has(outputs[i].name, roles[k].part)) continue;
            *roles[k].index = i;
            break;
        }
    }
    if (l.boxes < 0 || l.scores < 0 || l.labels < 0) return false;
    *out = l;
    return true;
}

static int64_t element_count(const tern_head_output *o) {
    int64_t n = 1;
    for (int i = 0; i < o->rank; i++) n *= o->dims[i]; /* a tensor in memory: it can not overflow */
    return n;
}

/* Numbers per box of an output beside the boxes; 0: there is none, -1: it does not fit. */
static int64_t numbers_per_box(const tern_head_output *outputs, int index, int64_t boxes) {
    if (index < 0) return 0;
    const tern_head_output *o = &outputs[index];
    int64_t each = o->rank >= 2 ? o->dims[o->rank - 1] : 0;
    return each >= 1 && each <= TERN_MAX_EXTRA_NUMBERS && element_count(o) == each * boxes ? each : -1;
}

static tern_status check_nms_outputs(tern_head_layout *out, const tern_head_output *outputs, tern_error *err) {
    const tern_head_output *boxes = &outputs[out->boxes];
    int64_t n = element_count(boxes) / 4;
    if (boxes->rank < 1 || boxes->dims[boxes->rank - 1] != 4 || element_count(&outputs[out->scores]) != n ||
        element_count(&outputs[out->labels]) != n) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "outputs '%s', '%s' and '%s' do not have 4 numbers, 1 and 1 for each box", boxes->name,
                       outputs[out->scores].name, outputs[out->labels].name);
    }
    int64_t landmarks = numbers_per_box(outputs, out->landmarks, n);
    int64_t masks = numbers_per_box(outputs, out->coefficients, n);
    bool numbered = out->batches < 0 || element_count(&outputs[out->batches]) == n;
    if (landmarks < 0 || landmarks % 2 || masks < 0 || !numbered || (masks > 0 && out->proto < 0)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "outputs for landmarks, masks or batches do not fit %lld boxes",
                       (long long)n);
    }
    out->points = (int)(landmarks / 2);
    out->point_size = 2;
    out->masks = (int)masks;
    return TERN_OK;
}

static tern_status recognise_nms(tern_head_layout *out, const tern_head_output *outputs, int count, tern_error *err) {
    out->head = TERN_HEAD_NMS;
    out->classes = 1;
    if (count >= 3 && find_nms_outputs(out, outputs, count)) return check_nms_outputs(out, outputs, err);
    const tern_head_output *o = &outputs[0];
    int64_t numbers = o->rank > 0 ? o->dims[o->rank - 1] : 0;
    if ((o->rank != 2 && o->rank != 3) || (numbers != 6 && numbers != 7)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has no rows of 6 or 7 numbers, as this head has",
                       o->name);
    }
    out->n_levels = 1;
    out->levels[0] = 0;
    return TERN_OK;
}

static tern_status recognise_classes(tern_head_layout *out, const tern_head_output *o, tern_error *err) {
    int64_t n = element_count(o);
    int64_t batch = o->rank > 0 ? o->dims[0] : 0;
    if (o->rank < 2 || batch < 1 || n / batch < 1 || n / batch > TERN_MAX_CLASSES) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has no scores of classes", o->name);
    }
    out->head = TERN_HEAD_CLASSIFY;
    out->classes = (int)(n / batch);
    out->n_levels = 1;
    return TERN_OK;
}

/* The output with the prototypes of masks, if there is one: called so, or of rank 4 beside an output of rank 3, or of
 * another number of channels than all other outputs. */
static int find_proto(const tern_head_output *outputs, int count) {
    int rank3 = 0, rank4 = 0, candidate = -1;
    for (int i = 0; i < count; i++) {
        if (outputs[i].rank == 4 && name_has(outputs[i].name, "proto")) return i;
        rank3 += outputs[i].rank == 3;
        if (outputs[i].rank == 4) {
            rank4++;
            candidate = i;
        }
    }
    if (rank3 > 0 || rank4 == 0) return rank4 == 1 ? candidate : -1;
    if (rank4 == 1 && count > 1) return candidate; /* beside heads of rank 5 */
    for (int i = 0; i < count && rank4 > 2; i++) {
        int same = 0;
        for (int k = 0; k < count; k++) same += outputs[k].rank == 4 && outputs[k].dims[1] == outputs[i].dims[1];
        if (outputs[i].rank == 4 && same == 1) return i;
    }
    return -1;
}

/* The outputs with boxes: those of rank 3 if there are some (raw ones beside them say the same), else per level. */
static tern_status find_levels(tern_head_layout *out, const tern_head_output *outputs, int count, tern_error *err) {
    for (int rank = 3; rank <= 5 && out->n_levels == 0; rank++) {
        for (int i = 0; i < count; i++) {
            if (outputs[i].rank != rank || i == out->proto) continue;
            if (out->n_levels == TERN_MAX_LEVELS) {
                return tn_fail(err, TERN_UNSUPPORTED, "more than %d outputs with boxes", TERN_MAX_LEVELS);
            }
            /* Its other dims may promise boxes that no data has. */
            if (outputs[i].dims[0] < 1) {
                return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has no boxes of any picture, a batch of 0",
                               outputs[i].name);
            }
            out->levels[out->n_levels++] = i;
        }
    }
    if (out->n_levels == 0) return tn_fail(err, TERN_UNSUPPORTED, "no output looks like one of a detector");
    if (outputs[out->levels[0]].rank == 3 && out->n_levels > 1) {
        return tn_fail(err, TERN_UNSUPPORTED, "%d outputs of rank 3 ('%s', '%s' ...) are of no head that is known here",
                       out->n_levels, outputs[out->levels[0]].name, outputs[out->levels[1]].name);
    }
    return TERN_OK;
}

tern_status tern_head_recognise(tern_head_layout *out, const tern_head_output *outputs, int count,
                                const tern_head_hints *hints, tern_error *err) {
    *out = (tern_head_layout){.proto = -1,
                              .boxes = -1,
                              .scores = -1,
                              .labels = -1,
                              .number = -1,
                              .landmarks = -1,
                              .coefficients = -1,
                              .batches = -1};
    if (count < 1 || count > TERN_MAX_HEAD_OUTPUTS) {
        return tn_fail(err, TERN_UNSUPPORTED, "%d outputs; a detector has 1 to %d", count, TERN_MAX_HEAD_OUTPUTS);
    }
    tern_head head = hints->head;
    bool one = count == 1 && outputs[0].rank == 2;
    bool row =
        one && (outputs[0].dims[1] == 6 || outputs[0].dims[1] == 7) && (size_t)outputs[0].dims[1] != hints->names;
    if (head == TERN_HEAD_CLASSIFY || (head == TERN_HEAD_AUTO && one && !row)) {
        return recognise_classes(out, &outputs[0], err);
    }
    if (head == TERN_HEAD_NMS || row) return recognise_nms(out, outputs, count, err);
    if (head == TERN_HEAD_AUTO && count >= 3 && find_nms_outputs(out, outputs, count)) {
        return recognise_nms(out, outputs, count, err);
    }
    out->proto = find_proto(outputs, count);
    TN_TRY(find_levels(out, outputs, count, err));
    if (outputs[out->levels[0]].rank == 3) return recognise_rows(out, outputs, hints, err);
    return recognise_raw(out, outputs, hints, err);
}

bool tern_head_is_grid(const tern_head_layout *layout, const tern_head_output *outputs, int width, int height) {
    if (layout->head != TERN_HEAD_YOLOV5 || layout->raw || layout->masks) return false;
    const tern_head_output *o = &outputs[layout->levels[0]];
    int64_t cells = count_cells(width, height, 8, 32), numbers = o->dims[2];
    if (cells == 0 || o->dims[1] != cells) return false;
    /* Over the finest level: mean distance of x from 0, and from the middle of its cell. */
    int columns = width / 8, n = columns * (height / 8), used = 0;
    double from_zero = 0, from_cell = 0;
    for (int i = 0; i < n; i++) {
        double x = (double)o->data[numbers * i];
        if (!isfinite(x)) continue;
        from_zero += fabs(x);
        from_cell += fabs(x - (i % columns + 0.5) * 8);
        used++;
    }
    return used > 0 && from_zero < from_cell && from_zero / used < width / 8.0;
}
