/* Heads: recognised from shapes, decoded against boxes that are computed here, in double precision. */
#include "test_util.h"

#include <math.h>

#include "vision/detect/detect.h"

#define W 128
#define H 96

/* ---- tensors of an output ------------------------------------------------------------------------------------- */

typedef struct output {
    tern_head_output o;
    float *data;
} output;

static output make(const char *name, int rank, const int64_t *dims, float fill) {
    output out = {.o = {.name = name, .rank = rank}};
    size_t n = 1;
    for (int i = 0; i < rank; i++) {
        out.o.dims[i] = dims[i];
        n *= (size_t)dims[i];
    }
    out.data = calloc(n + 1, sizeof *out.data);
    assert_non_null(out.data);
    for (size_t i = 0; i < n; i++) out.data[i] = fill;
    out.o.data = out.data;
    return out;
}

static tern_head_hints hints_of(size_t names) { return (tern_head_hints){.width = W, .height = H, .names = names}; }

static tern_status recognise(tern_head_layout *l, const output *outs, int n, const tern_head_hints *hints) {
    tern_head_output list[TERN_MAX_HEAD_OUTPUTS];
    for (int i = 0; i < n; i++) list[i] = outs[i].o;
    return tern_head_recognise(l, list, n, hints, NULL);
}

static tern_candidates decode(const tern_head_layout *l, const output *outs, int n, const tern_decode_options *o) {
    tern_head_output list[TERN_MAX_HEAD_OUTPUTS];
    for (int i = 0; i < n; i++) list[i] = outs[i].o;
    tern_candidates c;
    tern_error err = {0};
    tern_status status = tern_head_decode(l, list, W, H, o, &c, &err);
    if (status != TERN_OK) print_message("# %s\n", err.text);
    assert_int_equal(status, TERN_OK);
    return c;
}

static void release(output *outs, int n) {
    for (int i = 0; i < n; i++) free(outs[i].data);
}

static void assert_near(double have, double want, double tolerance) {
    if (fabs(have - want) <= tolerance) return;
    print_message("# %.6f, not %.6f\n", have, want);
    fail();
}

static void assert_box(const tern_candidate *c, double x, double y, double w, double h, double score, int cls) {
    assert_near((double)c->box.x1, x - w / 2, 1e-3);
    assert_near((double)c->box.y1, y - h / 2, 1e-3);
    assert_near((double)c->box.x2, x + w / 2, 1e-3);
    assert_near((double)c->box.y2, y + h / 2, 1e-3);
    assert_near((double)c->score, score, 1e-6);
    assert_int_equal(c->cls, cls);
}

static const tern_decode_options usual = {.conf = 0.25};
static double sig(double x) { return 1 / (1 + exp(-x)); }

/* ---- raw ------------------------------------------------------------------------------------------------------- */

static const double p5[] = {10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326};

/* Three levels, all logits low; `five`: (1, 3, h, w, no) instead of (1, 3 * no, h, w). */
static void make_raw(output out[3], int no, bool five, bool reversed) {
    static const char *const names[] = {"out0", "out1", "out2"};
    for (int i = 0; i < 3; i++) {
        int stride = 8 << (reversed ? 2 - i : i);
        if (five) {
            out[i] = make(names[i], 5, (int64_t[]){1, 3, H / stride, W / stride, no}, -9);
        } else {
            out[i] = make(names[i], 4, (int64_t[]){1, 3 * no, H / stride, W / stride}, -9);
        }
    }
}

static float *raw_at(output *o, int no, int anchor, int y, int x, int number) {
    if (o->o.rank == 5) {
        int64_t h = o->o.dims[2], w = o->o.dims[3];
        return o->data + (((size_t)anchor * (size_t)h + (size_t)y) * (size_t)w + (size_t)x) * (size_t)no + number;
    }
    int64_t h = o->o.dims[2], w = o->o.dims[3];
    return o->data + (((size_t)anchor * (size_t)no + (size_t)number) * (size_t)h + (size_t)y) * (size_t)w + x;
}

