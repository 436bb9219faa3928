#include "cli/eval_coco.h"

#include <math.h>
#include <stdio.h>

#include "base/base.h"
#include "cli/coco.h"
#include "cli/dataset.h"
#include "cli/json.h"
#include "cli/progress.h"

#define NO_CATEGORY (-1)

typedef struct evaluation {
    const cli_eval_coco *e;
    cli_coco data;
    cli_detector detector;
    int32_t *category_of; /* of each class of the model; NULL before the first picture */
    size_t n_classes;
    coco_detection *found;
    size_t n_found, found_cap;
    cli_progress progress;
} evaluation;

/* ---- classes and categories ------------------------------------------------------------------------------------- */

static int32_t category_named(const cli_coco *data, const char *name) {
    for (size_t c = 0; c < data->n_categories; c++) {
        if (strcmp(data->categories[c].name, name) == 0) return (int32_t)c;
    }
    return NO_CATEGORY;
}

/* By name; without names in the order of the categories' ids, which must be as many then. */
static tern_status map_classes(evaluation *v, tern_error *err) {
    const cli_detector *d = &v->detector;
    size_t known = 0, n = (size_t)d->detector.layout.classes;
    if (d->labels.count > 0) n = d->labels.count;
    v->n_classes = n;
    v->category_of = cli_must(tn_alloc_array(n + 1, sizeof *v->category_of));
    for (size_t i = 0; i < n; i++) {
        const char *name = tern_labels_get(&d->labels, i);
        v->category_of[i] = d->labels.count == 0 ? (int32_t)i : name ? category_named(&v->data, name) : NO_CATEGORY;
        known += v->category_of[i] != NO_CATEGORY;
    }
    if (d->labels.count == 0 && n != v->data.n_categories) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "the model has %zu classes without names, the annotations %zu categories: give --labels", n,
                       v->data.n_categories);
    }
    if (known == 0) {
        return tn_fail(err, TERN_NOT_FOUND,
                       "none of the model's classes ('%.40s' ...) is a category of the annotations ('%.40s' ...): give "
                       "--labels with their names",
                       tern_labels_get(&d->labels, 0), v->data.categories[0].name);
    }
    if (known < n) {
        cli_progress_clear(&v->progress);
        cli_error("%zu of the model's %zu classes are no category of the annotations and are left out", n - known, n);
    }
    return TERN_OK;
}

/* ---- the work --------------------------------------------------------------------------------------------------- */

static tern_status keep(evaluation *v, size_t picture, const tern_detections *d, tern_error *err) {
    if (d->class_scores) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "the model classifies pictures, it finds no boxes");
    }
    if (!v->category_of) TN_TRY(map_classes(v, err));
    if (!tn_grow(&v->found, &v->found_cap, v->n_found + d->count, sizeof *v->found)) {
        return tn_fail_oom(err, d->count * sizeof *v->found);
    }
    for (size_t i = 0; i < d->count; i++) {
        const tern_detection *item = &d->items[i];
        if ((size_t)item->cls >= v->n_classes || v->category_of[item->cls] == NO_CATEGORY) continue;
        double x = (double)item->box.x1, y = (double)item->box.y1;
        v->found[v->n_found++] = (coco_detection){.picture = (int32_t)picture,
                                                  .cls = v->category_of[item->cls],
                                                  .box = {x, y, (double)item->box.x2 - x, (double)item->box.y2 - y},
                                                  .score = (double)item->score};
    }
    return TERN_OK;
}

static tern_status run_picture(evaluation *v, size_t index, tern_error *err) {
    const tern_image_options options = {.max_pixels = (uint64_t)v->e->detector->max_pixels};
    tern_image image;
    tern_detections found;
    tn_text path;
    tn_text_init(&path);
    tn_text_add(&path, "%s/%s", v->e->folder, v->data.pictures[index].file);
    cli_must(path.failed ? NULL : path.data);
    tern_status status = tern_image_load(&image, path.data, &options, err);
    if (status == TERN_OK) {
        status = cli_detector_run(&v->detector, path.data, &image, &found, err);
        if (status == TERN_OK) status = keep(v, index, &found, err);
        tern_detections_release(&found);
        tern_image_release(&image);
    }
    tn_text_release(&path);
    return status;
}

