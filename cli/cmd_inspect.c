/* tern inspect: what a model is, and what tern makes of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/checkpoint.h"
#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "cli/operators.h"
#include "cli/svg.h"
#include "runtime/runtime.h"

typedef struct inspect_args {
    cli_common common;
    cli_strings shapes;
    bool dot, optimized, check, weights, ops, markdown;
    const char *svg, *memory_svg;
} inspect_args;

/* ---- what is counted ------------------------------------------------------------------------------------------- */

typedef struct name_count {
    char name[200];
    int64_t count;
} name_count;

typedef struct name_counts {
    name_count **items;
    size_t count, cap;
    tn_map by_name;
} name_counts;

/* A file may have as many names as nodes. */
static void count_name(name_counts *c, const char *name) {
    name_count *n = tn_map_get(&c->by_name, tn_str_c(name));
    if (!n) {
        if (!tn_grow(&c->items, &c->cap, c->count + 1, sizeof *c->items)) cli_must(NULL);
        n = c->items[c->count++] = cli_must(calloc(1, sizeof *n));
        snprintf(n->name, sizeof n->name, "%s", name);
        if (!tn_map_put(&c->by_name, tn_str_c(n->name), n)) cli_must(NULL);
    }
    n->count++;
}

static int most_first(const void *a, const void *b) {
    const name_count *x = *(name_count *const *)a, *y = *(name_count *const *)b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void release_counts(name_counts *c) {
    tn_map_release(&c->by_name);
    for (size_t i = 0; i < c->count; i++) free(c->items[i]);
    tn_free(c->items);
}

static void sort_counts(name_counts *c) {
    if (c->count) qsort(c->items, c->count, sizeof *c->items, most_first);
}

typedef struct graph_facts {
    name_counts ops, fused;
    int64_t nodes, parameters, parameter_bytes;
} graph_facts;

static void count_tensor(graph_facts *f, const tern_tensor *t) {
    if (!t || t->kind != TERN_KIND_TENSOR) return;
    f->parameters += tn_shape_count(&t->shape);
    f->parameter_bytes += (int64_t)tn_tensor_bytes(t);
}

static void count_graph(graph_facts *f, const tn_graph *g) {
    f->nodes += g->n_nodes;
    for (int i = 0; i < g->n_values; i++) count_tensor(f, g->values[i]->constant);
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        char name[200];
        snprintf(name, sizeof name, "%s%s%s", n->domain, *n->domain ? ":" : "", n->op_type);
        count_name(&f->ops, name);
        if (n->fused) {
            snprintf(name, sizeof name, "%s + %s", n->op_type, n->fused);
            count_name(&f->fused, name);
        }
        for (int a = 0; a < n->n_attrs; a++) {
            const tn_attr *at = &n->attrs[a];
            if (at->type == TN_ATTR_TENSOR) count_tensor(f, at->t);
            if (at->type == TN_ATTR_GRAPH) count_graph(f, at->g);
            for (size_t k = 0; at->type == TN_ATTR_GRAPHS && k < at->count; k++) count_graph(f, at->graphs[k]);
        }
    }
}

static graph_facts facts_of(const tn_graph *g) {
    graph_facts f = {0};
    count_graph(&f, g);
    sort_counts(&f.ops);
    sort_counts(&f.fused);
    return f;
}

static void release_facts(graph_facts *f) {
    release_counts(&f->ops);
    release_counts(&f->fused);
}

/* ---- the plan -------------------------------------------------------------------------------------------------- */

typedef struct plan_facts {
    bool known;
    int64_t macs;
    int steps, dynamic_steps;
    size_t peak, values, lower_bound, workspace, packed;
    name_counts kernels;
} plan_facts;

static tern_status draw_memory(const char *path, const tn_plan *plan, tern_error *err) {
    tn_text text;
    tn_text_init(&text);
    cli_svg_memory(&text, plan);
    tern_status s = text.failed ? tn_fail_oom(err, text.len) : tn_file_write(path, text.data, text.len, err);
    tn_text_release(&text);
    return s;
}