static void raw_head(bool five, bool reversed, const tern_anchors *anchors) {
    enum { NO = 5 + 4 };
    output out[3];
    make_raw(out, NO, five, reversed);
    static const float v[2][NO] = {{0.3f, -1.2f, 0.7f, 0.1f, 2.5f, -3, 1.5f, 0.2f, -1},
                                   {-0.4f, 2.1f, -0.6f, 1.9f, 1.1f, 0.5f, 0.4f, -8, 2.2f}};
    for (int i = 0; i < NO; i++) {
        *raw_at(&out[0], NO, 1, 1, 2, i) = v[0][i];
        *raw_at(&out[2], NO, 2, 1, 1, i) = v[1][i];
    }
    tern_head_hints hints = hints_of(4);
    if (anchors) hints.anchors = *anchors;
    tern_head_layout l;
    assert_int_equal(recognise(&l, out, 3, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_YOLOV5);
    assert_true(l.raw);
    assert_int_equal(l.assumed_anchors, !anchors);
    tern_candidates c = decode(&l, out, 3, &usual);
    assert_int_equal(c.count, 2);
    static const int level[2] = {0, 2}, anchor[2] = {1, 2}, cx[2] = {2, 1}, cy[2] = {1, 1}, best[2] = {1, 3};
    for (int i = 0; i < 2; i++) {
        int grid = reversed ? 2 - level[i] : level[i];
        double stride = 8 << grid;
        const double *a = anchors ? anchors->sizes + (level[i] * 3 + anchor[i]) * 2 : p5 + (grid * 3 + anchor[i]) * 2;
        const float *t = v[i];
        assert_box(&c.items[i], (2 * sig((double)t[0]) - 0.5 + cx[i]) * stride,
                   (2 * sig((double)t[1]) - 0.5 + cy[i]) * stride, 4 * pow(sig((double)t[2]), 2) * a[0],
                   4 * pow(sig((double)t[3]), 2) * a[1], sig((double)t[4]) * sig((double)t[5 + best[i]]), best[i]);
    }
    tern_candidates_release(&c);
    release(out, 3);
}

static void raw_heads(void **state) {
    (void)state;
    tern_anchors own = {.count = 18};
    for (int i = 0; i < 18; i++) own.sizes[i] = 5 + 3 * i;
    for (int five = 0; five < 2; five++) {
        for (int reversed = 0; reversed < 2; reversed++) {
            raw_head(five, reversed, NULL);
            raw_head(five, reversed, &own);
        }
    }
}

static void raw_face(void **state) {
    (void)state;
    enum { NO = 16 };
    static const double anchors[] = {4, 5, 8, 10, 13, 16, 23, 29, 43, 55, 73, 105, 146, 217, 231, 300, 335, 433};
    output out[3];
    make_raw(out, NO, false, false);
    float v[NO];
    for (int i = 0; i < NO; i++) v[i] = 0.3f * (float)(i - 5);
    v[4] = 3;
    for (int i = 0; i < NO; i++) *raw_at(&out[1], NO, 2, 4, 5, i) = v[i];
    tern_head_layout l;
    tern_head_hints hints = hints_of(1);
    hints.head = TERN_HEAD_FACE;
    assert_int_equal(recognise(&l, out, 3, &hints), TERN_OK);
    assert_int_equal(l.points, 5);
    assert_int_equal(l.classes, 1);
    tern_candidates c = decode(&l, out, 3, &usual);
    assert_int_equal(c.count, 1);
    double w = anchors[10], h = anchors[11];
    assert_box(&c.items[0], (2 * sig((double)v[0]) - 0.5 + 5) * 16, (2 * sig((double)v[1]) - 0.5 + 4) * 16,
               4 * pow(sig((double)v[2]), 2) * w, 4 * pow(sig((double)v[3]), 2) * h,
               sig((double)v[4]) * sig((double)v[15]), 0);
    float points[10];
    tern_head_points(&l, &c, &c.items[0], points);
    for (int i = 0; i < 5; i++) {
        assert_near((double)points[2 * i], (double)v[5 + 2 * i] * w + 5 * 16, 1e-3);
        assert_near((double)points[2 * i + 1], (double)v[6 + 2 * i] * h + 4 * 16, 1e-3);
    }
    tern_candidates_release(&c);
    /* Without being told: one name and 16 numbers are a face. */
    hints.head = TERN_HEAD_AUTO;
    assert_int_equal(recognise(&l, out, 3, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_FACE);
    release(out, 3);
}

/* ---- decoded --------------------------------------------------------------------------------------------------- */

/* Rows of the grid of three levels with `per_cell` boxes each. */
static int64_t rows_of(int per_cell) {
    int64_t n = 0;
    for (int s = 8; s <= 32; s *= 2) n += (W / s) * (H / s);
    return n * per_cell;
}

static void decoded_rows(void **state) {
    (void)state;
    int64_t rows = rows_of(3);
    output out = make("output0", 3, (int64_t[]){1, rows, 8}, 0);
    static const float r0[] = {50, 40, 20, 10, 0.9f, 0.1f, 0.8f, 0.3f}, r1[] = {60, 30, 8, 6, 0.2f, 1, 1, 1},
                       r2[] = {10, 70, 30, 44, 0.5f, 0.6f, 0.2f, 0.55f};
    memcpy(out.data + 8 * 7, r0, sizeof r0);
    memcpy(out.data + 8 * 9, r1, sizeof r1);
    memcpy(out.data + 8 * (size_t)(rows - 1), r2, sizeof r2);
    tern_head_layout l;
    tern_head_hints hints = hints_of(3);
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_YOLOV5);
    assert_false(l.raw);
    tern_candidates c = decode(&l, &out, 1, &usual);
    assert_int_equal(c.count, 2);
    assert_box(&c.items[0], 50, 40, 20, 10, (double)(0.9f * 0.8f), 1);
    assert_box(&c.items[1], 10, 70, 30, 44, (double)(0.5f * 0.6f), 0);
    tern_candidates_release(&c);

    /* Every class above the limit: 0.72 0.27 of the first; 0.3 0.275 of the last. */
    tern_decode_options all = {.conf = 0.25, .multi_label = true};
    c = decode(&l, &out, 1, &all);
    assert_int_equal(c.count, 4);
    assert_box(&c.items[1], 50, 40, 20, 10, (double)(0.9f * 0.3f), 2);
    assert_box(&c.items[3], 10, 70, 30, 44, (double)(0.5f * 0.55f), 2);
    tern_candidates_release(&c);

    /* Only some classes: chosen after the best class, as the original does. */
    const int32_t wanted[] = {2, 1};
    tern_decode_options some = {.conf = 0.25, .classes = wanted, .n_classes = 2};
    c = decode(&l, &out, 1, &some);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.items[0].cls, 1);
    tern_candidates_release(&c);

    /* Names of another number of classes do not fit. */
    hints.names = 6;
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_SHAPE_MISMATCH);
    hints.names = 0;
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.classes, 3);
    release(&out, 1);
}