/* One picture that can not be used ends it: the mean over part of a data set is no result. */
static tern_status run_all(evaluation *v, tern_error *err) {
    tern_status status = TERN_OK;
    cli_progress_begin(&v->progress, "evaluate", (int64_t)v->data.n_pictures);
    for (size_t i = 0; i < v->data.n_pictures && status == TERN_OK; i++) {
        status = run_picture(v, i, err);
        cli_progress_step(&v->progress, 1);
    }
    cli_progress_clear(&v->progress);
    return status;
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *key;
    coco_range range;
    int from, to; /* thresholds */
} means[] = {
    {"mAP@0.5", "mAP50", COCO_ALL, 0, 1},
    {"mAP@0.75", "mAP75", COCO_ALL, 5, 6},
    {"mAP@0.5:0.95", "mAP50_95", COCO_ALL, 0, COCO_THRESHOLDS},
    {"  small (area up to 32 x 32)", "mAP50_95_small", COCO_SMALL, 0, COCO_THRESHOLDS},
    {"  medium (up to 96 x 96)", "mAP50_95_medium", COCO_MEDIUM, 0, COCO_THRESHOLDS},
    {"  large", "mAP50_95_large", COCO_LARGE, 0, COCO_THRESHOLDS},
};

static int64_t count_truths(const coco_class_ap *ap, size_t n) {
    int64_t sum = 0;
    for (size_t c = 0; c < n; c++) sum += ap[c].truths;
    return sum;
}

static void print_number(double value, int width) {
    if (isnan(value)) {
        printf("%*s", width, "-");
    } else {
        printf("%*.4f", width, value);
    }
}

static void print_text(const cli_coco *data, const coco_class_ap *ap) {
    int32_t n = (int32_t)data->n_categories;
    printf("%zu pictures, %lld objects\n\n", data->n_pictures, (long long)count_truths(ap, data->n_categories));
    for (size_t i = 0; i < TN_COUNT(means); i++) {
        printf("%-30s", means[i].text);
        print_number(coco_mean(ap, n, means[i].range, means[i].from, means[i].to), 8);
        printf("\n");
    }
    printf("\n%-30s%8s%10s%15s\n", "class", "objects", "AP@0.5", "AP@0.5:0.95");
    for (int32_t c = 0; c < n; c++) {
        char name[30];
        snprintf(name, sizeof name, "%.28s", data->categories[c].name);
        tn_utf8_clean_line(name);
        printf("%-30s%8lld", name, (long long)ap[c].truths);
        print_number(ap[c].ap[COCO_ALL][0], 10);
        print_number(coco_class_mean(&ap[c], COCO_ALL, 0, COCO_THRESHOLDS), 15);
        printf("\n");
    }
}

static void print_json(const cli_coco *data, const coco_class_ap *ap) {
    cJSON *root = cli_json_object(NULL, NULL);
    int32_t n = (int32_t)data->n_categories;
    for (size_t i = 0; i < TN_COUNT(means); i++) {
        cli_json_double(root, means[i].key, coco_mean(ap, n, means[i].range, means[i].from, means[i].to));
    }
    cli_json_int(root, "images", (int64_t)data->n_pictures);
    cli_json_int(root, "objects", count_truths(ap, data->n_categories));
    cJSON *list = cli_json_array(root, "classes");
    for (int32_t c = 0; c < n; c++) {
        cJSON *entry = cli_json_object(list, NULL);
        cli_json_int(entry, "id", data->categories[c].id);
        cli_json_string(entry, "name", data->categories[c].name);
        cli_json_int(entry, "objects", ap[c].truths);
        cli_json_double(entry, "AP50", ap[c].ap[COCO_ALL][0]);
        cli_json_double(entry, "AP50_95", coco_class_mean(&ap[c], COCO_ALL, 0, COCO_THRESHOLDS));
    }
    cli_json_print(root);
}

static tern_status judge(evaluation *v, tern_error *err) {
    coco_data data = {(int32_t)v->data.n_categories, v->data.truths, v->data.n_truths, v->found, v->n_found};
    coco_class_ap *ap;
    if (v->e->results) {
        TN_TRY(cli_coco_write_results(&v->data, v->found, v->n_found, v->e->results, err));
    }
    TN_TRY(coco_evaluate(&ap, &data, err));
    if (v->e->common->json) {
        print_json(&v->data, ap);
    } else {
        print_text(&v->data, ap);
    }
    tn_free(ap);
    return TERN_OK;
}

int cli_eval_coco_run(const cli_eval_coco *e) {
    evaluation v = {.e = e};
    tern_error err;
    if (e->results && cli_same_file(e->annotations, e->results)) {
        cli_error("%s: the detections would replace the annotations; give another name", e->results);
        return CLI_FAILED;
    }
    if (cli_coco_load(&v.data, e->annotations, &err) != TERN_OK) {
        cli_coco_release(&v.data);
        return cli_fail(&err);
    }
    int code = cli_detector_init(&v.detector, e->command, e->common, e->detector, e->model);
    if (code == CLI_OK && (run_all(&v, &err) != TERN_OK || judge(&v, &err) != TERN_OK)) code = cli_fail(&err);
    cli_detector_release(&v.detector);
    cli_coco_release(&v.data);
    tn_free(v.category_of);
    tn_free(v.found);
    return code;
}
