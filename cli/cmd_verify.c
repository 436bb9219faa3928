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
#include "cli/random_check.h"
#include "graph/graph.h"

typedef struct verify_args {
    cli_common common;
    double rtol, atol;
    const char *tolerances;
    bool top1, verbose;
} verify_args;

/* A line of --tolerances. */
typedef struct tolerance {
    char *name, *reason;
    double rtol, atol;
} tolerance;

typedef struct path_list {
    char **paths;
    size_t count, cap;
} path_list;

typedef struct tally {
    const verify_args *args;
    const tolerance *tolerances; /* n_tolerances */
    size_t n_tolerances;
    int64_t passed, failed, skipped, random, listed; /* random, listed: of those that passed */
    cJSON *cases;                                    /* NULL without --json */
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

/* The model of a case, to be freed; NULL: it is none. */
static char *model_in(const char *folder) {
    static const char *const names[] = {"model.onnx", "model.tern"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        char *path = join(folder, names[i]);
        if (is_file(path)) return path;
        free(path);
    }
    return NULL;
}

/* Every folder below `folder` (itself included) that holds a model. */
static bool find_cases(const char *folder, int depth, path_list *out) {
    char *model = model_in(folder);
    bool here = model != NULL;
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
        printf("ok: %s%s%s\n", name, *message ? ": " : "", message);
    }
}

/* ---- tolerances of single cases -------------------------------------------------------------------------------- */

/* "NAME RTOL ATOL REASON". */
static bool parse_tolerance(char *line, tolerance *out) {
    char *save = NULL, *end;
    const char *name = strtok_r(line, " \t\n", &save), *rtol = strtok_r(NULL, " \t\n", &save),
               *atol = strtok_r(NULL, " \t\n", &save), *reason = strtok_r(NULL, "\n", &save);
    if (!reason) return false;
    out->rtol = strtod(rtol, &end);
    if (*end || !(out->rtol >= 0)) return false;
    out->atol = strtod(atol, &end);
    if (*end || !(out->atol >= 0)) return false;
    out->name = cli_must(strdup(name));
    out->reason = cli_must(strdup(reason));
    return true;
}

static void free_tolerances(tolerance *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(list[i].name);
        free(list[i].reason);
    }
    tn_free(list);
}

static bool read_tolerances(const char *path, tolerance **list, size_t *n) {
    FILE *f = fopen(path, "r");
    if (!f) {
        cli_error("%s: %s", path, strerror(errno));
        return false;
    }
    char line[600];
    size_t cap = 0;
    bool good = true;
    for (int number = 1; good && fgets(line, sizeof line, f); number++) {
        if (line[0] == '#' || line[0] == '\n') continue;
        if (!tn_grow(list, &cap, *n + 1, sizeof **list)) cli_must(NULL);
        good = parse_tolerance(line, &(*list)[*n]);
        if (good)
            ++*n;
        else
            cli_error("%s:%d: not of the form NAME RTOL ATOL REASON", path, number);
    }
    fclose(f);
    return good;
}

/* That of the case in `folder` (.../NAME/test_data_set_0), NULL: the usual one. */
static const tolerance *find_tolerance(const tally *t, const char *folder) {
    for (size_t i = 0; i < t->n_tolerances; i++) {
        size_t n = strlen(t->tolerances[i].name);
        for (const char *p = folder; (p = strstr(p, t->tolerances[i].name)); p++)
            if ((p == folder || p[-1] == '/') && p[n] == '/') return &t->tolerances[i];
    }
    return NULL;
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

static tern_status load_one(const char *folder, const char *what, size_t i, const tern_value_info *info,
                            tern_tensor **out, tern_error *err) {
    char name[64];
    snprintf(name, sizeof name, "%s_%zu.pb", what, i);
    char *path = join(folder, name);
    tern_status s = tern_tensor_load_pb(out, path, info->kind, err);
    free(path);
    /* ONNX before 1.13 wrote the bits of bfloat16 as uint16: NumPy has no such type. */
    if (s == TERN_OK && info->dtype == TERN_BFLOAT16 && (*out)->dtype == TERN_UINT16) (*out)->dtype = TERN_BFLOAT16;
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
        TN_TRY(load_one(folder, "input", i, &info, &d->inputs[i], err));
        d->feeds[i] = (tern_feed){info.name, d->inputs[i]};
        d->n_inputs++;
    }
    for (size_t i = 0; i < n_out; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, (int)i, &info, err));
        TN_TRY(load_one(folder, "output", i, &info, &d->wanted[i], err));
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

/* One data set being compared. */
typedef struct comparison {
    const data_set *set;
    const tern_model *model;
    const tern_session *session;
    double rtol, atol;
    bool top1, random; /* random: an output was found to be one, and plausible */
} comparison;

