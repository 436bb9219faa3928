/* tern classify: what is in a picture. */
#include <stdio.h>

#include "base/base.h"
#include "cli/classifier.h"
#include "cli/dataset.h"
#include "cli/json.h"
#include "cli/progress.h"

#define TOP_OF_ONE 5

typedef struct classify_args {
    cli_classifier_args c;
    int64_t top; /* 0: not given */
} classify_args;

/* ---- results ----------------------------------------------------------------------------------------------- */

typedef struct classify {
    const classify_args *args;
    cli_classifier *c;
    cJSON *json; /* NULL: text */
    bool many;   /* a line per picture */
    size_t top;
    cli_progress progress;
} classify;

static void print_label(const cli_classifier *c, size_t index) {
    const char *label = tern_labels_get(&c->labels, index);
    if (label) {
        printf("%s", label);
    } else {
        printf("class %zu", index);
    }
}

static void print_text(const classify *k, const char *path, const tern_score *best, size_t n) {
    if (!k->many) {
        for (size_t i = 0; i < n; i++) {
            printf("%8.4f  ", (double)best[i].score);
            print_label(k->c, best[i].index);
            printf("\n");
        }
        return;
    }
    printf("%s:", path);
    for (size_t i = 0; i < n; i++) {
        printf("%s ", i ? ";" : "");
        print_label(k->c, best[i].index);
        printf(" %.4f", (double)best[i].score);
    }
    printf("\n");
}

static void print_json(const classify *k, const char *path, const tern_score *best, size_t n) {
    cJSON *entry = cli_json_object(k->json, NULL);
    cli_json_string(entry, "image", path);
    cJSON *results = cli_json_array(entry, "results");
    for (size_t i = 0; i < n; i++) {
        cJSON *result = cli_json_object(results, NULL);
        cli_json_int(result, "index", (int64_t)best[i].index);
        cli_json_string(result, "label", tern_labels_get(&k->c->labels, best[i].index));
        cli_json_float(result, "score", best[i].score);
    }
}

static void report(classify *k, const char *path, float *scores, size_t classes) {
    if (k->args->c.softmax) tern_softmax(scores, classes);
    size_t top = TN_MIN(k->top, classes);
    tern_score *best = cli_must(tn_alloc_array(top + 1, sizeof *best));
    size_t n = tern_top_k(scores, classes, best, top);
    if (k->json) {
        print_json(k, path, best, n);
    } else {
        cli_progress_clear(&k->progress);
        print_text(k, path, best, n);
    }
    tn_free(best);
}

/* ---- the work ---------------------------------------------------------------------------------------------- */

/* Runs pictures [0, count) of the batch, which it releases. */
static int run_batch(classify *k, char **paths, tern_image *images, int count) {
    if (count == 0) return CLI_OK;
    float *scores;
    size_t classes;
    tern_error err;
    tern_status status = tern_classifier_run(&k->c->classifier, images, count, &scores, &classes, &err);
    for (int i = 0; i < count; i++) tern_image_release(&images[i]);
    if (status != TERN_OK) {
        if (count == 1) tn_error_prefix(&err, "%s: ", paths[0]);
        return cli_fail(&err);
    }
    cli_classifier_choose_labels(k->c, classes);
    for (int i = 0; i < count; i++) report(k, paths[i], scores + classes * (size_t)i, classes);
    tn_free(scores);
    return CLI_OK;
}