/* Plans for the shapes of --shape; free dims are 1. Tensors without data do: planning looks at types alone. */
static tern_status plan_model(const inspect_args *a, tern_session *session, const tern_model *model, plan_facts *out,
                              tern_error *err) {
    cli_input_options io = {.shapes = &a->shapes, .fill = CLI_FILL_ZEROS, .free_dim = 1};
    cli_inputs in = {0};
    tn_cached_plan *cached = NULL;
    tern_status s = cli_inputs_make(&in, model, &io, err);
    if (s == TERN_OK) s = tn_session_plan(session, session->model->graph, in.tensors, (int)in.count, &cached, err);
    if (s == TERN_OK && a->memory_svg) s = draw_memory(a->memory_svg, cached->plan, err);
    if (s == TERN_OK) {
        const tn_plan *p = cached->plan;
        *out = (plan_facts){.known = true,
                            .steps = p->n_steps,
                            .peak = p->arena_bytes,
                            .values = p->value_bytes,
                            .lower_bound = p->lower_bound,
                            .workspace = p->workspace_bytes,
                            .packed = tn_pack_cache_bytes(session->packs)};
        for (int i = 0; i < p->n_steps; i++) {
            out->macs += p->steps[i].macs;
            out->dynamic_steps += p->steps[i].dynamic;
            if (p->steps[i].kernel) count_name(&out->kernels, p->steps[i].kernel);
        }
        sort_counts(&out->kernels);
    }
    if (cached) tn_session_release_plan(session, cached, NULL);
    cli_inputs_release(&in);
    return s;
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void print_counts(const char *label, const name_counts *c) {
    if (!c->count) return;
    printf("%-12s", label);
    size_t column = 12;
    for (size_t i = 0; i < c->count; i++) {
        char item[240];
        int n = snprintf(item, sizeof item, "%s%s %" PRId64, i ? ", " : "", c->items[i]->name, c->items[i]->count);
        if (i && column + (size_t)n > 110) {
            printf(",\n%-12s", "");
            cli_print_name(item + 2);
            column = 12 + (size_t)n - 2;
        } else {
            cli_print_name(item);
            column += (size_t)n;
        }
    }
    printf("\n");
}

static const char *amount(double x, char *buffer, size_t size) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t u = 0;
    for (; x >= 1000 && u + 1 < TN_COUNT(units); u++) x /= 1000;
    snprintf(buffer, size, u ? "%.2f%s" : "%.0f%s", x, units[u]);
    return buffer;
}

static void print_values(const char *label, const tern_model *m, int n,
                         tern_status (*get)(const tern_model *, int, tern_value_info *, tern_error *)) {
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        tern_error err;
        char text[400];
        if (get(m, i, &info, &err) != TERN_OK) continue;
        printf("%-12s", i ? "" : label);
        cli_print_name(info.name);
        printf(" ");
        cli_print_name(cli_value_text(&info, text, sizeof text));
        printf("\n");
    }
}

static void print_model(const tern_model *m, const graph_facts *f) {
    char a[40], b[40];
    printf("%-12s", "model");
    cli_print_name(m->path ? m->path : "");
    printf("\n%-12s", "producer");
    cli_print_name(m->producer_name && *m->producer_name ? m->producer_name : "unknown");
    printf("%s", m->producer_version && *m->producer_version ? " " : "");
    cli_print_name(m->producer_version ? m->producer_version : "");
    printf(", IR version %" PRId64 "\n", m->ir_version);
    for (size_t i = 0; i < m->n_opsets; i++) {
        printf("%-12s", i ? "" : "opset");
        cli_print_name(*m->opsets[i].domain ? m->opsets[i].domain : "ai.onnx");
        printf(" %d\n", m->opsets[i].version);
    }
    print_values("inputs", m, tern_model_input_count(m), tern_model_input);
    print_values("outputs", m, tern_model_output_count(m), tern_model_output);
    for (size_t i = 0; i < m->n_metadata; i++) {
        char value[104];
        snprintf(value, sizeof value, "%.100s", m->metadata[i].value);
        printf("%-12s", i ? "" : "metadata");
        cli_print_name(m->metadata[i].key);
        printf(" = ");
        cli_print_name(value);
        printf("%s\n", strlen(m->metadata[i].value) > 100 ? "..." : "");
    }
    printf("%-12s%s (%sB)\n", "parameters", amount((double)f->parameters, a, sizeof a),
           amount((double)f->parameter_bytes, b, sizeof b));
    printf("%-12s%" PRId64 "\n", "nodes", f->nodes);
    print_counts("", &f->ops);
}

