/* The table of operators. Element types are not written down anywhere but in the operators' own checks, so they are
 * found by asking: each input is given each type, all else being unknown, and a refusal of types is what counts. */
#include "cli/operators.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "ops/ops.h"

enum { MAX_INPUTS = 12 };

/* Bits above the element types: what is no tensor. */
enum { SEQUENCE_BIT = 27, OPTIONAL_BIT, MAP_BIT };

typedef struct operator_info {
    const char *domain, *name;
    int versions[64];
    int n_versions, until; /* until: last version of a registered one; 0: no end */
    bool registered, function;
    uint32_t types[MAX_INPUTS]; /* sets of what input i may be */
    int n_inputs;
    bool more; /* the last input may be repeated */
} operator_info;

typedef struct operator_list {
    operator_info *items;
    size_t count, cap;
} operator_list;

/* ---- asking ---------------------------------------------------------------------------------------------------- */

typedef struct probe {
    tern_model *model;
    tn_node *node;
} probe;

/* What some operators want to see before they look at types. */
static const struct {
    const char *op, *attr;
    tn_attr_type type;
    int64_t i;
    const char *s;
} samples[] = {
    {"BitShift", "direction", TN_ATTR_STRING, 0, "LEFT"},
    {"Cast", "to", TN_ATTR_INT, TERN_FLOAT, NULL},
    {"ConcatFromSequence", "axis", TN_ATTR_INT, 0, NULL},
    {"DepthToSpace", "blocksize", TN_ATTR_INT, 2, NULL},
    {"Einsum", "equation", TN_ATTR_STRING, 0, "a->a"},
    {"GroupNormalization", "num_groups", TN_ATTR_INT, 1, NULL},
    {"LinearAttention", "kv_num_heads", TN_ATTR_INT, 1, NULL},
    {"LinearAttention", "q_num_heads", TN_ATTR_INT, 1, NULL},
    {"LinearClassifier", "coefficients", TN_ATTR_FLOATS, 1, NULL},
    {"LinearClassifier", "intercepts", TN_ATTR_FLOATS, 1, NULL},
    {"LinearRegressor", "coefficients", TN_ATTR_FLOATS, 1, NULL},
    {"LinearRegressor", "intercepts", TN_ATTR_FLOATS, 1, NULL},
    {"LRN", "size", TN_ATTR_INT, 3, NULL},
    {"MaxRoiPool", "pooled_shape", TN_ATTR_INTS, 2, NULL},
    {"Momentum", "alpha", TN_ATTR_FLOAT, 0, NULL},
    {"Momentum", "beta", TN_ATTR_FLOAT, 0, NULL},
    {"Momentum", "mode", TN_ATTR_STRING, 0, "standard"},
    {"Momentum", "norm_coefficient", TN_ATTR_FLOAT, 0, NULL},
    {"RegexFullMatch", "pattern", TN_ATTR_STRING, 0, "a"},
    {"SpaceToDepth", "blocksize", TN_ATTR_INT, 2, NULL},
};

static void give_attributes(tn_node *n) {
    static const int64_t ones[2] = {1, 1};
    static const float reals[2] = {1, 1};
    for (size_t i = 0; i < TN_COUNT(samples); i++) {
        if (strcmp(samples[i].op, n->op_type) != 0) continue;
        tn_attr *a = cli_must(tn_node_add_attr(n, samples[i].attr, samples[i].type));
        bool list = a->type == TN_ATTR_INTS || a->type == TN_ATTR_FLOATS;
        a->count = list ? (size_t)samples[i].i : 1;
        if (a->type == TN_ATTR_INT) a->i = samples[i].i;
        if (a->type == TN_ATTR_INTS) a->ints = ones;
        if (a->type == TN_ATTR_FLOATS) a->floats = reals;
        if (a->type == TN_ATTR_STRING) a->s = tn_str_c(samples[i].s);
    }
}

static void free_probe(probe *p) { tn_model_free(p->model); }

static bool make_probe(probe *p, const tn_op_row *row, int n_in) {
    p->model = cli_must(tn_model_new());
    tn_graph *g = p->model->graph = cli_must(tn_graph_new(p->model, NULL, "probe"));
    p->node = cli_must(tn_graph_add_node(g, row->domain, row->name, row->since, n_in, row->op->min_out));
    for (int i = 0; i < n_in; i++) {
        char text[16];
        snprintf(text, sizeof text, "x%d", i);
        p->node->in[i] = cli_must(tn_graph_value(g, text));
    }
    for (int i = 0; i < row->op->min_out; i++) {
        char text[16];
        snprintf(text, sizeof text, "y%d", i);
        p->node->out[i] = cli_must(tn_graph_value(g, text));
    }
    give_attributes(p->node);
    tern_error err;
    return tn_op_resolve(p->node, &err) == TERN_OK;
}

static tn_type type_of_bit(int bit) {
    static const tern_kind kinds[] = {TERN_KIND_SEQUENCE, TERN_KIND_OPTIONAL, TERN_KIND_MAP};
    if (bit >= SEQUENCE_BIT) return (tn_type){.kind = kinds[bit - SEQUENCE_BIT]};
    return (tn_type){.kind = TERN_KIND_TENSOR, .dtype = (tern_dtype)bit};
}

