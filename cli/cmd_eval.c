/* tern eval: how often a classifier is right, how well a detector finds. */
#include <stdio.h>

#include "base/base.h"
#include "cli/classifier.h"
#include "cli/dataset.h"
#include "cli/eval_coco.h"
#include "cli/json.h"
#include "cli/progress.h"

#define MAX_CLASSES   4096 /* the confusion matrix has the square of that */
#define TABLE_CLASSES 20   /* more do not fit on a terminal */
#define WORST_PAIRS   10

typedef struct eval_args {
    cli_classifier_args classifier; /* first, as it begins with the common options */
    cli_detector_args detector;
    const char *coco, *results;
} eval_args;

typedef struct tally {
    size_t classes;
    int64_t *confusion; /* (truth, answer) */
    int64_t done, right, in_five;
} tally;

/* ---- output ------------------------------------------------------------------------------------------------ */

static const char *label_of(const cli_classifier *c, size_t index) {
    const char *label = tern_labels_get(&c->labels, index);
    return label ? label : "";
}

static int64_t cell(const tally *t, size_t truth, size_t answer) { return t->confusion[truth * t->classes + answer]; }

static int64_t row_sum(const tally *t, size_t truth) {
    int64_t sum = 0;
    for (size_t i = 0; i < t->classes; i++) sum += cell(t, truth, i);
    return sum;
}

static double percent(int64_t part, int64_t whole) { return whole ? 100.0 * (double)part / (double)whole : 0; }

static void print_table(const cli_classifier *c, const tally *t) {
    printf("\nconfusion matrix (row: the truth, column: the answer)\n\n%22s", "");
    for (size_t i = 0; i < t->classes; i++) printf(" %5zu", i);
    printf("   right\n");
    for (size_t i = 0; i < t->classes; i++) {
        printf("%3zu %-18.18s", i, label_of(c, i));
        for (size_t k = 0; k < t->classes; k++) printf(" %5lld", (long long)cell(t, i, k));
        printf(" %6.2f%%\n", percent(cell(t, i, i), row_sum(t, i)));
    }
}

/* The most frequent mistakes, for models with too many classes for a table. */
static void print_worst(const cli_classifier *c, const tally *t) {
    struct {
        size_t truth, answer;
        int64_t count;
    } worst[WORST_PAIRS];
    size_t have = 0;
    for (size_t i = 0; i < t->classes * t->classes; i++) {
        size_t truth = i / t->classes, answer = i % t->classes, at = have;
        if (truth == answer || t->confusion[i] == 0) continue;
        while (at > 0 && t->confusion[i] > worst[at - 1].count) at--;
        if (at >= WORST_PAIRS) continue;
        if (have < WORST_PAIRS) have++;
        memmove(&worst[at + 1], &worst[at], (have - 1 - at) * sizeof worst[0]);
        worst[at].truth = truth;
        worst[at].answer = answer;
        worst[at].count = t->confusion[i];
    }
    printf("\nmost frequent mistakes (--json has the whole confusion matrix)\n\n");
    for (size_t i = 0; i < have; i++) {
        printf("%6lld  %zu %s -> %zu %s\n", (long long)worst[i].count, worst[i].truth, label_of(c, worst[i].truth),
               worst[i].answer, label_of(c, worst[i].answer));
    }
}

static void print_text(const cli_classifier *c, const tally *t) {
    printf("accuracy %.2f %% (%lld of %lld)", percent(t->right, t->done), (long long)t->right, (long long)t->done);
    if (t->classes > 5) printf(", among the first five %.2f %%", percent(t->in_five, t->done));
    printf("\n");
    if (t->classes <= TABLE_CLASSES) {
        print_table(c, t);
    } else {
        print_worst(c, t);
    }
}

