/* tern run: one inference with inputs from files. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/compare.h"
#include "cli/inputs.h"
#include "cli/json.h"

typedef struct run_args {
    cli_common common;
    cli_strings inputs, shapes;
    int fill;
    int64_t seed;
    const char *output_dir;
} run_args;

/* ---- summary --------------------------------------------------------------------------------------------------- */

typedef struct summary {
    double min, max, mean;
    int64_t nan, inf; /* not part of the other three */
} summary;

static summary summarise(const tern_tensor *t) {
    summary s = {INFINITY, -INFINITY, 0, 0, 0};
    int64_t n = tern_tensor_count(t), counted = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = cli_element(t, i);
        if (isnan(x)) {
            s.nan++;
        } else if (isinf(x)) {
            s.inf++;
        } else {
            s.min = fmin(s.min, x);
            s.max = fmax(s.max, x);
            s.mean += x;
            counted++;
        }
    }
    s.mean = counted ? s.mean / (double)counted : 0;
    return s;
}

static bool is_numeric(const tern_tensor *t) {
    return tern_tensor_kind(t) == TERN_KIND_TENSOR && tern_tensor_dtype(t) != TERN_STRING;
}

static void print_text(const char *name, const tern_tensor *t) {
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR) {
        cli_print_name(name);
        printf(": %zu items\n", tern_tensor_item_count(t));
        return;
    }
    cli_print_name(name);
    printf(": %s[", tern_dtype_name(tern_tensor_dtype(t)));
    for (int i = 0; i < tern_tensor_rank(t); i++) printf("%s%" PRId64, i ? "," : "", tern_tensor_dims(t)[i]);
    printf("]");
    int64_t n = tern_tensor_count(t);
    if (n && is_numeric(t)) {
        summary s = summarise(t);
        printf(" min %.6g max %.6g mean %.6g", s.min, s.max, s.mean);
        if (s.nan) printf(" nan %" PRId64, s.nan);
        if (s.inf) printf(" inf %" PRId64, s.inf);
        printf("\n  ");
        for (int64_t i = 0; i < n && i < 8; i++) printf("%s%.6g", i ? " " : "", cli_element(t, i));
        printf("%s", n > 8 ? " ..." : "");
    }
    printf("\n");
}

static void add_json(cJSON *list, const char *name, const tern_tensor *t, const char *file) {
    cJSON *o = cli_json_object(list, NULL);
    cli_json_string(o, "name", name);
    if (file) cli_json_string(o, "file", file);
    if (tern_tensor_kind(t) != TERN_KIND_TENSOR) {
        cli_json_int(o, "items", (int64_t)tern_tensor_item_count(t));
        return;
    }
    cli_json_string(o, "dtype", tern_dtype_name(tern_tensor_dtype(t)));
    cJSON *shape = cli_json_array(o, "shape");
    for (int i = 0; i < tern_tensor_rank(t); i++) cli_json_int(shape, NULL, tern_tensor_dims(t)[i]);
    if (!tern_tensor_count(t) || !is_numeric(t)) return;
    summary s = summarise(t);
    cli_json_double(o, "min", s.min);
    cli_json_double(o, "max", s.max);
    cli_json_double(o, "mean", s.mean);
    cli_json_int(o, "nan", s.nan);
    cli_json_int(o, "inf", s.inf);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

/* "<folder>/<name>.npy". Names come from the model: what could leave the folder or hide a file becomes '_'. */
static char *output_path(const char *folder, const char *name) {
    size_t n = strlen(folder) + strlen(name) + 8;
    char *path = cli_must(malloc(n));
    snprintf(path, n, "%s/%s.npy", folder, name);
    for (char *p = path + strlen(folder) + 1; *p; p++)
        if (*p == '/' || *p == '\\' || (unsigned char)*p < 32) *p = '_';
    if (path[strlen(folder) + 1] == '.') path[strlen(folder) + 1] = '_';
    return path;
}

static tern_status make_folder(const char *path, tern_error *err) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return TERN_OK;
    return tn_fail(err, TERN_IO, "%s: %s", path, strerror(errno));
}

