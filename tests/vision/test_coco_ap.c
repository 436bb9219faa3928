/* Average precision: cases small enough for pencil and paper. tests/cli/test_fashion_detect.sh compares whole data sets
 * with another implementation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vision/detect/coco_ap.h"

enum { MAX_ITEMS = 256 };

typedef struct scene {
    coco_truth truths[MAX_ITEMS];
    coco_detection detections[MAX_ITEMS];
    size_t n_truths, n_detections;
} scene;

static void truth(scene *s, int32_t picture, int32_t cls, coco_box box) {
    s->truths[s->n_truths++] = (coco_truth){picture, cls, box, box.w * box.h, false};
}

static void found(scene *s, int32_t picture, int32_t cls, coco_box box, double score) {
    s->detections[s->n_detections++] = (coco_detection){picture, cls, box, score};
}

static coco_class_ap *evaluate(scene *s, int32_t classes) {
    coco_data data = {classes, s->truths, s->n_truths, s->detections, s->n_detections};
    coco_class_ap *ap;
    tern_error err;
    assert_int_equal(coco_evaluate(&ap, &data, &err), TERN_OK);
    return ap;
}

static void near(double have, double want) {
    if (!(fabs(have - want) < 1e-12)) fail_msg("%.15g, not %.15g", have, want);
}

static const coco_box box_a = {10, 10, 40, 40}, box_b = {100, 10, 40, 40}, nowhere = {300, 300, 40, 40};

static void test_iou(void **state) {
    (void)state;
    coco_box half = {10, 10, 40, 20}, touching = {50, 10, 40, 40}, empty = {10, 10, 0, 0};
    near(coco_iou(&box_a, &box_a, false), 1);
    near(coco_iou(&half, &box_a, false), 0.5);
    near(coco_iou(&half, &box_a, true), 1);
    near(coco_iou(&box_a, &half, true), 0.5);
    near(coco_iou(&touching, &box_a, false), 0);
    near(coco_iou(&empty, &empty, false), 0);
}

static void test_perfect(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    truth(&s, 1, 0, box_b);
    found(&s, 1, 0, box_b, 0.6);
    found(&s, 0, 0, box_a, 0.9);
    coco_class_ap *ap = evaluate(&s, 2);
    near(coco_mean(ap, 2, COCO_ALL, 0, COCO_THRESHOLDS), 1);
    near(ap[0].ap[COCO_MEDIUM][0], 1);
    assert_true(isnan(ap[0].ap[COCO_SMALL][0])); // 1,600 pixels are no small object
    assert_true(isnan(ap[1].ap[COCO_ALL][0]));   // and a class without objects does not count
    assert_int_equal(ap[0].truths, 2);
    tn_free(ap);
}

/* Two objects. Right (recall 1/2, precision 1), wrong, right (recall 1, precision 2/3): 51 recalls of 1, 50 of 2/3. */
static void test_interpolation(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    truth(&s, 0, 0, box_b);
    found(&s, 0, 0, box_a, 0.9);
    found(&s, 0, 0, nowhere, 0.8);
    found(&s, 0, 0, box_b, 0.7);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], (51 + 50 * 2.0 / 3) / 101);
    tn_free(ap);
}

/* The wrong one first: precision 1/2 for all recalls up to 1/2, and 2/3 beyond is the better one for all. */
static void test_best_precision_at_higher_recall(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    truth(&s, 0, 0, box_b);
    found(&s, 0, 0, nowhere, 0.9);
    found(&s, 0, 0, box_a, 0.8);
    found(&s, 0, 0, box_b, 0.7);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 2.0 / 3);
    tn_free(ap);
}

/* 40 x 40 shifted by 5: IoU 35/45 = 0.78, right up to a threshold of 0.75. */
static void test_thresholds(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    found(&s, 0, 0, (coco_box){15, 10, 40, 40}, 0.9);
    coco_class_ap *ap = evaluate(&s, 1);
    for (int t = 0; t < COCO_THRESHOLDS; t++) near(ap[0].ap[COCO_ALL][t], t <= 5 ? 1 : 0);
    near(coco_class_mean(ap, COCO_ALL, 0, COCO_THRESHOLDS), 0.6);
    tn_free(ap);
}