static void print_plan(const graph_facts *f, const plan_facts *p) {
    char a[40], b[40], c[40], d[40];
    printf("\n%-12s%" PRId64 " nodes for %s\n", "optimised", f->nodes, tern_cpu_tier_name(tern_cpu_get_tier()));
    print_counts("", &f->ops);
    print_counts("fused", &f->fused);
    if (!p->known) return;
    printf("%-12s%s multiply-accumulates\n", "work", amount((double)p->macs, a, sizeof a));
    printf("%-12s%sB at most for %sB of values (%.0f %% reused; lower bound %sB), %sB scratch\n", "memory",
           amount((double)p->peak, a, sizeof a), amount((double)p->values, b, sizeof b),
           p->values ? 100.0 * (1 - (double)p->peak / (double)p->values) : 0,
           amount((double)p->lower_bound, c, sizeof c), amount((double)p->workspace, d, sizeof d));
    printf("%-12s%sB of packed weights\n", "", amount((double)p->packed, a, sizeof a));
    if (p->dynamic_steps)
        printf("%-12s%d of %d steps have shapes that depend on data\n", "dynamic", p->dynamic_steps, p->steps);
    print_counts("kernels", &p->kernels);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void json_counts(cJSON *parent, const char *key, const name_counts *c) {
    cJSON *o = cli_json_object(parent, key);
    for (size_t i = 0; i < c->count; i++) cli_json_int(o, c->items[i]->name, c->items[i]->count);
}

static void json_values(cJSON *parent, const char *key, const tern_model *m, int n,
                        tern_status (*get)(const tern_model *, int, tern_value_info *, tern_error *)) {
    cJSON *list = cli_json_array(parent, key);
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        tern_error err;
        if (get(m, i, &info, &err) != TERN_OK) continue;
        cJSON *o = cli_json_object(list, NULL);
        cli_json_string(o, "name", info.name);
        cli_json_string(o, "dtype", tern_dtype_name(info.dtype));
        if (info.rank < 0) continue;
        cJSON *shape = cli_json_array(o, "shape");
        for (int d = 0; d < info.rank; d++) {
            if (info.dims[d] >= 0)
                cli_json_int(shape, NULL, info.dims[d]);
            else
                cli_json_string(shape, NULL, info.dim_names[d]);
        }
    }
}

static cJSON *json_model(const tern_model *m, const graph_facts *f) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "model", m->path);
    cli_json_string(root, "producer", m->producer_name);
    cli_json_string(root, "producer_version", m->producer_version);
    cli_json_int(root, "ir_version", m->ir_version);
    cJSON *opsets = cli_json_object(root, "opsets");
    for (size_t i = 0; i < m->n_opsets; i++)
        cli_json_int(opsets, *m->opsets[i].domain ? m->opsets[i].domain : "ai.onnx", m->opsets[i].version);
    json_values(root, "inputs", m, tern_model_input_count(m), tern_model_input);
    json_values(root, "outputs", m, tern_model_output_count(m), tern_model_output);
    cJSON *metadata = cli_json_object(root, "metadata");
    for (size_t i = 0; i < m->n_metadata; i++) cli_json_string(metadata, m->metadata[i].key, m->metadata[i].value);
    cli_json_int(root, "parameters", f->parameters);
    cli_json_int(root, "parameter_bytes", f->parameter_bytes);
    cli_json_int(root, "nodes", f->nodes);
    json_counts(root, "operators", &f->ops);
    return root;
}

