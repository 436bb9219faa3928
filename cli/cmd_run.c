/* tern run: one inference with inputs from files. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/compare.h"
#include "cli/dump.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/tensor_file.h"

typedef struct run_args {
    cli_common common;
    cli_strings inputs, shapes;
    cli_strings dtypes;
    const char *all_inputs;
    int fill;
    int64_t seed, batch;
    const char *output_dir, *dump_all, *compare;
    int format;
    double rtol, atol;
    bool no_run;
} run_args;

/* ---- summary --------------------------------------------------------------------------------------------------- */

typedef struct summary {
    double min, max, mean;
    int64_t nan, inf; /* not part of the other three */
} summary;

static void add_element(summary *s, double x, int64_t *counted) {
    if (isnan(x)) {
        s->nan++;
    } else if (isinf(x)) {
        s->inf++;
    } else {
        s->min = TN_MIN(s->min, x);
        s->max = TN_MAX(s->max, x);
        s->mean += x;
        ++*counted;
    }
}

/* Eight finite elements at a time, each with sums of its own, which compilers turn into vectors: a large output must
 * not take as long as the run. Returns how many it did. */
static int64_t add_floats(summary *s, const float *x, int64_t n, int64_t *counted) {
    enum { LANES = 8 };
    double sum[LANES] = {0};
    float least[LANES], most[LANES];
    int64_t i = 0;
    for (int k = 0; k < LANES; k++) least[k] = INFINITY, most[k] = -INFINITY;
    for (; i + LANES <= n; i += LANES) {
        float odd = 0;
        for (int k = 0; k < LANES; k++) odd += x[i + k] - x[i + k]; /* NaN for infinities, too */
        if (odd != 0) break;
        for (int k = 0; k < LANES; k++) {
            least[k] = x[i + k] < least[k] ? x[i + k] : least[k];
            most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
            sum[k] += (double)x[i + k];
        }
    }
    for (int k = 0; k < LANES && i; k++) {
        s->min = TN_MIN(s->min, (double)least[k]);
        s->max = TN_MAX(s->max, (double)most[k]);
        s->mean += sum[k];
    }
    *counted += i;
    return i;
}

static summary summarise(const tern_tensor *t) {
    summary s = {INFINITY, -INFINITY, 0, 0, 0};
    int64_t n = tern_tensor_count(t), counted = 0;
    const float *floats = tern_tensor_dtype(t) == TERN_FLOAT ? tern_tensor_const_data(t) : NULL;
    for (int64_t i = 0; i < n;) {
        if (floats) i += add_floats(&s, floats + i, n - i, &counted);
        for (int64_t end = TN_MIN(i + 8, n); i < end; i++) add_element(&s, cli_element(t, i), &counted);
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

static tern_status write_outputs(const run_args *a, const tern_model *model, tern_tensor **outputs, char **paths, int n,
                                 tern_error *err) {
    TN_TRY(cli_make_folder(a->output_dir, err));
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, i, &info, err));
        paths[i] = cli_tensor_path(a->output_dir, info.name, (cli_format)a->format);
        for (int k = 0; k < i; k++)
            if (strcmp(paths[k], paths[i]) == 0)
                return tn_fail(err, TERN_IO, "%s: two outputs of the model would be written to this file", paths[i]);
        TN_TRY(cli_tensor_write(outputs[i], info.name, paths[i], (cli_format)a->format, err));
    }
    return TERN_OK;
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

typedef struct run_state {
    const run_args *args;
    const char *path;
    tern_model *model;
    tern_session *session;
    cli_inputs in;
    tern_tensor **outputs;
    char **paths;
    int n;
    cli_dump *dump;
    bool parted;
} run_state;

static tern_status print_all(run_state *r, tern_error *err) {
    cJSON *root = r->args->common.json ? cli_json_object(NULL, NULL) : NULL;
    cJSON *list = root ? cli_json_array(root, "outputs") : NULL;
    for (int i = 0; i < r->n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(r->model, i, &info, err));
        if (list)
            add_json(list, info.name, r->outputs[i], r->paths[i]);
        else
            print_text(info.name, r->outputs[i]);
    }
    if (r->args->compare) r->parted = !cli_dump_report(r->dump, root);
    if (root) cli_json_print(root);
    return TERN_OK;
}

static tern_status make_inputs(run_state *r, tern_error *err) {
    const run_args *a = r->args;
    cli_input_options io = {.files = &a->inputs,
                            .shapes = &a->shapes,
                            .dtypes = &a->dtypes,
                            .blob = a->all_inputs,
                            .fill = (cli_fill)a->fill,
                            .free_dim = a->fill ? 1 : 0,
                            .batch = a->batch,
                            .seed = (uint64_t)a->seed};
    tern_status s = cli_inputs_make(&r->in, r->model, &io, err);
    if (s != TERN_OK) tn_error_prefix(err, "%s: ", r->path);
    return s;
}

/* Reading, optimising and planning, and no more. */
static tern_status prepare_only(run_state *r, tern_error *err) {
    tern_options options = cli_session_options(&r->args->common);
    uint64_t start = tn_clock_ns();
    TN_TRY(tern_session_create(&r->session, r->model, &options, err));
    double ms = (double)(tn_clock_ns() - start) / 1e6;
    if (r->args->common.json) {
        cJSON *root = cli_json_object(NULL, NULL);
        cli_json_bool(root, "ready", true);
        cli_json_double(root, "prepare_ms", ms);
        cli_json_print(root);
    } else {
        printf("%s: ready after %.1f ms\n", r->path, ms);
    }
    return TERN_OK;
}