/* Infers with input i being `bit` and input 0 `first`; 0: not known. */
static tern_status try_type(const probe *p, int i, int bit, int first) {
    for (int k = 0; k < p->node->n_in; k++) p->node->in[k]->type = type_of_bit(k == i ? bit : k == 0 ? first : 0);
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tn_infer_env env;
    tern_error err;
    tern_status s = tn_infer_env_init(&env, p->model, p->node->graph, NULL, &arena, true, &err);
    if (s == TERN_OK) s = tn_infer_env_node(&env, p->node, &err);
    tn_infer_env_release(&env);
    tn_arena_release(&arena);
    return s;
}

/* Some types are refused only beside that of the first input. */
static bool may_be(const probe *p, int i, int bit, uint32_t first_types) {
    if (try_type(p, i, bit, 0) == TERN_TYPE_MISMATCH) return false;
    if (i == 0) return true;
    for (int first = 1; first <= MAP_BIT; first++)
        if ((first_types >> first) & 1u && try_type(p, i, bit, first) != TERN_TYPE_MISMATCH) return true;
    return false;
}

/* A probe that infers when nothing is known, with as many inputs as there can be. False: there is none. */
static bool find_probe(probe *p, const tn_op_row *row) {
    const tn_op *op = row->op;
    int most = op->max_in < 0 ? op->min_in + 3 : op->max_in;
    for (int n = TN_MIN(most, (int)MAX_INPUTS); n >= op->min_in; n--) {
        if (make_probe(p, row, n) && try_type(p, -1, 0, 0) == TERN_OK) return true;
        free_probe(p);
    }
    return false;
}

static void ask_types(operator_info *o, const tn_op_row *row) {
    probe p;
    o->more = row->op->max_in < 0;
    if (!find_probe(&p, row)) return;
    o->n_inputs = p.node->n_in;
    for (int i = 0; i < o->n_inputs; i++)
        for (int bit = 1; bit <= MAP_BIT; bit++)
            if (may_be(&p, i, bit, o->types[0])) o->types[i] |= (uint32_t)1 << bit;
    free_probe(&p);
}

/* ---- the list -------------------------------------------------------------------------------------------------- */

static operator_info *new_operator(operator_list *l, const char *domain, const char *name) {
    if (!tn_grow(&l->items, &l->cap, l->count + 1, sizeof *l->items)) cli_must(NULL);
    operator_info *o = &l->items[l->count++];
    *o = (operator_info){.domain = *domain ? domain : "ai.onnx", .name = name};
    return o;
}

static void add_rows(operator_list *l) {
    size_t n;
    const tn_op_row *rows = tn_op_rows(&n);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && strcmp(rows[end].key, rows[i].key) == 0) end++;
        if (strcmp(rows[i].domain, "tern") != 0) { /* those are what fusion makes */
            operator_info *o = new_operator(l, rows[i].domain, rows[i].name);
            for (size_t k = i; k < end && o->n_versions < (int)TN_COUNT(o->versions); k++)
                o->versions[o->n_versions++] = rows[k].since;
            o->function = rows[end - 1].op->expand != NULL;
            if (!o->function) ask_types(o, &rows[end - 1]);
        }
        i = end;
    }
}

/* The strings of registered operators live as long as the process: the command never takes one away. */
static void add_registered(void *context, const tern_op *op) {
    operator_info *o = new_operator(context, op->domain, op->name);
    o->versions[o->n_versions++] = op->since;
    o->until = op->until;
    o->registered = true;
    o->n_inputs = (int)TN_MIN(op->n_inputs, (size_t)MAX_INPUTS);
    for (int i = 0; i < o->n_inputs; i++) o->types[i] = op->inputs[i].types;
    o->more = op->n_inputs && op->inputs[op->n_inputs - 1].variadic;
}

static int by_name(const void *a, const void *b) {
    const operator_info *x = a, *y = b;
    int d = strcmp(x->domain, y->domain);
    return d ? d : strcmp(x->name, y->name);
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t types;
} groups[] = {{"any", TN_TYPES_ALL},
              {"float", TN_TYPES_FLOAT},
              {"int", TN_TYPES_INT},
              {"float8", TN_TYPES_FLOAT8},
              {"complex", TN_T(COMPLEX64) | TN_T(COMPLEX128)},
              {"sequence", 1u << SEQUENCE_BIT},
              {"optional", 1u << OPTIONAL_BIT},
              {"map", 1u << MAP_BIT}};

static void add_word(tn_text *out, size_t start, const char *word) {
    tn_text_add(out, "%s%s", out->len > start ? " " : "", word);
}

static void add_set(tn_text *out, uint32_t types) {
    size_t start = out->len;
    for (size_t i = 0; i < TN_COUNT(groups); i++) {
        if ((types & groups[i].types) != groups[i].types) continue;
        add_word(out, start, groups[i].name);
        types &= ~groups[i].types;
    }
    for (int d = 1; d < TERN_DTYPE_COUNT; d++)
        if (tn_type_in((tern_dtype)d, types)) add_word(out, start, tern_dtype_name((tern_dtype)d));
    if (out->len == start) add_word(out, start, "none");
}