static void segmentation(void **state) {
    (void)state;
    int64_t rows = rows_of(3);
    output out[2] = {make("output0", 3, (int64_t[]){1, rows, 5 + 2 + 6}, 0),
                     make("output1", 4, (int64_t[]){1, 6, H / 4, W / 4}, 0)};
    float *row = out[0].data + 13 * 5;
    static const float box[] = {64, 48, 40, 30, 0.9f, 0.1f, 0.9f};
    memcpy(row, box, sizeof box);
    for (int i = 0; i < 6; i++) row[7 + i] = (float)i - 2;
    tern_head_layout l;
    tern_head_hints hints = hints_of(2);
    assert_int_equal(recognise(&l, out, 2, &hints), TERN_OK);
    assert_int_equal(l.masks, 6);
    assert_int_equal(l.proto, 1);
    tern_candidates c = decode(&l, out, 2, &usual);
    assert_int_equal(c.count, 1);
    float masks[6];
    tern_head_masks(&l, &c, &c.items[0], masks);
    for (int i = 0; i < 6; i++) assert_true(masks[i] == (float)i - 2);
    tern_candidates_release(&c);
    release(out, 2);

    /* Raw with prototypes: four outputs of rank 4. */
    output raw[4];
    make_raw(raw, 5 + 2 + 6, false, false);
    raw[3] = make("proto", 4, (int64_t[]){1, 6, H / 4, W / 4}, 0);
    assert_int_equal(recognise(&l, raw, 4, &hints), TERN_OK);
    assert_true(l.raw);
    assert_int_equal(l.proto, 3);
    assert_int_equal(l.n_levels, 3);
    raw[3].o.name = "x"; /* told by its channels */
    assert_int_equal(recognise(&l, raw, 4, &hints), TERN_OK);
    assert_int_equal(l.proto, 3);
    release(raw, 4);
}