static void print_json(const cli_classifier *c, const tally *t) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_double(root, "accuracy", t->done ? (double)t->right / (double)t->done : 0);
    cli_json_double(root, "top5_accuracy", t->done ? (double)t->in_five / (double)t->done : 0);
    cli_json_int(root, "correct", t->right);
    cli_json_int(root, "images", t->done);
    cJSON *labels = cli_json_array(root, "labels");
    cJSON *rows = cli_json_array(root, "confusion");
    for (size_t i = 0; i < t->classes; i++) {
        cli_json_string(labels, NULL, tern_labels_get(&c->labels, i));
        cJSON *row = cli_json_array(rows, NULL);
        for (size_t k = 0; k < t->classes; k++) cli_json_int(row, NULL, cell(t, i, k));
    }
    cli_json_print(root);
}

/* ---- the work ---------------------------------------------------------------------------------------------- */

static tern_status start_tally(tally *t, cli_classifier *c, size_t classes, tern_error *err) {
    if (t->confusion) {
        if (t->classes == classes) return TERN_OK;
        return tn_fail(err, TERN_SHAPE_MISMATCH, "the model gave %zu scores, before that %zu", classes, t->classes);
    }
    if (classes > MAX_CLASSES) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "the model has %zu classes, more than %d", classes, MAX_CLASSES);
    }
    cli_classifier_choose_labels(c, classes);
    t->classes = classes;
    t->confusion = cli_must(tn_calloc(classes * classes, sizeof *t->confusion));
    return TERN_OK;
}

static tern_status count_batch(tally *t, cli_classifier *c, const tern_image *images, const size_t *truth, int count,
                               tern_error *err) {
    float *scores;
    size_t classes;
    TN_TRY(tern_classifier_run(&c->classifier, images, count, &scores, &classes, err));
    tern_status status = start_tally(t, c, classes, err);
    for (int i = 0; i < count && status == TERN_OK; i++) {
        if (truth[i] >= classes) {
            status = tn_fail(err, TERN_INVALID_FORMAT, "a label is %zu, the model has %zu classes", truth[i], classes);
            break;
        }
        tern_score best[5];
        size_t n = tern_top_k(scores + classes * (size_t)i, classes, best, 5);
        t->confusion[truth[i] * classes + best[0].index]++;
        t->done++;
        t->right += best[0].index == truth[i];
        for (size_t k = 0; k < n; k++) t->in_five += best[k].index == truth[i];
    }
    tn_free(scores);
    return status;
}

/* A picture that can not be read is reported and left out. */
static int run_all(tally *t, cli_classifier *c, cli_dataset *data, int want_batch) {
    int batch = tern_classifier_batch(&c->classifier, want_batch), code = CLI_OK, count = 0;
    tern_image *images = cli_must(tn_calloc((size_t)batch, sizeof *images));
    size_t *truth = cli_must(tn_calloc((size_t)batch, sizeof *truth));
    size_t total = cli_dataset_count(data);
    tern_status status = TERN_OK;
    tern_error err;
    cli_progress progress;
    cli_progress_begin(&progress, "evaluate", (int64_t)total);
    for (size_t i = 0; i < total && status == TERN_OK; i++) {
        cli_sample sample;
        status = cli_dataset_next(data, &sample, &err);
        if (status == TERN_OK && sample.skipped) {
            code = cli_fail(&err);
        } else if (status == TERN_OK) {
            images[count] = sample.image;
            truth[count++] = sample.label;
        }
        if (status == TERN_OK && count > 0 && (count == batch || i + 1 == total)) {
            status = count_batch(t, c, images, truth, count, &err);
            while (count > 0) tern_image_release(&images[--count]);
        }
        cli_progress_step(&progress, 1);
    }
    while (count > 0) tern_image_release(&images[--count]);
    cli_progress_clear(&progress);
    tn_free(images);
    tn_free(truth);
    if (status == TERN_OK) return code;
    t->done = 0; /* part of a data set is no result */
    return cli_fail(&err);
}

static int evaluate(const cli_classifier_args *args, cli_classifier *c, char **operands, int count) {
    cli_dataset *data;
    tern_error err;
    tern_status status = count == 3 ? cli_dataset_open_idx(&data, operands[1], operands[2], &err)
                                    : cli_dataset_open_folder(&data, operands[1], &c->labels, &err);
    if (status != TERN_OK) return cli_fail(&err);
    tally t = {0};
    int code = run_all(&t, c, data, (int)args->batch);
    cli_dataset_close(data);
    if (t.done > 0 && args->common.json) {
        print_json(c, &t);
    } else if (t.done > 0) {
        print_text(c, &t);
    }
    tn_free(t.confusion);
    return code;
}