/* "float; int64": a set per input; repeated ones at the end are left out, "..." stands for them. */
static void add_types(tn_text *out, const operator_info *o) {
    int n = o->n_inputs;
    bool repeated = o->more;
    for (; n > 1 && o->types[n - 1] == o->types[n - 2]; n--) repeated = true;
    for (int i = 0; i < n; i++) {
        if (i) tn_text_add(out, "; ");
        add_set(out, o->types[i]);
    }
    if (n && repeated) tn_text_add(out, " ...");
    if (!n) tn_text_add(out, "-");
}

static void add_versions(tn_text *out, const operator_info *o) {
    for (int i = 0; i < o->n_versions; i++) tn_text_add(out, "%s%d", i ? ", " : "", o->versions[i]);
    if (o->until) tn_text_add(out, " to %d", o->until);
}

static const char *by(const operator_info *o) {
    return o->registered ? "registered" : o->function ? "function" : "native";
}

/* ---- forms ----------------------------------------------------------------------------------------------------- */

static void print_json(const operator_list *l) {
    cJSON *root = cli_json_object(NULL, NULL), *list = cli_json_array(root, "operators");
    for (size_t i = 0; i < l->count; i++) {
        const operator_info *o = &l->items[i];
        cJSON *item = cli_json_object(list, NULL);
        cli_json_string(item, "domain", o->domain);
        cli_json_string(item, "name", o->name);
        cJSON *versions = cli_json_array(item, "versions");
        for (int k = 0; k < o->n_versions; k++) cli_json_int(versions, NULL, o->versions[k]);
        if (o->until) cli_json_int(item, "until", o->until);
        cJSON *inputs = cli_json_array(item, "input_types");
        for (int k = 0; k < o->n_inputs; k++) {
            cJSON *types = cli_json_array(inputs, NULL);
            for (int d = 1; d < TERN_DTYPE_COUNT; d++)
                if (tn_type_in((tern_dtype)d, o->types[k]))
                    cli_json_string(types, NULL, tern_dtype_name((tern_dtype)d));
            for (size_t g = 0; g < TN_COUNT(groups); g++)
                if (groups[g].types >> SEQUENCE_BIT && (o->types[k] & groups[g].types))
                    cli_json_string(types, NULL, groups[g].name);
        }
        cli_json_bool(item, "variadic", o->more);
        cli_json_string(item, "by", by(o));
    }
    cli_json_print(root);
}

static void print_row(const operator_info *o, bool markdown) {
    tn_text versions, types;
    tn_text_init(&versions);
    tn_text_init(&types);
    add_versions(&versions, o);
    add_types(&types, o);
    if (versions.failed || types.failed) cli_must(NULL);
    if (markdown)
        printf("| %s | %s | %s | %s |\n", o->name, versions.data, types.data, by(o));
    else
        printf("%-26s %-26s %-36s %-11s %s\n", o->domain, o->name, versions.data, by(o), types.data);
    tn_text_release(&versions);
    tn_text_release(&types);
}

static void print_markdown(const operator_list *l) {
    printf("# Operators\n\n"
           "Made by `tern inspect --ops --markdown`; do not edit. %zu operators.\n\n"
           "Versions are those of the domain in which the operator came or changed; each is run as its version says. "
           "Types are\n"
           "those of the newest version's inputs, in order: `float` is float16, bfloat16, float32 and float64, `int` "
           "the eight integer\n"
           "types, `float8` four 8-bit floats, `any` every element type, `...` more inputs of the last kind; `-`: "
           "there is no input, or\n"
           "its type depends on attributes, subgraphs or the operators of a function. `native` operators have code of "
           "their own,\n"
           "`function` ones are replaced by native ones when a session is made, `registered` ones need a library and "
           "come with the\n"
           "command (docs/custom-operators.md).\n",
           l->count);
    for (size_t i = 0; i < l->count; i++) {
        if (i == 0 || strcmp(l->items[i].domain, l->items[i - 1].domain) != 0)
            printf("\n## %s\n\n| operator | versions | types of inputs | by |\n|---|---|---|---|\n",
                   l->items[i].domain);
        print_row(&l->items[i], true);
    }
}

int cli_print_operators(cli_operators_form form) {
    operator_list l = {0};
    add_rows(&l);
    tn_custom_visit(add_registered, &l);
    if (l.count) qsort(l.items, l.count, sizeof *l.items, by_name);
    if (form == CLI_OPERATORS_JSON) print_json(&l);
    if (form == CLI_OPERATORS_MARKDOWN) print_markdown(&l);
    if (form == CLI_OPERATORS_TEXT) {
        printf("%-26s %-26s %-36s %-11s %s\n", "domain", "operator", "versions", "by", "types of inputs");
        for (size_t i = 0; i < l.count; i++) print_row(&l.items[i], false);
    }
    tn_free(l.items);
    return CLI_OK;
}
