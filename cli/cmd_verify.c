/* tern verify: runs test cases in ONNX's form and compares. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/compare.h"
#include "cli/json.h"
#include "cli/progress.h"

typedef struct verify_args {
    cli_common common;
    double rtol, atol;
    bool top1, verbose;
} verify_args;

typedef struct path_list {
    char **paths;
    size_t count, cap;
} path_list;

typedef struct tally {
    const verify_args *args;
    int64_t passed, failed, skipped;
    cJSON *cases; /* NULL without --json */
} tally;

enum { MAX_FILES = 4096, MAX_DEPTH = 16 };

/* ---- finding cases --------------------------------------------------------------------------------------------- */

static char *join(const char *folder, const char *name) {
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = cli_must(malloc(n));
    size_t end = strlen(folder);
    snprintf(path, n, "%s%s%s", folder, end && folder[end - 1] == '/' ? "" : "/", name);
    return path;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static void add_path(path_list *l, char *path) {
    if (!tn_grow(&l->paths, &l->cap, l->count + 1, sizeof *l->paths)) cli_must(NULL);
    l->paths[l->count++] = path;
}

static void free_paths(path_list *l) {
    for (size_t i = 0; i < l->count; i++) free(l->paths[i]);
    tn_free(l->paths);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Every folder below `folder` (itself included) that holds a model.onnx. */
static bool find_cases(const char *folder, int depth, path_list *out) {
    char *model = join(folder, "model.onnx");
    bool here = is_file(model);
    free(model);
    if (here) {
        add_path(out, cli_must(strdup(folder)));
        return true;
    }
    DIR *dir = opendir(folder);
    if (!dir) {
        cli_error("%s: %s", folder, strerror(errno));
        return false;
    }
    path_list inner = {0};
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char *path = join(folder, e->d_name);
        if (is_folder(path))
            add_path(&inner, path);
        else
            free(path);
    }
    closedir(dir);
    if (inner.count) qsort(inner.paths, inner.count, sizeof *inner.paths, by_name);
    bool ok = true;
    for (size_t i = 0; i < inner.count && depth < MAX_DEPTH; i++) ok &= find_cases(inner.paths[i], depth + 1, out);
    free_paths(&inner);
    return ok;
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static void record(tally *t, const char *name, const char *outcome, const char *message) {
    if (outcome[0] == 'p') t->passed++;
    if (outcome[0] == 'f') t->failed++;
    if (outcome[0] == 's') t->skipped++;
    if (t->cases) {
        cJSON *c = cli_json_object(t->cases, NULL);
        cli_json_string(c, "case", name);
        cli_json_string(c, "result", outcome);
        if (*message) cli_json_string(c, "message", message);
    } else if (outcome[0] != 'p') {
        printf("%s: %s: %s\n", outcome[0] == 'f' ? "FAIL" : "skip", name, message);
    } else if (t->args->verbose) {
        printf("ok: %s\n", name);
    }
}

/* ---- one data set ---------------------------------------------------------------------------------------------- */

typedef struct data_set {
    tern_tensor **inputs, **wanted, **got;
    tern_feed *feeds;
    size_t n_inputs, n_outputs;
} data_set;

static void release_set(data_set *d) {
    for (size_t i = 0; i < d->n_inputs; i++) tern_tensor_free(d->inputs[i]);
    for (size_t i = 0; i < d->n_outputs; i++) {
        tern_tensor_free(d->wanted[i]);
        tern_tensor_free(d->got[i]);
    }
    free(d->inputs);
    free(d->wanted);
    free(d->got);
    free(d->feeds);
}

static tern_status load_one(const char *folder, const char *what, size_t i, tern_kind kind, tern_tensor **out,
                            tern_error *err) {
    char name[64];
    snprintf(name, sizeof name, "%s_%zu.pb", what, i);
    char *path = join(folder, name);
    tern_status s = tern_tensor_load_pb(out, path, kind, err);
    free(path);
    return s;
}

static size_t count_files(const char *folder, const char *what) {
    for (size_t n = 0; n < MAX_FILES; n++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%zu.pb", what, n);
        char *path = join(folder, name);
        bool there = is_file(path);
        free(path);
        if (!there) return n;
    }
    return MAX_FILES;
}

static tern_status load_set(data_set *d, const tern_model *model, const char *folder, tern_error *err) {
    size_t n_in = count_files(folder, "input"), n_out = count_files(folder, "output");
    if (n_in > (size_t)tern_model_input_count(model) || n_out > (size_t)tern_model_output_count(model))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%zu input and %zu output files, but the model has %d and %d", n_in,
                       n_out, tern_model_input_count(model), tern_model_output_count(model));
    d->inputs = cli_must(calloc(n_in + 1, sizeof *d->inputs));
    d->feeds = cli_must(calloc(n_in + 1, sizeof *d->feeds));
    d->wanted = cli_must(calloc(n_out + 1, sizeof *d->wanted));
    d->got = cli_must(calloc(n_out + 1, sizeof *d->got));
    d->n_outputs = n_out;
    for (size_t i = 0; i < n_in; i++) {
        tern_value_info info;
        TN_TRY(tern_model_input(model, (int)i, &info, err));
        TN_TRY(load_one(folder, "input", i, info.kind, &d->inputs[i], err));
        d->feeds[i] = (tern_feed){info.name, d->inputs[i]};
        d->n_inputs++;
    }
    for (size_t i = 0; i < n_out; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, (int)i, &info, err));
        TN_TRY(load_one(folder, "output", i, info.kind, &d->wanted[i], err));
    }
    return TERN_OK;
}