static void yolov8(void **state) {
    (void)state;
    enum { NC = 3, NUMBERS = 4 + NC };
    int64_t columns = rows_of(1);
    output out[2] = {make("output0", 3, (int64_t[]){1, NUMBERS, columns}, 0),
                     make("output0", 3, (int64_t[]){1, columns, NUMBERS}, 0)};
    static const float v[3][NUMBERS] = {
        {30, 20, 10, 16, 0.1f, 0.2f, 0.7f}, {31, 21, 11, 17, 0.26f, 0.2f, 0.1f}, {5, 6, 7, 8, 0.2f, 0.25f, 0.1f}};
    const int64_t at[3] = {3, columns - 1, 100};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < NUMBERS; k++) {
            out[0].data[k * columns + at[i]] = v[i][k];
            out[1].data[at[i] * NUMBERS + k] = v[i][k];
        }
    }
    for (int transposed = 0; transposed < 2; transposed++) {
        tern_head_layout l;
        tern_head_hints hints = hints_of(NC);
        assert_int_equal(recognise(&l, &out[transposed], 1, &hints), TERN_OK);
        assert_int_equal(l.head, TERN_HEAD_YOLOV8);
        assert_int_equal(l.transposed, transposed);
        tern_candidates c = decode(&l, &out[transposed], 1, &usual);
        assert_int_equal(c.count, 2); /* 0.25 is not above 0.25 */
        assert_box(&c.items[0], 30, 20, 10, 16, (double)0.7f, 2);
        assert_box(&c.items[1], 31, 21, 11, 17, (double)0.26f, 0);
        tern_candidates_release(&c);
    }
    /* Landmarks with visibility. */
    output pose = make("output0", 3, (int64_t[]){1, 4 + 1 + 6, columns}, 0);
    for (int k = 0; k < 11; k++) pose.data[k * columns + 8] = k == 4 ? 0.9f : (float)(10 + k);
    tern_head_hints hints = hints_of(1);
    hints.points = 2;
    hints.point_size = 3;
    tern_head_layout l;
    assert_int_equal(recognise(&l, &pose, 1, &hints), TERN_OK);
    tern_candidates c = decode(&l, &pose, 1, &usual);
    assert_int_equal(c.count, 1);
    float points[6];
    tern_head_points(&l, &c, &c.items[0], points);
    for (int i = 0; i < 6; i++) assert_true(points[i] == (float)(15 + i));
    tern_candidates_release(&c);
    release(out, 2);
    release(&pose, 1);
}