/* A picture that can not be read is reported and left out; so is a batch that fails. */
static int run_all(classify *k, const cli_paths *list) {
    int batch = tern_classifier_batch(&k->c->classifier, (int)k->args->c.batch);
    tern_image *images = cli_must(tn_calloc((size_t)batch, sizeof *images));
    char **paths = cli_must(tn_calloc((size_t)batch, sizeof *paths));
    const tern_image_options options = {.max_pixels = (uint64_t)k->args->c.max_pixels};
    int code = CLI_OK, count = 0;
    for (size_t i = 0; i < list->count; i++) {
        tern_error err;
        if (tern_image_load(&images[count], list->items[i], &options, &err) != TERN_OK) {
            code = cli_fail(&err);
        } else {
            paths[count++] = list->items[i];
        }
        if (count == batch || i + 1 == list->count) {
            if (run_batch(k, paths, images, count) != CLI_OK) code = CLI_FAILED;
            count = 0;
        }
        cli_progress_step(&k->progress, 1);
    }
    cli_progress_clear(&k->progress);
    tn_free(images);
    tn_free(paths);
    return code;
}

static int run_on(const classify_args *args, cli_classifier *c, const cli_paths *list) {
    classify k = {.args = args, .c = c, .many = list->count > 1};
    k.top = args->top ? (size_t)args->top : k.many && !args->c.common.json ? 1 : TOP_OF_ONE;
    if (args->c.common.json) k.json = cli_json_array(NULL, NULL);
    cli_progress_begin(&k.progress, "classify", (int64_t)list->count);
    int code = run_all(&k, list);
    if (k.json) cli_json_print(k.json);
    return code;
}

extern const cli_command cli_cmd_classify;

static int run(void *args, char **operands, int count) {
    const classify_args *a = args;
    /* Without a model: `tern classify picture.jpg`. */
    bool no_model = cli_is_folder(operands[0]) || cli_is_picture(operands[0]);
    const char *model = no_model ? "default" : operands[0];
    int first = no_model ? 0 : 1;
    if (first == count) return cli_usage_error(&cli_cmd_classify, "classify needs a picture after the model");
    cli_paths list = {0};
    tern_error err;
    int code = CLI_OK;
    for (int i = first; i < count; i++) {
        if (!cli_is_folder(operands[i])) {
            cli_paths_add(&list, operands[i]);
        } else if (cli_paths_add_folder(&list, operands[i], &err) != TERN_OK) {
            code = cli_fail(&err);
        }
    }
    if (list.count > 0) {
        cli_classifier c;
        int result = cli_classifier_init(&c, &cli_cmd_classify, &a->c, model);
        if (result == CLI_OK) result = run_on(a, &c, &list);
        if (result != CLI_OK) code = result;
        cli_classifier_release(&c);
    }
    cli_paths_release(&list);
    return code;
}

static void defaults(void *args) { cli_classifier_defaults(&((classify_args *)args)->c); }

static const cli_option options[] = {
    {"top", 'k', CLI_INT, "K", "print the best K classes (default: 5; of many pictures 1)",
     offsetof(classify_args, top), 1, 100000},
    {"softmax", 0, CLI_FLAG, NULL, "the network gives logits: turn them into probabilities",
     offsetof(classify_args, c.softmax), 0, 0},
    CLI_CLASSIFIER_OPTIONS,
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};

static const char *const examples[] = {
    "tern classify shirt.png                                  the embedded model (ten kinds of clothes)",
    "tern classify mobilenet.onnx cat.jpg --scale 0.0078125 --mean 1",
    "tern classify resnet50.onnx photos/ --fit crop --resize 256 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 "
    "--softmax --json",
    NULL,
};

const cli_command cli_cmd_classify = {
    .name = "classify",
    .summary = "say what is in pictures",
    .operands = "[MODEL] IMAGE|FOLDER...",
    .description =
        "Runs an image classifier over pictures (JPEG, PNG, BMP, WebP, TIFF, GIF, PNM, JPEG 2000) and prints the best "
        "classes.\n"
        "Without MODEL, or with the word `default`, the embedded model is used. Of a folder, all pictures are taken.\n"
        "What is not said by options comes from a JSON file beside the model or from the model's metadata.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model or a picture could not be used",
    .min_operands = 1,
    .max_operands = -1,
    .args_size = sizeof(classify_args),
    .defaults = defaults,
    .run = run,
};