/* The second detection of an object is wrong, and so is one in another picture or of another class. */
static void test_each_object_once(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    truth(&s, 1, 0, box_b);
    found(&s, 0, 0, box_a, 0.9);
    found(&s, 0, 0, box_a, 0.8);
    found(&s, 0, 0, box_b, 0.7);
    found(&s, 1, 1, box_b, 0.6);
    coco_class_ap *ap = evaluate(&s, 2);
    near(ap[0].ap[COCO_ALL][0], 51.0 / 101);
    assert_true(isnan(ap[1].ap[COCO_ALL][0]));
    tn_free(ap);
}

/* Detections in a crowd do not count, however many; one elsewhere does. */
static void test_crowd(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_b);
    truth(&s, 0, 0, (coco_box){0, 0, 90, 90});
    s.truths[1].crowd = true;
    found(&s, 0, 0, box_a, 0.9);
    found(&s, 0, 0, (coco_box){20, 20, 40, 40}, 0.8);
    found(&s, 0, 0, box_b, 0.7);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 1);
    assert_int_equal(ap[0].truths, 1);
    tn_free(ap);
    found(&s, 0, 0, nowhere, 0.75);
    ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 0.5);
    tn_free(ap);
}

/* An object within a crowd is taken before the crowd, though its IoU is lower. */
static void test_object_before_crowd(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, (coco_box){0, 0, 90, 90});
    s.truths[0].crowd = true;
    truth(&s, 0, 0, (coco_box){15, 10, 40, 40});
    found(&s, 0, 0, box_a, 0.9);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 1);
    tn_free(ap);
}

/* Of medium size alone: the large object is ignored with what finds it, and so is a large box that finds nothing. The
 * area is the object's, not its box's. */
static void test_ranges(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    const coco_box large = {0, 100, 200, 200};
    truth(&s, 0, 0, box_a);
    truth(&s, 0, 0, large);
    truth(&s, 0, 0, box_b);
    s.truths[2].area = 1000;
    found(&s, 0, 0, large, 0.9);
    found(&s, 0, 0, (coco_box){300, 0, 200, 200}, 0.8);
    found(&s, 0, 0, box_a, 0.7);
    found(&s, 0, 0, box_b, 0.6);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_MEDIUM][0], 1);
    near(ap[0].ap[COCO_SMALL][0], 1);
    near(ap[0].ap[COCO_LARGE][0], 1);
    near(ap[0].ap[COCO_ALL][0], (34 * 1 + 67 * 0.75) / 101);
    tn_free(ap);
}

/* Number 101 of a picture does not count; that of another picture does. */
static void test_most_detections(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    truth(&s, 0, 0, box_a);
    truth(&s, 1, 0, box_a);
    for (int i = 0; i < COCO_MAX_DETECTIONS; i++) found(&s, 0, 0, nowhere, 0.5);
    found(&s, 0, 0, box_a, 0.4);
    found(&s, 1, 0, box_a, 0.3);
    coco_class_ap *ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 51.0 / 101 / 101);
    tn_free(ap);
}

static void test_nothing(void **state) {
    (void)state;
    scene s = {.n_truths = 0};
    coco_class_ap *ap = evaluate(&s, 1);
    assert_true(isnan(coco_mean(ap, 1, COCO_ALL, 0, 1)));
    tn_free(ap);
    truth(&s, 0, 0, box_a);
    ap = evaluate(&s, 1);
    near(ap[0].ap[COCO_ALL][0], 0);
    tn_free(ap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iou),           cmocka_unit_test(test_perfect),
        cmocka_unit_test(test_interpolation), cmocka_unit_test(test_best_precision_at_higher_recall),
        cmocka_unit_test(test_thresholds),    cmocka_unit_test(test_each_object_once),
        cmocka_unit_test(test_crowd),         cmocka_unit_test(test_object_before_crowd),
        cmocka_unit_test(test_ranges),        cmocka_unit_test(test_most_detections),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