static void yolox(void **state) {
    (void)state;
    enum { NC = 2, NUMBERS = 5 + NC };
    int64_t rows = rows_of(1);
    output out = make("output", 3, (int64_t[]){1, rows, NUMBERS}, 0.01f);
    /* Cell (x 3, y 1) of the level of stride 16. */
    size_t row = (size_t)((W / 8) * (H / 8) + 1 * (W / 16) + 3);
    static const float v[NUMBERS] = {0.4f, -0.3f, 1.1f, 0.2f, 0.9f, 0.3f, 0.8f};
    memcpy(out.data + row * NUMBERS, v, sizeof v);
    tern_head_layout l;
    tern_head_hints hints = hints_of(NC);
    hints.head = TERN_HEAD_YOLOX;
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    tern_candidates c = decode(&l, &out, 1, &usual);
    assert_int_equal(c.count, 1);
    assert_box(&c.items[0], (3 + (double)v[0]) * 16, (1 + (double)v[1]) * 16, exp((double)v[2]) * 16,
               exp((double)v[3]) * 16, (double)(0.9f * 0.8f), 1);
    tern_candidates_release(&c);
    /* Recognised by the numbers: x near 0, not near the cells. */
    hints.head = TERN_HEAD_AUTO;
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_YOLOV5);
    assert_true(tern_head_is_grid(&l, &out.o, W, H));
    for (int64_t i = 0; i < rows; i++) out.data[i * NUMBERS] = (float)(i % (W / 8)) * 8 + 4; /* YOLOv6 */
    assert_false(tern_head_is_grid(&l, &out.o, W, H));
    release(&out, 1);
}

/* ---- after suppression ------------------------------------------------------------------------------------------ */

static void end_to_end(void **state) {
    (void)state;
    static const float six[] = {1, 2, 30, 40, 0.9f, 3, 5, 6, 7, 8, 0.2f, 1, 9, 10, 20, 30, 0.5f, 0};
    output out = make("output0", 3, (int64_t[]){1, 3, 6}, 0);
    memcpy(out.data, six, sizeof six);
    tern_head_layout l;
    tern_head_hints hints = hints_of(80);
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_NMS);
    tern_candidates c = decode(&l, &out, 1, &usual);
    assert_int_equal(c.count, 2);
    assert_box(&c.items[0], 15.5, 21, 29, 38, (double)0.9f, 3);
    assert_box(&c.items[1], 14.5, 20, 11, 20, 0.5, 0);
    tern_candidates_release(&c);
    release(&out, 1);

    static const float seven[] = {0, 1, 2, 30, 40, 3, 0.9f, 1, 1, 2, 30, 40, 3, 0.8f, 0, 5, 6, 9, 10, 7, 0.6f};
    out = make("output", 2, (int64_t[]){3, 7}, 0);
    memcpy(out.data, seven, sizeof seven);
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_NMS);
    c = decode(&l, &out, 1, &usual);
    assert_int_equal(c.count, 2); /* that of picture 1 is not ours */
    assert_int_equal(c.items[1].cls, 7);
    tern_candidates_release(&c);
    /* A network that found nothing. */
    out.o.dims[0] = 0;
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    c = decode(&l, &out, 1, &usual);
    assert_int_equal(c.count, 0);
    tern_candidates_release(&c);
    release(&out, 1);
}

