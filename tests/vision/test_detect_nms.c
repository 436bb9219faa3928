/* Suppression against a naive reference, and its cost. */
#include "test_util.h"

#include <math.h>

#include "vision/detect/nms.h"

/* ---- the reference: double precision, every pair, a selection sort --------------------------------------------- */

static double ref_iou(const tern_box *a, const tern_box *b) {
    double w = fmin((double)a->x2, (double)b->x2) - fmax((double)a->x1, (double)b->x1);
    double h = fmin((double)a->y2, (double)b->y2) - fmax((double)a->y1, (double)b->y1);
    double inter = fmax(w, 0) * fmax(h, 0);
    double both = ((double)a->x2 - (double)a->x1) * ((double)a->y2 - (double)a->y1) +
                  ((double)b->x2 - (double)b->x1) * ((double)b->y2 - (double)b->y1);
    return inter / (both - inter);
}

static size_t ref_nms(const tern_candidate *items, size_t n, double iou, size_t max_det, bool agnostic, size_t *kept) {
    bool *done = calloc(n + 1, 1);
    size_t have = 0;
    while (have < max_det) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            if (!done[i] && (best == n || items[i].score > items[best].score)) best = i;
        }
        if (best == n) break;
        done[best] = true;
        kept[have++] = best;
        for (size_t i = 0; i < n; i++) {
            if (done[i] || (!agnostic && items[i].cls != items[best].cls)) continue;
            if (ref_iou(&items[i].box, &items[best].box) > iou) done[i] = true;
        }
    }
    free(done);
    return have;
}

static tern_candidate random_candidate(tt_rng *rng, int classes, uint32_t i) {
    double x = tt_random_real(rng, 0, 600), y = tt_random_real(rng, 0, 600);
    double w = tt_random_real(rng, 5, 200), h = tt_random_real(rng, 5, 200);
    return (tern_candidate){.box = {(float)x, (float)y, (float)(x + w), (float)(y + h)},
                            .score = (float)tt_random_int(rng, 1, 1000) / 1000, /* many equal ones */
                            .cls = (int32_t)tt_random_below(rng, (uint64_t)classes),
                            .position = i};
}

static void compare(size_t n, int classes, double iou, int max_det, bool agnostic, uint64_t seed) {
    tt_rng rng = tt_rng_init(seed);
    tern_candidate *items = calloc(n + 1, sizeof *items), *copy = calloc(n + 1, sizeof *copy);
    size_t *want = calloc(n + 1, sizeof *want);
    for (size_t i = 0; i < n; i++) copy[i] = items[i] = random_candidate(&rng, classes, (uint32_t)i);
    size_t wanted = ref_nms(copy, n, iou, (size_t)max_det, agnostic, want), have;
    const tern_nms_options options = {.iou = iou, .max_det = max_det, .agnostic = agnostic};
    assert_int_equal(tern_nms(items, n, &options, &have, NULL), TERN_OK);
    assert_int_equal(have, wanted);
    for (size_t i = 0; i < have; i++) assert_int_equal(items[i].position, want[i]);
    free(items);
    free(copy);
    free(want);
}

static void against_reference(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 7, 63, 64, 65, 300, 1500};
    static const double limits[] = {0.45, 0.1, 0.9, 0, 1};
    uint64_t seed = 1;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
            for (int classes = 1; classes <= 80; classes *= 5) {
                compare(sizes[s], classes, limits[l], 300, false, seed++);
                compare(sizes[s], classes, limits[l], 10, seed % 2, seed);
            }
        }
    }
}

static size_t run(tern_candidate *items, size_t n, tern_nms_options options) {
    size_t kept = 12345;
    assert_int_equal(tern_nms(items, n, &options, &kept, NULL), TERN_OK);
    return kept;
}

static void limit_is_strict(void **state) {
    (void)state;
    /* 10 x 10 boxes of which the second is the lower half: IoU exactly 0.5. */
    const tern_candidate two[] = {{.box = {0, 0, 10, 10}, .score = 0.9f}, {.box = {0, 5, 10, 10}, .score = 0.8f}};
    tern_candidate items[2];
    memcpy(items, two, sizeof items);
    assert_int_equal(run(items, 2, (tern_nms_options){.iou = 0.5, .max_det = 9}), 2);
    memcpy(items, two, sizeof items);
    assert_int_equal(run(items, 2, (tern_nms_options){.iou = 0.4999, .max_det = 9}), 1);
    memcpy(items, two, sizeof items);
    items[1].cls = 3;
    assert_int_equal(run(items, 2, (tern_nms_options){.iou = 0.4999, .max_det = 9}), 2);
    memcpy(items, two, sizeof items);
    items[1].cls = 3;
    assert_int_equal(run(items, 2, (tern_nms_options){.iou = 0.4999, .max_det = 9, .agnostic = true}), 1);
    memcpy(items, two, sizeof items);
    assert_int_equal(run(items, 2, (tern_nms_options){.iou = 0.5, .max_det = 0}), 0);
}