static tern_status run_set(data_set *d, const tern_model *model, tern_session *session, tern_error *err) {
    const char **names = cli_must(calloc(d->n_outputs + 1, sizeof *names));
    tern_status s = TERN_OK;
    for (size_t i = 0; s == TERN_OK && i < d->n_outputs; i++) {
        tern_value_info info;
        s = tern_model_output(model, (int)i, &info, err);
        names[i] = info.name;
    }
    if (s == TERN_OK) s = tern_session_run(session, d->feeds, d->n_inputs, names, d->got, d->n_outputs, err);
    free(names);
    return s;
}

static bool compare_set(const data_set *d, const tern_model *model, const verify_args *a, char *why, size_t size) {
    for (size_t i = 0; i < d->n_outputs; i++) {
        char text[500];
        if (cli_compare(d->got[i], d->wanted[i], a->rtol, a->atol, text, sizeof text) &&
            (!a->top1 || cli_same_top1(d->got[i], d->wanted[i], text, sizeof text)))
            continue;
        tern_value_info info;
        tern_error ignored;
        bool named = tern_model_output(model, (int)i, &info, &ignored) == TERN_OK;
        snprintf(why, size, "output %zu '%s': %s", i, named ? info.name : "?", text);
        return false;
    }
    return true;
}

static void verify_set(tally *t, const tern_model *model, tern_session *session, const char *folder) {
    data_set d = {0};
    tern_error err;
    char why[700] = "";
    tern_status s = load_set(&d, model, folder, &err);
    if (s == TERN_OK) s = run_set(&d, model, session, &err);
    if (s != TERN_OK)
        record(t, folder, "failed", err.text);
    else if (!compare_set(&d, model, t->args, why, sizeof why))
        record(t, folder, "failed", why);
    else
        record(t, folder, "passed", "");
    release_set(&d);
}

/* ---- one case -------------------------------------------------------------------------------------------------- */

static void verify_sets(tally *t, const char *folder, const tern_model *model, tern_session *session) {
    for (int k = 0; k < MAX_FILES; k++) {
        char name[64];
        snprintf(name, sizeof name, "test_data_set_%d", k);
        char *set = join(folder, name);
        bool there = is_folder(set);
        if (there) verify_set(t, model, session, set);
        free(set);
        if (!there && k == 0) record(t, folder, "skipped", "there is no test_data_set_0 beside the model");
        if (!there) return;
    }
}

static void verify_case(tally *t, const char *folder) {
    char *path = join(folder, "model.onnx");
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_error err;
    tern_options options = cli_session_options(&t->args->common);
    tern_status s = tern_model_load(&model, path, NULL, &err);
    if (s == TERN_OK) s = tern_session_create(&session, model, &options, &err);
    if (s != TERN_OK)
        record(t, folder, "failed", err.text);
    else
        verify_sets(t, folder, model, session);
    tern_session_free(session);
    tern_model_free(model);
    free(path);
}

static int run(void *args, char **operands, int count) {
    tally t = {.args = args};
    path_list cases = {0};
    bool ok = true;
    for (int i = 0; i < count; i++) {
        size_t before = cases.count;
        ok &= find_cases(operands[i], 0, &cases);
        if (ok && cases.count == before) {
            cli_error("%s: no model.onnx in this folder or below", operands[i]);
            ok = false;
        }
    }
    cJSON *root = NULL;
    if (t.args->common.json) {
        root = cli_json_object(NULL, NULL);
        t.cases = cli_json_array(root, "cases");
    }
    cli_progress bar;
    cli_progress_begin(&bar, "verify", (int64_t)cases.count);
    for (size_t i = 0; i < cases.count; i++) {
        verify_case(&t, cases.paths[i]);
        cli_progress_step(&bar, 1);
    }
    cli_progress_clear(&bar);
    if (root) {
        cli_json_int(root, "passed", t.passed);
        cli_json_int(root, "failed", t.failed);
        cli_json_int(root, "skipped", t.skipped);
        cli_json_print(root);
    } else {
        printf("%lld passed, %lld failed, %lld skipped\n", (long long)t.passed, (long long)t.failed,
               (long long)t.skipped);
    }
    free_paths(&cases);
    return ok && t.failed == 0 ? CLI_OK : CLI_FAILED;
}

static void defaults(void *args) {
    verify_args *a = args;
    a->rtol = 1e-3;
    a->atol = 1e-7;
}

static const cli_option options[] = {
    {"rtol", 0, CLI_REAL, "X", "relative tolerance (default: 1e-3)", offsetof(verify_args, rtol), .min = 0, .max = 1e9},
    {"atol", 0, CLI_REAL, "X", "absolute tolerance (default: 1e-7)", offsetof(verify_args, atol), .min = 0, .max = 1e9},
    {"top1", 0, CLI_FLAG, NULL, "the largest element of each row must be at the same place, too",
     offsetof(verify_args, top1), .min = 0},
    {"verbose", 'v', CLI_FLAG, NULL, "print a line for cases that pass, too", offsetof(verify_args, verbose), .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern verify onnx/backend/test/data/node",
                                       "tern verify --rtol 1e-3 --atol 2e-4 models/yolov5n",
                                       "tern verify --atol 0.02 --top1 --json mobilenet_qdq", NULL};

const cli_command cli_cmd_verify = {
    .name = "verify",
    .summary = "run test cases in ONNX's form and compare",
    .operands = "DIR...",
    .description = "A test case is a folder with model.onnx and test_data_set_<k>/{input,output}_<i>.pb. DIR is one, "
                   "or holds some\n"
                   "at any depth. An element passes when |got - expected| <= atol + rtol * |expected|. Every failure "
                   "is a line that\n"
                   "shows the first element which differs; the last line counts data sets.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "a case fails or can not be read",
    .min_operands = 1,
    .max_operands = -1,
    .args_size = sizeof(verify_args),
    .defaults = defaults,
    .run = run,
};