extern const cli_command cli_cmd_eval;

/* What both kinds of networks have an option for is given once. */
static int evaluate_detector(const eval_args *a, char **operands) {
    cli_detector_args detector = a->detector;
    detector.size = a->classifier.size;
    detector.labels = a->classifier.labels;
    detector.preprocess = a->classifier.preprocess;
    detector.bgr = a->classifier.bgr;
    detector.max_pixels = a->classifier.max_pixels;
    const cli_eval_coco e = {.command = &cli_cmd_eval,
                             .common = &a->classifier.common,
                             .detector = &detector,
                             .annotations = a->coco,
                             .model = operands[0],
                             .folder = operands[1],
                             .results = a->results};
    return cli_eval_coco_run(&e);
}

static int run(void *args, char **operands, int count) {
    const eval_args *a = args;
    if (a->coco && count != 2) {
        return cli_usage_error(&cli_cmd_eval, "--coco wants a model and the folder of the pictures");
    }
    if (a->results && !a->coco) return cli_usage_error(&cli_cmd_eval, "--det-json goes with --coco");
    if (a->coco) return evaluate_detector(a, operands);
    cli_classifier c;
    int code = cli_classifier_init(&c, &cli_cmd_eval, &a->classifier, operands[0]);
    if (code == CLI_OK) code = evaluate(&a->classifier, &c, operands, count);
    cli_classifier_release(&c);
    return code;
}

/* Of boxes, all that may count: what YOLOv5's validation keeps. */
static void defaults(void *args) {
    eval_args *a = args;
    cli_classifier_defaults(&a->classifier);
    cli_detector_defaults(&a->detector);
    a->detector.conf = 0.001;
    a->detector.iou = 0.6;
    a->detector.multi_label = true;
}

#define ROW(field) offsetof(eval_args, field)
static const cli_option options[] = {
    CLI_CLASSIFIER_OPTIONS,
    {"coco", 0, CLI_STRING, "FILE", "MODEL is a detector, FILE the boxes of the pictures in COCO's format", ROW(coco),
     0, 0},
    {"conf", 'c', CLI_REAL, "X", "with --coco: only boxes with a score above X (default: 0.001)", ROW(detector.conf), 0,
     1},
    {"iou", 0, CLI_REAL, "X", "of boxes of a class that overlap by more than X, keep the best (default: 0.6)",
     ROW(detector.iou), 0, 1},
    {"max-det", 0, CLI_INT, "N", "at most N boxes per picture (default: 300)", ROW(detector.max_det), 1, 30000},
    CLI_DETECTOR_OPTIONS(eval_args),
    {"det-json", 0, CLI_STRING, "FILE", "with --coco: write the boxes that were found, in COCO's format of results",
     ROW(results), 0, 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};

static const char *const examples[] = {
    "tern eval default t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz",
    "tern eval resnet50.onnx imagenet/val --fit crop --resize 256 --json",
    "tern eval --coco instances_val2017.json yolov5n.onnx val2017/",
    NULL,
};

const cli_command cli_cmd_eval = {
    .name = "eval",
    .summary = "measure a model on labelled pictures",
    .operands = "MODEL IMAGES [LABELS]",
    .description =
        "Of a classifier, prints accuracy and confusion matrix. IMAGES and LABELS are IDX files (as MNIST has them, "
        ".gz\n"
        "too); or IMAGES alone is a folder with a folder per class, named by number, label or the label's first word.\n"
        "Of a detector, with --coco, prints the mean average precision as COCO defines it. IMAGES is the folder of "
        "the\n"
        "pictures; classes and categories belong together by their names.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model, the data or a picture could not be used",
    .min_operands = 2,
    .max_operands = 3,
    .args_size = sizeof(eval_args),
    .defaults = defaults,
    .run = run,
};