static tern_status write_outputs(const char *folder, const tern_model *model, tern_tensor **outputs, char **paths,
                                 int n, tern_error *err) {
    TN_TRY(make_folder(folder, err));
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, i, &info, err));
        paths[i] = output_path(folder, info.name);
        for (int k = 0; k < i; k++)
            if (strcmp(paths[k], paths[i]) == 0)
                return tn_fail(err, TERN_IO, "%s: two outputs of the model would be written to this file", paths[i]);
        struct stat st;
        if (lstat(paths[i], &st) == 0 && S_ISLNK(st.st_mode)) /* the name is the model's: it must not lead elsewhere */
            return tn_fail(err, TERN_IO, "%s: is a symbolic link; outputs are not written through it", paths[i]);
        TN_TRY(tern_tensor_save_npy(outputs[i], paths[i], err));
    }
    return TERN_OK;
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static tern_status print_all(const run_args *a, const tern_model *model, tern_tensor **outputs, char **paths, int n,
                             tern_error *err) {
    cJSON *root = a->common.json ? cli_json_object(NULL, NULL) : NULL;
    cJSON *list = root ? cli_json_array(root, "outputs") : NULL;
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, i, &info, err));
        if (list)
            add_json(list, info.name, outputs[i], paths[i]);
        else
            print_text(info.name, outputs[i]);
    }
    if (root) cli_json_print(root);
    return TERN_OK;
}

static tern_status run_model(const run_args *a, const char *path, tern_model *model, tern_session **session,
                             cli_inputs *in, tern_tensor **outputs, int n, tern_error *err) {
    cli_input_options io = {.files = &a->inputs,
                            .shapes = &a->shapes,
                            .fill = (cli_fill)a->fill,
                            .free_dim = a->fill ? 1 : 0,
                            .seed = (uint64_t)a->seed};
    tern_options options = cli_session_options(&a->common);
    tern_status s = cli_inputs_make(in, model, &io, err);
    if (s != TERN_OK) {
        tn_error_prefix(err, "%s: ", path);
        return s;
    }
    TN_TRY(tern_session_create(session, model, &options, err));
    return tern_session_run(*session, in->feeds, in->count, NULL, outputs, (size_t)n, err);
}

static int run(void *args, char **operands, int count) {
    const run_args *a = args;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_error err;
    cli_inputs in = {0};
    (void)count;
    tern_status s = tern_model_load(&model, operands[0], NULL, &err);
    if (s != TERN_OK) return cli_fail(&err);
    int n = tern_model_output_count(model);
    tern_tensor **outputs = cli_must(calloc((size_t)n + 1, sizeof *outputs));
    char **paths = cli_must(calloc((size_t)n + 1, sizeof *paths));
    s = run_model(a, operands[0], model, &session, &in, outputs, n, &err);
    if (s == TERN_OK && a->output_dir) s = write_outputs(a->output_dir, model, outputs, paths, n, &err);
    if (s == TERN_OK) s = print_all(a, model, outputs, paths, n, &err);
    for (int i = 0; i < n; i++) {
        tern_tensor_free(outputs[i]);
        free(paths[i]);
    }
    free(outputs);
    free(paths);
    cli_inputs_release(&in);
    tern_session_free(session);
    tern_model_free(model);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

static const cli_option options[] = {
    {"input", 'i', CLI_STRINGS, "NAME=FILE",
     "an input from FILE: .npy, .pb (TensorProto ...), or .bin (raw, row-major)", offsetof(run_args, inputs), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of a .bin or filled input", offsetof(run_args, shapes),
     .min = 0},
    {"fill", 0, CLI_CHOICE, "none|random|zeros|ones",
     "what inputs without a file hold (default: none, they are an error); free dims are 1", offsetof(run_args, fill),
     .min = 0},
    {"seed", 0, CLI_INT, "N", "of --fill random (default: 0)", offsetof(run_args, seed), .min = 0, .max = 1e15},
    {"output-dir", 'o', CLI_STRING, "DIR", "write each output to DIR/<output name>.npy", offsetof(run_args, output_dir),
     .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern run net.onnx --input x.npy",
                                       "tern run net.onnx --input images=x.bin --shape images=1x3x640x640 -o out",
                                       "tern run net.onnx --fill random --json", NULL};

static void defaults(void *args) { ((run_args *)args)->fill = CLI_FILL_NONE; }

const cli_command cli_cmd_run = {
    .name = "run",
    .summary = "run a model once on inputs from files",
    .operands = "MODEL",
    .description =
        "Prints type, shape, range and first elements of every output. The name of an input may be left out\n"
        "when the model has one input.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model or an input can not be read or run, or an output not be written",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(run_args),
    .defaults = defaults,
    .run = run,
};