static void nms_outputs(void **state) {
    (void)state;
    output out[5] = {make("num_dets", 2, (int64_t[]){1, 1}, 2), make("det_boxes", 3, (int64_t[]){1, 4, 4}, 0),
                     make("det_scores", 2, (int64_t[]){1, 4}, 0.9f), make("det_classes", 2, (int64_t[]){1, 4}, 5),
                     make("landmarks", 2, (int64_t[]){4, 10}, 0)};
    for (int i = 0; i < 16; i++) out[1].data[i] = (float)i;
    for (int i = 0; i < 40; i++) out[4].data[i] = (float)i;
    tern_head_layout l;
    tern_head_hints hints = hints_of(0);
    assert_int_equal(recognise(&l, out, 4, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_NMS);
    assert_int_equal(l.points, 0);
    tern_candidates c = decode(&l, out, 4, &usual);
    assert_int_equal(c.count, 2); /* as many as num_dets says */
    assert_box(&c.items[1], 5, 6, 2, 2, (double)0.9f, 5);
    tern_candidates_release(&c);
    /* tern's own, with landmarks: no number of boxes. */
    assert_int_equal(recognise(&l, out + 1, 4, &hints), TERN_OK);
    assert_int_equal(l.points, 5);
    c = decode(&l, out + 1, 4, &usual);
    assert_int_equal(c.count, 4);
    float points[10];
    tern_head_points(&l, &c, &c.items[3], points);
    for (int i = 0; i < 10; i++) assert_true(points[i] == (float)(30 + i));
    tern_candidates_release(&c);
    out[2].o.dims[1] = 3;
    assert_int_equal(recognise(&l, out, 4, &hints), TERN_SHAPE_MISMATCH);
    release(out, 5);
}

static void classes_of_a_picture(void **state) {
    (void)state;
    output out = make("output", 2, (int64_t[]){1, 10}, 0);
    tern_head_layout l;
    tern_head_hints hints = hints_of(0);
    assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
    assert_int_equal(l.head, TERN_HEAD_CLASSIFY);
    assert_int_equal(l.classes, 10);
    release(&out, 1);
}

/* ---- hostile outputs -------------------------------------------------------------------------------------------- */

static void not_finite(void **state) {
    (void)state;
    static const float evil[] = {NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 0, 1, 1e-40f};
    tt_rng rng = tt_rng_init(5);
    int64_t rows = rows_of(3);
    output out = make("output0", 3, (int64_t[]){1, rows, 9}, 0);
    for (int round = 0; round < 50; round++) {
        for (int64_t i = 0; i < rows * 9; i++) out.data[i] = evil[tt_random_below(&rng, 8)];
        tern_head_layout l;
        tern_head_hints hints = hints_of(0);
        hints.head = round % 2 ? TERN_HEAD_YOLOV5 : TERN_HEAD_AUTO;
        assert_int_equal(recognise(&l, &out, 1, &hints), TERN_OK);
        tern_decode_options o = {.conf = round % 3 ? 0.25 : 0, .multi_label = round % 5 == 0};
        tern_candidates c = decode(&l, &out, 1, &o);
        for (size_t i = 0; i < c.count; i++) {
            const tern_box *b = &c.items[i].box;
            assert_true(isfinite(b->x1) && isfinite(b->y1) && isfinite(b->x2) && isfinite(b->y2));
            assert_in_range(c.items[i].cls, 0, l.classes - 1);
        }
        size_t kept;
        const tern_nms_options nms = {.iou = 0.45, .max_det = 300};
        assert_int_equal(tern_nms(c.items, c.count, &nms, &kept, NULL), TERN_OK);
        tern_candidates_release(&c);
    }
    release(&out, 1);
    for (int round = 0; round < 20; round++) {
        output raw[3];
        make_raw(raw, 9, round % 2, false);
        for (int i = 0; i < 3; i++) {
            size_t n = 27 * (size_t)((H >> (3 + i)) * (W >> (3 + i)));
            for (size_t k = 0; k < n; k++) raw[i].data[k] = evil[tt_random_below(&rng, 8)];
        }
        tern_head_layout l;
        tern_head_hints hints = hints_of(0);
        assert_int_equal(recognise(&l, raw, 3, &hints), TERN_OK);
        tern_candidates c = decode(&l, raw, 3, &usual);
        for (size_t i = 0; i < c.count; i++) assert_true(isfinite(c.items[i].box.x1) && isfinite(c.items[i].box.y2));
        tern_candidates_release(&c);
        release(raw, 3);
    }
    /* Class numbers that are none. */
    output final = make("output0", 3, (int64_t[]){1, 8, 6}, 1);
    for (int i = 0; i < 8; i++) final.data[6 * i + 5] = evil[i];
    tern_head_layout l;
    tern_head_hints hints = hints_of(0);
    assert_int_equal(recognise(&l, &final, 1, &hints), TERN_OK);
    tern_candidates c = decode(&l, &final, 1, &usual);
    assert_int_equal(c.count, 3); /* 0, 1 and the one that is nearly 0 */
    tern_candidates_release(&c);
    release(&final, 1);
}

/* Such tensors have no elements, whatever their other dims say. */
static void batches_of_none(void **state) {
    (void)state;
    tern_head_layout l;
    tern_head_hints hints = hints_of(0);
    output rows = make("rows", 3, (int64_t[]){0, 1000, 85}, 0), columns = make("columns", 3, (int64_t[]){0, 84, 84}, 0);
    assert_int_equal(recognise(&l, &rows, 1, &hints), TERN_SHAPE_MISMATCH);
    assert_int_equal(recognise(&l, &columns, 1, &hints), TERN_SHAPE_MISMATCH);
    release(&rows, 1);
    release(&columns, 1);
    output raw[3];
    make_raw(raw, 9, false, false);
    for (int i = 0; i < 3; i++) raw[i].o.dims[0] = 0;
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    release(raw, 3);
}

static void shapes_that_do_not_fit(void **state) {
    (void)state;
    tern_head_layout l;
    tern_head_hints hints = hints_of(0);
    output raw[3];
    make_raw(raw, 9, false, false);
    raw[1].o.dims[3] = 7; /* no grid of the input */
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    raw[1].o.dims[3] = W / 16;
    raw[2].o.dims[1] = 26; /* no three anchors */
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    raw[2].o.dims[1] = 27;
    assert_int_equal(recognise(&l, raw, 2, &hints), TERN_NOT_FOUND); /* two levels: no standard anchors */
    hints.anchors.count = 5;
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    hints.anchors.count = 12; /* two anchors for each of three levels: 27 channels are no two boxes */
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    hints.anchors.count = 0;
    hints.head = TERN_HEAD_YOLOV8;
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_UNSUPPORTED);
    raw[0].o.dims[2] = raw[0].o.dims[3] = 0;
    hints.head = TERN_HEAD_AUTO;
    assert_int_equal(recognise(&l, raw, 3, &hints), TERN_SHAPE_MISMATCH);
    release(raw, 3);
    output one = make("x", 1, (int64_t[]){5}, 0);
    assert_int_equal(recognise(&l, &one, 1, &hints), TERN_UNSUPPORTED);
    assert_int_equal(recognise(&l, &one, 0, &hints), TERN_UNSUPPORTED);
    hints.head = TERN_HEAD_NMS;
    assert_int_equal(recognise(&l, &one, 1, &hints), TERN_SHAPE_MISMATCH);
    hints.head = TERN_HEAD_CLASSIFY;
    assert_int_equal(recognise(&l, &one, 1, &hints), TERN_SHAPE_MISMATCH);
    release(&one, 1);
    output empty = make("output0", 3, (int64_t[]){1, 0, 85}, 0);
    hints.head = TERN_HEAD_YOLOV5;
    tern_status status = recognise(&l, &empty, 1, &hints);
    assert_int_equal(status, TERN_SHAPE_MISMATCH);
    release(&empty, 1);
}

static void numbers_of_a_text(void **state) {
    (void)state;
    double v[4];
    int n;
    assert_true(tern_parse_numbers("[[10, 13.5], (16, -3)]", v, 4, &n));
    assert_int_equal(n, 4);
    assert_true(v[1] == 13.5 && v[3] == -3);
    assert_true(tern_parse_numbers("32", v, 4, &n) && n == 1 && v[0] == 32);
    assert_true(tern_parse_numbers("", v, 4, &n) && n == 0);
    assert_false(tern_parse_numbers("1 2 3 4 5", v, 4, &n));
    assert_false(tern_parse_numbers("1, x", v, 4, &n));
    assert_false(tern_parse_numbers("nan", v, 4, &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_heads),        cmocka_unit_test(raw_face),        cmocka_unit_test(decoded_rows),
        cmocka_unit_test(segmentation),     cmocka_unit_test(yolov8),          cmocka_unit_test(yolox),
        cmocka_unit_test(end_to_end),       cmocka_unit_test(nms_outputs),     cmocka_unit_test(classes_of_a_picture),
        cmocka_unit_test(not_finite),       cmocka_unit_test(batches_of_none), cmocka_unit_test(shapes_that_do_not_fit),
        cmocka_unit_test(numbers_of_a_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
