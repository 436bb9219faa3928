/* Model descriptions of the official repository: a mapping with lists `backbone` and `head` of
 * [from, number, module, arguments], and sometimes `activation`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vision/yolo/yolo_internal.h"

#ifdef HAVE_YAML

#include <yaml.h>

/* The official files have 3 KB; libyaml's time grows with the square of the nesting, which this bounds. */
#define MAX_BYTES     (1 << 16)
#define MAX_SEEN_ARGS 200 /* of a module, in all of its lists */

typedef struct reader {
    yaml_document_t doc;
    const char *path;
    tern_error *err;
} reader;

static yaml_node_t *node(reader *r, int id) { return yaml_document_get_node(&r->doc, id); }

static const char *scalar(const yaml_node_t *n) {
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static yaml_node_t *lookup(reader *r, yaml_node_t *map, const char *key) {
    if (!map || map->type != YAML_MAPPING_NODE) return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const char *name = scalar(node(r, p->key));
        if (name && strcmp(name, key) == 0) return node(r, p->value);
    }
    return NULL;
}

static size_t length(const yaml_node_t *n) {
    if (!n || n->type != YAML_SEQUENCE_NODE) return 0;
    return (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
}

static yaml_node_t *item(reader *r, const yaml_node_t *n, size_t i) { return node(r, n->data.sequence.items.start[i]); }

static tern_status bad(reader *r, const yaml_node_t *n, const char *expected) {
    return tn_fail(r->err, TERN_INVALID_FORMAT, "%s: line %zu: %s is expected", r->path,
                   n ? n->start_mark.line + 1 : (size_t)1, expected);
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static bool whole_number(const char *text, int64_t *out) {
    char *end;
    long long v = text ? strtoll(text, &end, 10) : 0;
    if (!text || end == text || *end || v < -100000 || v > 100000) return false;
    *out = v;
    return true;
}

static tern_status read_from(reader *r, yaml_node_t *n, yolo_row *row) {
    size_t count = length(n);
    if (n && n->type == YAML_SCALAR_NODE) {
        row->n_from = 1;
        return whole_number(scalar(n), &row->from[0]) ? TERN_OK : bad(r, n, "the number of a layer");
    }
    if (!n || n->type != YAML_SEQUENCE_NODE || count > YOLO_MAX_INPUTS) return bad(r, n, "a list of layers");
    for (size_t i = 0; i < count; i++) {
        if (!whole_number(scalar(item(r, n, i)), &row->from[i])) return bad(r, n, "a list of layers");
    }
    row->n_from = (int)count;
    return TERN_OK;
}

static double argument(const char *text) {
    if (strcmp(text, "True") == 0 || strcmp(text, "true") == 0) return 1;
    if (strcmp(text, "False") == 0 || strcmp(text, "false") == 0) return 0;
    char *end;
    double v = strtod(text, &end);
    return *text && !*end && isfinite(v) ? v : NAN;
}

/* Lists in the list are flattened: SPP's [1024, [5, 9, 13]]. The first YOLO_MAX_ARGS are kept; `seen` counts all, as
 * aliases make a list of lists far longer than the file. */
static tern_status read_args(reader *r, yaml_node_t *n, yolo_row *row, int depth, int *seen) {
    for (size_t i = 0; i < length(n); i++) {
        yaml_node_t *v = item(r, n, i);
        if (++*seen > MAX_SEEN_ARGS) return bad(r, n, "a shorter list of arguments");
        const char *text = scalar(v);
        if (text && strcmp(text, "bilinear") == 0) {
            return tn_fail(r->err, TERN_UNSUPPORTED, "%s: line %zu: bilinear upsampling of a state dict", r->path,
                           v->start_mark.line + 1);
        }
        if (!text && depth < 2) {
            TN_TRY(read_args(r, v, row, depth + 1, seen));
        } else if (text && row->n_args < YOLO_MAX_ARGS) {
            row->args[row->n_args++] = argument(text);
        }
    }
    return TERN_OK;
}

static tern_status read_row(reader *r, yaml_node_t *n, yolo_row *row) {
    *row = (yolo_row){0};
    if (length(n) != 4) return bad(r, n, "[from, number, module, arguments]");
    TN_TRY(read_from(r, item(r, n, 0), row));
    const char *module = scalar(item(r, n, 2));
    if (!module || !*module || strlen(module) >= sizeof row->module) return bad(r, n, "the name of a module");
    snprintf(row->module, sizeof row->module, "%s", module);
    int seen = 0;
    return read_args(r, item(r, n, 3), row, 0, &seen);
}

static tern_status read_list(reader *r, yaml_node_t *root, const char *key, yolo_arch *out) {
    yaml_node_t *list = lookup(r, root, key);
    size_t count = length(list);
    if (!list || list->type != YAML_SEQUENCE_NODE) return bad(r, root, "a list 'backbone' and a list 'head'");
    for (size_t i = 0; i < count; i++) {
        if (out->n_rows == YOLO_MAX_LAYERS) return bad(r, list, "fewer layers");
        TN_TRY(read_row(r, item(r, list, i), &out->rows[out->n_rows++]));
    }
    return TERN_OK;
}

/* ---- what the file does not say -------------------------------------------------------------------------------- */

static bool uses(const yolo_arch *a, const char *prefix) {
    for (int i = 0; i < a->n_rows; i++) {
        if (strncmp(a->rows[i].module, prefix, strlen(prefix)) == 0) return true;
    }
    return false;
}

/* v1.0: a Detect that names no inputs takes the plain convolutions before it, the last first. */
static bool fill_detect(yolo_arch *a) {
    yolo_row *detect = &a->rows[a->n_rows - 1];
    if (detect->n_from) return false;
    for (int i = a->n_rows - 2; i >= 0 && detect->n_from < YOLO_MAX_LEVELS; i--) {
        if (strcmp(a->rows[i].module, "nn.Conv2d") == 0) detect->from[detect->n_from++] = i;
    }
    return true;
}

/* nn.LeakyReLU(0.1), nn.SiLU() */
static tern_status named_activation(reader *r, yolo_arch *a, const char *text, const char *csp, double eps) {
    char name[24];
    const char *open = strchr(text, '(');
    if (strncmp(text, "nn.", 3) == 0) text += 3;
    snprintf(name, sizeof name, "%.*s", open ? (int)TN_MIN(open - text, 23) : 23, text);
    if (!yolo_is_activation(name)) {
        return tn_fail(r->err, TERN_UNSUPPORTED, "%s: the activation '%s' is not known", r->path, name);
    }
    double slope = open ? strtod(open + 1, NULL) : 0;
    return yolo_arch_activation(a, name, slope > 0 && slope < 1 ? slope : 0.01, csp, eps);
}

/* Without `activation`, modules and release tell: C3 came with SiLU; BottleneckCSP with LeakyReLU, in 3.1 with
 * Hardswish. */
static tern_status choose_activation(reader *r, yolo_arch *a, const char *text, double release) {
    bool heads_outside = fill_detect(a), csp = uses(a, "BottleneckCSP"), c3 = uses(a, "C3");
    a->face = uses(a, "StemBlock");
    double eps = heads_outside || (release > 0 && release < 1.5) ? 1e-4 : 1e-3;
    const char *csp_activation = release >= 6.1 ? "SiLU" : "LeakyReLU";
    if (text) return named_activation(r, a, text, csp_activation, eps);
    if (csp && !c3 && !heads_outside && release == 0) {
        return tn_fail(r->err, TERN_INVALID_ARGUMENT,
                       "%s: its activation depends on the release of YOLOv5: add it, as in '%s@3.1'", r->path, r->path);
    }
    const char *name = heads_outside || (release > 0 && release < 3.05) ? "LeakyReLU"
                       : release > 0 && release < 3.95                  ? "Hardswish"
                                                                        : "SiLU";
    return yolo_arch_activation(a, name, 0.1, csp_activation, eps);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static tern_status read_document(reader *r, double release, yolo_arch *out) {
    yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root || root->type != YAML_MAPPING_NODE) return bad(r, root, "a mapping");
    out->rows = tn_calloc(YOLO_MAX_LAYERS, sizeof *out->rows);
    if (!out->rows) return tn_fail_oom(r->err, YOLO_MAX_LAYERS * sizeof *out->rows);
    TN_TRY(read_list(r, root, "backbone", out));
    TN_TRY(read_list(r, root, "head", out));
    if (out->n_rows == 0) return bad(r, root, "at least one layer");
    return choose_activation(r, out, scalar(lookup(r, root, "activation")), release);
}

static tern_status parse(reader *r, const tn_file *file, double release, yolo_arch *out) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return tn_fail_oom(r->err, sizeof parser);
    yaml_parser_set_input_string(&parser, file->data, file->size);
    tern_status status;
    if (yaml_parser_load(&parser, &r->doc)) {
        status = read_document(r, release, out);
        yaml_document_delete(&r->doc);
    } else {
        status = tn_fail(r->err, TERN_INVALID_FORMAT, "%s: line %zu: %s", r->path, parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "no YAML");
    }
    yaml_parser_delete(&parser);
    return status;
}

/* "FILE@3.1" is taken apart; text after an @ that is no number belongs to the name. */
static double split_release(char *path) {
    char *at = strrchr(path, '@'), *end;
    if (!at) return 0;
    const char *number = at + 1 + (at[1] == 'v');
    double release = strtod(number, &end);
    if (end == number || *end || !(release >= 1 && release < 100)) return 0;
    *at = 0;
    return release;
}

tern_status yolo_arch_yaml(yolo_arch *out, const char *path, tern_error *err) {
    *out = (yolo_arch){0};
    char *copy = tn_strdup(path);
    if (!copy) return tn_fail_oom(err, strlen(path));
    double release = split_release(copy);
    tn_file file;
    tern_status status = tn_file_map(&file, copy, err);
    if (status == TERN_OK) {
        reader r = {.path = copy, .err = err};
        status = file.size > MAX_BYTES ? tn_fail(err, TERN_LIMIT_EXCEEDED, "%s: more than %d bytes", copy, MAX_BYTES)
                                       : parse(&r, &file, release, out);
        tn_file_unmap(&file);
    }
    tn_free(copy);
    if (status != TERN_OK) yolo_arch_release(out);
    return status;
}

#else

tern_status yolo_arch_yaml(yolo_arch *out, const char *path, tern_error *err) {
    *out = (yolo_arch){0};
    return tn_fail(err, TERN_UNSUPPORTED, "%s: this build reads no YAML (libyaml-dev was missing)", path);
}

#endif
