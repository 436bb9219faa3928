/* tern compile: a model with what preparing it gives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/dataset.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "runtime/runtime.h"

typedef struct compile_args {
    cli_common common;
    cli_strings shapes;
    const char *output, *tiers;
    int64_t batch;
} compile_args;

enum { MAX_TIERS = 3 };

extern const cli_command cli_cmd_compile;

/* "avx2,avx512" to tiers, each once. */
static int read_tiers(const char *text, tern_cpu_tier *tiers, size_t *count) {
    *count = 0;
    if (!text) {
        tiers[(*count)++] = tern_cpu_get_tier();
        return CLI_OK;
    }
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ",");
        char word[16];
        bool known = n < sizeof word;
        tern_cpu_tier tier = TERN_CPU_SCALAR;
        snprintf(word, sizeof word, "%.*s", (int)TN_MIN(n, sizeof word - 1), p);
        known = known && tn_cpu_tier_parse(word, &tier, NULL) == TERN_OK;
        for (size_t i = 0; i < *count; i++) known = known && tiers[i] != tier;
        if (!known || *count == MAX_TIERS)
            return cli_usage_error(&cli_cmd_compile,
                                   "--tiers wants scalar, avx2 and avx512, each once, with commas: '%s'", text);
        tiers[(*count)++] = tier;
        p += n + (p[n] == ',');
    }
    return *count ? CLI_OK : cli_usage_error(&cli_cmd_compile, "--tiers is empty");
}

/* One plan, for the shapes that are asked for: it packs the constants. */
static tern_status prepare(const compile_args *a, tern_model *model, tern_cpu_tier tier, tern_session **out,
                           tern_error *err) {
    tern_options options = cli_session_options(&a->common);
    cli_input_options io = {.shapes = &a->shapes, .fill = CLI_FILL_ZEROS, .free_dim = 1, .batch = a->batch};
    cli_inputs in = {0};
    tn_cached_plan *cached;
    TN_TRY(tern_cpu_set_mask(tier, err));
    TN_TRY(tern_session_create(out, model, &options, err));
    tern_status s = cli_inputs_make(&in, model, &io, err);
    if (s == TERN_OK) s = tn_session_plan(*out, (*out)->model->graph, in.tensors, (int)in.count, &cached, err);
    if (s == TERN_OK) tn_session_release_plan(*out, cached, NULL);
    cli_inputs_release(&in);
    return s;
}

static void report(const compile_args *a, const tern_cpu_tier *tiers, size_t count) {
    struct stat st = {0};
    stat(a->output, &st);
    if (a->common.json) {
        cJSON *root = cli_json_object(NULL, NULL);
        cli_json_string(root, "file", a->output);
        cli_json_int(root, "bytes", (int64_t)st.st_size);
        cJSON *list = cli_json_array(root, "tiers");
        for (size_t i = 0; i < count; i++) cli_json_string(list, NULL, tern_cpu_tier_name(tiers[i]));
        cli_json_print(root);
        return;
    }
    printf("%s: %.2f MB, for", a->output, (double)st.st_size / 1e6);
    for (size_t i = 0; i < count; i++) printf("%s %s", i ? "," : "", tern_cpu_tier_name(tiers[i]));
    printf("\n");
}

static int run(void *args, char **operands, int n) {
    const compile_args *a = args;
    tern_cpu_tier tiers[MAX_TIERS];
    size_t count;
    (void)n;
    if (!a->output) return cli_usage_error(&cli_cmd_compile, "compile needs -o FILE.tern");
    int code = read_tiers(a->tiers, tiers, &count);
    if (code != CLI_OK) return code;
    if (cli_same_file(operands[0], a->output)) {
        cli_error("%s: the output would replace the input; give another name with -o", a->output);
        return CLI_FAILED;
    }
    tern_model *model;
    tern_session *sessions[MAX_TIERS] = {NULL};
    tern_error err;
    if (tern_model_load(&model, operands[0], NULL, &err) != TERN_OK) return cli_fail(&err);
    tern_status s = TERN_OK;
    if (model->compiled)
        s = tn_fail(&err, TERN_INVALID_ARGUMENT, "%s: is compiled already; give the ONNX file", operands[0]);
    for (size_t i = 0; i < count && s == TERN_OK; i++) s = prepare(a, model, tiers[i], &sessions[i], &err);
    if (s == TERN_OK) s = tn_session_compile(sessions, count, a->output, &err);
    if (s == TERN_OK) report(a, tiers, count);
    for (size_t i = 0; i < count; i++) tern_session_free(sessions[i]);
    tern_model_free(model);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

static const cli_option options[] = {
    {"output", 'o', CLI_STRING, "FILE.tern", "write this file", offsetof(compile_args, output), .min = 0},
    {"tiers", 0, CLI_STRING, "TIER,TIER...", "for these CPU tiers (default: the best of this machine)",
     offsetof(compile_args, tiers), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224",
     "shape of an input for which weights are packed; free dims are 1 otherwise", offsetof(compile_args, shapes),
     .min = 0},
    {"batch", 'b', CLI_INT, "N", "size of the first dim of the inputs, where it is free", offsetof(compile_args, batch),
     .min = 1, .max = 1000000},
    CLI_OPT_THREADS,
    CLI_OPT_PRECISION,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern compile net.onnx -o net.tern",
                                       "tern compile net.onnx -o net.tern --tiers avx2,avx512",
                                       "tern compile net.onnx -o net.tern --shape images=1x3x640x640", NULL};

const cli_command cli_cmd_compile = {
    .name = "compile",
    .summary = "store a model optimised and packed, so that it starts faster",
    .operands = "MODEL",
    .description =
        "Writes the optimised graph and the packed weights, for machines like this one. Every command takes the file\n"
        "where it takes an ONNX file, and computes the same bits. Processes share its memory. It holds the model\n"
        "itself, too: for another tier, or with --no-fuse, it is optimised anew. Trust it like a program: its "
        "checksum\n"
        "finds damage, not intent.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model can not be read or prepared, or the file not be written",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(compile_args),
    .run = run,
};