static tern_status run_model(run_state *r, tern_error *err) {
    const run_args *a = r->args;
    tern_options options = cli_session_options(&a->common);
    TN_TRY(make_inputs(r, err));
    TN_TRY(tern_session_create(&r->session, r->model, &options, err));
    if (a->dump_all || a->compare) {
        cli_dump_options o = {a->dump_all, (cli_format)a->format, a->compare, a->rtol, a->atol};
        r->dump = cli_dump_begin(&o, r->model, r->session, err);
        if (!r->dump) return err->status;
        cli_dump_inputs(r->dump, r->in.feeds, r->in.count);
    }
    TN_TRY(tern_session_run(r->session, r->in.feeds, r->in.count, NULL, r->outputs, (size_t)r->n, err));
    if (r->dump) TN_TRY(cli_dump_end(r->dump, err));
    if (a->output_dir) TN_TRY(write_outputs(a, r->model, r->outputs, r->paths, r->n, err));
    return print_all(r, err);
}

static void release(run_state *r) {
    for (int i = 0; i < r->n; i++) {
        tern_tensor_free(r->outputs[i]);
        free(r->paths[i]);
    }
    free(r->outputs);
    free(r->paths);
    cli_inputs_release(&r->in);
    cli_dump_free(r->dump);
    tern_session_free(r->session);
    tern_model_free(r->model);
}

static int run(void *args, char **operands, int count) {
    run_state r = {.args = args, .path = operands[0]};
    tern_error err;
    (void)count;
    if (tern_model_load(&r.model, operands[0], NULL, &err) != TERN_OK) return cli_fail(&err);
    r.n = tern_model_output_count(r.model);
    r.outputs = cli_must(calloc((size_t)r.n + 1, sizeof *r.outputs));
    r.paths = cli_must(calloc((size_t)r.n + 1, sizeof *r.paths));
    tern_status s = r.args->no_run ? prepare_only(&r, &err) : run_model(&r, &err);
    release(&r);
    if (s != TERN_OK) return cli_fail(&err);
    return r.parted ? CLI_FAILED : CLI_OK;
}

static const cli_option options[] = {
    {"input", 'i', CLI_STRINGS, "NAME=FILE",
     "an input from FILE: .npy, .pb (TensorProto ...), .bin or .raw (elements only, row-major), or "
     "NAME-1_3_224_224-fp32.dat, which says all of it itself",
     offsetof(run_args, inputs), .min = 0},
    {"all-inputs", 0, CLI_STRING, "FILE", "the elements of all inputs, one after the other",
     offsetof(run_args, all_inputs), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of a raw or filled input", offsetof(run_args, shapes),
     .min = 0},
    {"dtype", 0, CLI_STRINGS, "NAME=float32", "type of a raw or filled input, where the model leaves it open",
     offsetof(run_args, dtypes), .min = 0},
    {"fill", 'f', CLI_CHOICE, "none|random|zeros|ones|arange",
     "what inputs without a file hold (default: none, they are an error); free dims are 1", offsetof(run_args, fill),
     .min = 0},
    {"seed", 0, CLI_INT, "N", "of --fill random (default: 0)", offsetof(run_args, seed), .min = 0, .max = 1e15},
    {"batch", 'b', CLI_INT, "N", "size of the first dim of filled inputs, where it is free", offsetof(run_args, batch),
     .min = 1, .max = 1e9},
    {"output-dir", 'o', CLI_STRING, "DIR", "write each output to DIR/<output name>.<format>",
     offsetof(run_args, output_dir), .min = 0},
    {"format", 0, CLI_CHOICE, CLI_FORMAT_WORDS, "of the files that are written (default: npy)",
     offsetof(run_args, format), .min = 0},
    {"dump-all", 0, CLI_STRING, "DIR",
     "write the inputs and every tensor that a node gives, under its name, and index.json; with --no-fuse, those "
     "too that fusion would make vanish",
     offsetof(run_args, dump_all), .min = 0},
    {"compare", 0, CLI_STRING, "DIR",
     "compare every tensor with such a dump, or with <name>.npy or .pb of another engine; the exit code is 1 when "
     "any parts",
     offsetof(run_args, compare), .min = 0},
    {"rtol", 0, CLI_REAL, "X", "of --compare: tensors part where |a - b| > atol + rtol * max |b| (default: 1e-3)",
     offsetof(run_args, rtol), .min = 0, .max = 1e9},
    {"atol", 0, CLI_REAL, "X", "likewise (default: 1e-5)", offsetof(run_args, atol), .min = 0, .max = 1e9},
    {"no-run", 0, CLI_FLAG, NULL, "load and prepare the model, nothing else", offsetof(run_args, no_run), .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_MEMORY_LIMIT,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern run net.onnx --input x.npy",
                                       "tern run net.onnx --input images=x.bin --shape images=1x3x640x640 -o out",
                                       "tern run net.onnx --fill random --json",
                                       "tern run net.onnx --fill random --no-fuse --dump-all reference --cpu scalar",
                                       "tern run net.onnx --fill random --compare reference",
                                       NULL};

static void defaults(void *args) {
    run_args *a = args;
    a->fill = CLI_FILL_NONE;
    a->rtol = 1e-3;
    a->atol = 1e-5;
}

const cli_command cli_cmd_run = {
    .name = "run",
    .summary = "run a model once on inputs from files",
    .operands = "MODEL",
    .description =
        "Prints type, shape, range and first elements of every output. The name of an input may be left out\n"
        "when the model has one input. --dump-all and --compare find the node where two runs part: another CPU\n"
        "tier, another engine, fused against not.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model or an input can not be read or run, an output not be written, or --compare finds that "
               "tensors part",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(run_args),
    .defaults = defaults,
    .run = run,
};