static void json_plan(cJSON *root, const graph_facts *f, const plan_facts *p) {
    cJSON *o = cli_json_object(root, "optimized");
    cli_json_string(o, "cpu", tern_cpu_tier_name(tern_cpu_get_tier()));
    cli_json_int(o, "nodes", f->nodes);
    json_counts(o, "operators", &f->ops);
    json_counts(o, "fused", &f->fused);
    if (!p->known) return;
    json_counts(o, "kernels", &p->kernels);
    cli_json_int(o, "macs", p->macs);
    cli_json_int(o, "steps", p->steps);
    cli_json_int(o, "dynamic_steps", p->dynamic_steps);
    cJSON *memory = cli_json_object(o, "memory");
    cli_json_int(memory, "peak_bytes", (int64_t)p->peak);
    cli_json_int(memory, "value_bytes", (int64_t)p->values);
    cli_json_int(memory, "reused_bytes", (int64_t)(p->values - p->peak));
    cli_json_int(memory, "lower_bound_bytes", (int64_t)p->lower_bound);
    cli_json_int(memory, "scratch_bytes", (int64_t)p->workspace);
    cli_json_int(memory, "packed_weight_bytes", (int64_t)p->packed);
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static int report(const inspect_args *a, const tern_model *model, tern_session *session, const graph_facts *before) {
    graph_facts after = facts_of(session->model->graph);
    plan_facts plan = {0};
    tern_error err;
    tern_status s = plan_model(a, session, model, &plan, &err);
    if (a->common.json) {
        cJSON *root = json_model(model, before);
        json_plan(root, &after, &plan);
        cli_json_print(root);
    } else {
        print_model(model, before);
        print_plan(&after, &plan);
    }
    release_counts(&plan.kernels);
    release_facts(&after);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

/* Of the graph in the file, or of the one that runs. */
static tern_status draw_graph(const inspect_args *a, const tern_model *m, tern_error *err) {
    if (a->svg) return cli_inspect_svg(m, a->svg, err);
    cli_inspect_dot(stdout, m);
    return TERN_OK;
}

static int inspect(const inspect_args *a, tern_model *model) {
    tern_session *session = NULL;
    tern_error err;
    bool draws = a->dot || a->svg;
    tern_options options = cli_session_options(&a->common);
    if (a->weights) {
        cli_inspect_weights(model, a->common.json);
        return CLI_OK;
    }
    if (draws && !a->optimized) return draw_graph(a, model, &err) == TERN_OK ? CLI_OK : cli_fail(&err);
    graph_facts before = facts_of(model->graph);
    int code = CLI_OK;
    if (tern_session_create(&session, model, &options, &err) != TERN_OK) {
        /* What the file says is worth reading even when tern can not run it. */
        if (a->common.json)
            cli_json_print(json_model(model, &before));
        else if (!draws)
            print_model(model, &before);
        fflush(stdout);
        code = cli_fail(&err);
    } else if (draws) {
        code = draw_graph(a, session->model, &err) == TERN_OK ? CLI_OK : cli_fail(&err);
    } else {
        code = report(a, model, session, &before);
    }
    release_facts(&before);
    tern_session_free(session);
    return code;
}

static int inspect_operators(const inspect_args *a, int count) {
    if (!a->ops || count) {
        cli_error(a->ops ? "inspect --ops lists the operators of tern itself and takes no MODEL (tern inspect --help)"
                         : "--markdown goes with --ops (tern inspect --help)");
        return CLI_USAGE;
    }
    return cli_print_operators(a->markdown      ? CLI_OPERATORS_MARKDOWN
                               : a->common.json ? CLI_OPERATORS_JSON
                                                : CLI_OPERATORS_TEXT);
}

tern_status cli_load_whole(tern_model **out, const char *path, tern_error *err) {
    TN_TRY(tern_model_load(out, path, NULL, err));
    tern_status status = tn_model_check_all(*out, err);
    if (status == TERN_OK) return TERN_OK;
    tn_error_prefix(err, "%s: ", path);
    tern_model_free(*out);
    *out = NULL;
    return status;
}

static int run(void *args, char **operands, int count) {
    const inspect_args *a = args;
    tern_model *model = NULL;
    tern_error err;
    if (a->ops || a->markdown) return inspect_operators(a, count);
    if (count == 0) {
        cli_error("inspect needs MODEL, or --ops (tern inspect --help)");
        return CLI_USAGE;
    }
    if (count == 2) return cli_inspect_diff(operands[0], operands[1], a->common.json);
    if (a->check) return cli_inspect_check(operands[0], a->common.json);
    if (cli_is_checkpoint(operands[0])) return cli_inspect_checkpoint(operands[0], a->common.json);
    if (cli_load_whole(&model, operands[0], &err) != TERN_OK) return cli_fail(&err);
    int code = inspect(a, model);
    tern_model_free(model);
    return code;
}

static const cli_option options[] = {
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of an input for work and memory; free dims are 1 otherwise",
     offsetof(inspect_args, shapes), .min = 0},
    {"dot", 0, CLI_FLAG, NULL, "print the graph for Graphviz", offsetof(inspect_args, dot), .min = 0},
    {"svg", 0, CLI_STRING, "FILE", "draw the graph into FILE (needs Graphviz)", offsetof(inspect_args, svg), .min = 0},
    {"optimized", 0, CLI_FLAG, NULL, "with --dot or --svg: the graph that runs instead of the one in the file",
     offsetof(inspect_args, optimized), .min = 0},
    {"memory-svg", 0, CLI_STRING, "FILE", "draw the memory plan: which value lies where, from which step to which",
     offsetof(inspect_args, memory_svg), .min = 0},
    {"weights", 0, CLI_FLAG, NULL, "range, mean, deviation, zeros, NaN and infinities of every constant",
     offsetof(inspect_args, weights), .min = 0},
    {"check", 0, CLI_FLAG, NULL, "look for violations of the standard's rules; the exit code is 1 when there are any",
     offsetof(inspect_args, check), .min = 0},
    {"ops", 0, CLI_FLAG, NULL, "list the operators that tern has, with versions and types, instead of a model",
     offsetof(inspect_args, ops), .min = 0},
    {"markdown", 0, CLI_FLAG, NULL, "with --ops: as docs/operators.md", offsetof(inspect_args, markdown), .min = 0},
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern inspect net.onnx",
                                       "tern inspect net.onnx --shape images=1x3x320x320 --json",
                                       "tern inspect net.onnx --svg net.svg --optimized",
                                       "tern inspect net.onnx --memory-svg memory.svg",
                                       "tern inspect net.onnx --check",
                                       "tern inspect old.onnx new.onnx",
                                       "tern inspect yolov5s.pt",
                                       "tern inspect --ops",
                                       NULL};

const cli_command cli_cmd_inspect = {
    .name = "inspect",
    .summary = "show what a model is and what tern makes of it",
    .operands = "MODEL [OTHER]",
    .description =
        "Producer, opsets, inputs and outputs, operators, parameters; then the optimised graph: what was fused,\n"
        "multiply-accumulates, kernels, and the memory plan.\n"
        "MODEL may also be a checkpoint (PyTorch .pt or .pth, pickle, safetensors, .npz): its format, classes,\n"
        "hyper-parameters and tensors. Nothing in it is run; names that are not on the allow-list are warned of.\n"
        "With two models: what tells them apart in structure, attributes and weights.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model can not be read, or not be run; --check found a violation; two models differ",
    .min_operands = 0,
    .max_operands = 2,
    .args_size = sizeof(inspect_args),
    .run = run,
};