/* A box that was suppressed suppresses nobody. */
static void chain(void **state) {
    (void)state;
    tern_candidate items[] = {{.box = {0, 0, 10, 10}, .score = 0.9f, .position = 0},
                              {.box = {3, 0, 13, 10}, .score = 0.8f, .position = 1},
                              {.box = {6, 0, 16, 10}, .score = 0.7f, .position = 2}};
    assert_int_equal(run(items, 3, (tern_nms_options){.iou = 0.45, .max_det = 9}), 2);
    assert_int_equal(items[0].position, 0);
    assert_int_equal(items[1].position, 2);
}

static void boxes_without_area(void **state) {
    (void)state;
    /* NaN as IoU of a point with itself suppresses nothing; inside-out boxes do no harm. */
    tern_candidate items[] = {{.box = {5, 5, 5, 5}, .score = 0.9f},
                              {.box = {5, 5, 5, 5}, .score = 0.8f},
                              {.box = {9, 9, 1, 1}, .score = 0.7f},
                              {.box = {-1e38f, -1e38f, 1e38f, 1e38f}, .score = 0.6f},
                              {.box = {-1e38f, -1e38f, 1e38f, 1e38f}, .score = 0.5f}};
    size_t kept = run(items, 5, (tern_nms_options){.iou = 0.45, .max_det = 9});
    assert_in_range(kept, 4, 5);
}

/* Scores of any sign, equal ones in order. */
static void order(void **state) {
    (void)state;
    enum { N = 1000 };
    tt_rng rng = tt_rng_init(7);
    tern_candidate items[N];
    for (uint32_t i = 0; i < N; i++) {
        items[i] = (tern_candidate){.score = (float)tt_random_int(&rng, -50, 50), .position = i};
    }
    size_t kept;
    assert_int_equal(tern_best_candidates(items, N, N, &kept, NULL), TERN_OK);
    assert_int_equal(kept, N);
    for (size_t i = 1; i < N; i++) {
        assert_true(items[i - 1].score >= items[i].score);
        if (items[i - 1].score == items[i].score) assert_true(items[i - 1].position < items[i].position);
    }
    assert_int_equal(tern_best_candidates(items, N, 17, &kept, NULL), TERN_OK);
    assert_int_equal(kept, 17);
}

/* More candidates than are looked at: the worst are cut, as many as there may be. */
static void cut_of_candidates(void **state) {
    (void)state;
    size_t n = TERN_NMS_MAX_CANDIDATES + 5000;
    tern_candidate *items = calloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        float x = (float)(i % 300) * 10, y = (float)(i / 300) * 10;
        items[i] = (tern_candidate){.box = {x, y, x + 9, y + 9}, .score = 0.25f + (float)i * 1e-6f};
    }
    assert_int_equal(run(items, n, (tern_nms_options){.iou = 0.45, .max_det = 1 << 20}), TERN_NMS_MAX_CANDIDATES);
    assert_true(items[0].score > items[TERN_NMS_MAX_CANDIDATES - 1].score);
    free(items);
}

/* 200,000 boxes over each other, of one class and of 80: seconds if it were quadratic. */
static void many(void **state) {
    (void)state;
    size_t n = 200000;
    tern_candidate *items = calloc(n, sizeof *items);
    for (int classes = 1; classes <= 80; classes += 79) {
        tt_rng rng = tt_rng_init(3);
        for (size_t i = 0; i < n; i++) items[i] = random_candidate(&rng, classes, (uint32_t)i);
        uint64_t start = tn_clock_ns();
        size_t kept = run(items, n, (tern_nms_options){.iou = 0.45, .max_det = 300});
        double ms = (double)(tn_clock_ns() - start) * 1e-6;
        print_message("# %zu boxes of %d classes: %zu kept in %.1f ms\n", n, classes, kept, ms);
        assert_int_equal(kept, 300);
        assert_true(ms < 5000);
    }
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_reference),
                                       cmocka_unit_test(limit_is_strict),
                                       cmocka_unit_test(chain),
                                       cmocka_unit_test(boxes_without_area),
                                       cmocka_unit_test(order),
                                       cmocka_unit_test(cut_of_candidates),
                                       cmocka_unit_test(many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