static bool compare_output(const tally *t, comparison *c, size_t i, char *why, size_t size) {
    const data_set *d = c->set;
    char text[500];
    if (cli_compare(d->got[i], d->wanted[i], c->rtol, c->atol, text, sizeof text) &&
        (!c->top1 || cli_same_top1(d->got[i], d->wanted[i], text, sizeof text)))
        return true;
    tern_value_info info;
    tern_error ignored;
    if (tern_model_output(c->model, (int)i, &info, &ignored) != TERN_OK) info.name = "?";
    if (cli_output_is_random(c->session, info.name)) {
        tern_options options = cli_session_options(&t->args->common);
        cli_random_check check = {.path = c->model->path,
                                  .options = &options,
                                  .feeds = d->feeds,
                                  .n_feeds = d->n_inputs,
                                  .output = info.name,
                                  .want = d->wanted[i]};
        c->random = true;
        if (cli_check_random(&check, text, sizeof text)) return true;
    }
    snprintf(why, size, "output %zu '%s': %s", i, info.name, text);
    return false;
}

static void compare_set(tally *t, const data_set *d, const tern_model *model, const tern_session *session,
                        const char *folder) {
    const tolerance *own = find_tolerance(t, folder);
    comparison c = {.set = d,
                    .model = model,
                    .session = session,
                    .rtol = own ? own->rtol : t->args->rtol,
                    .atol = own ? own->atol : t->args->atol,
                    .top1 = t->args->top1};
    char why[700] = "";
    for (size_t i = 0; i < d->n_outputs; i++) {
        if (compare_output(t, &c, i, why, sizeof why)) continue;
        record(t, folder, "failed", why);
        return;
    }
    t->random += c.random;
    t->listed += own != NULL;
    if (own) snprintf(why, sizeof why, "rtol %g, atol %g: %s", own->rtol, own->atol, own->reason);
    record(t, folder, "passed",
           c.random ? "random: type, shape, range and distribution were compared, not values" : why);
}

static void verify_set(tally *t, const tern_model *model, tern_session *session, const char *folder) {
    data_set d = {0};
    tern_error err;
    tern_status s = load_set(&d, model, folder, &err);
    if (s == TERN_OK) s = run_set(&d, model, session, &err);
    if (s != TERN_OK)
        record(t, folder, "failed", err.text);
    else
        compare_set(t, &d, model, session, folder);
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
    char *path = model_in(folder);
    if (!path) return record(t, folder, "failed", "the model went away");
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

static void print_tally(const tally *t) {
    printf("%lld passed, %lld failed, %lld skipped\n", (long long)t->passed, (long long)t->failed,
           (long long)t->skipped);
}

/* What of the passed ones was not compared in the usual way. */
static void print_exceptions(const tally *t) {
    if (t->random)
        printf("%lld of the passed are random: type, shape, range and distribution were compared\n",
               (long long)t->random);
    if (t->listed)
        printf("%lld of the passed have a tolerance of their own in %s\n", (long long)t->listed, t->args->tolerances);
}

static int run(void *args, char **operands, int count) {
    tally t = {.args = args};
    tolerance *tolerances = NULL;
    path_list cases = {0};
    bool ok = !t.args->tolerances || read_tolerances(t.args->tolerances, &tolerances, &t.n_tolerances);
    t.tolerances = tolerances;
    for (int i = 0; ok && i < count; i++) {
        size_t before = cases.count;
        ok &= find_cases(operands[i], 0, &cases);
        if (ok && cases.count == before) {
            cli_error("%s: no model.onnx or model.tern in this folder or below", operands[i]);
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
        cli_json_int(root, "random", t.random);
        cli_json_int(root, "own_tolerance", t.listed);
        cli_json_print(root);
    } else {
        print_exceptions(&t);
        print_tally(&t);
    }
    free_paths(&cases);
    free_tolerances(tolerances, t.n_tolerances);
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
    {"tolerances", 0, CLI_STRING, "FILE", "tolerances of single cases: lines of NAME RTOL ATOL REASON",
     offsetof(verify_args, tolerances), .min = 0},
    {"top1", 0, CLI_FLAG, NULL, "the largest element of each row must be at the same place, too",
     offsetof(verify_args, top1), .min = 0},
    {"verbose", 'v', CLI_FLAG, NULL, "print a line for cases that pass, too", offsetof(verify_args, verbose), .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
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
    .description =
        "A test case is a folder with model.onnx (or model.tern) and test_data_set_<k>/{input,output}_<i>.pb.\n"
        "DIR is one, or holds some at any depth. An element passes when |got - expected| <= atol + rtol * |expected|.\n"
        "Every failure is a line that shows the first element which differs; the last line counts data sets. An\n"
        "output of random operators that differs is compared in type, shape, range and distribution with 2,000\n"
        "draws instead.",
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
