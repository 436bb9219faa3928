#include "cli/dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/compare.h"
#include "runtime/runtime.h"

typedef struct comparison {
    const char *value, *node, *op_type; /* of the session's model */
    cli_difference difference;
    bool parts;
    char why[300];
} comparison;

struct cli_dump {
    cli_dump_options options;
    const tern_model *model;
    cJSON *root, *list, *with_index;
    tn_map with_files; /* of with_index: name -> file */
    tn_map with_bytes; /* the same for names that are not UTF-8, in hexadecimal */
    tn_map seen;       /* names written or compared */
    tn_map files;
    char **paths; /* keys of files */
    size_t n_paths, cap_paths;
    comparison *found;
    size_t n_found, cap_found;
    int64_t n_missing; /* values that the other folder does not have */
    tern_status status;
    tern_error err;
};

/* ---- the tensor, as the standard lays it out ------------------------------------------------------------------- */

static tern_status to_plain(const tern_tensor *t, tern_tensor **out, tern_error *err) {
    if (!t->block) {
        *out = tn_tensor_ref((tern_tensor *)(uintptr_t)t);
        return TERN_OK;
    }
    TN_TRY(tn_tensor_new(out, t->dtype, &t->shape, err));
    size_t size = tern_dtype_size(t->dtype);
    int64_t n = t->shape.dims[0], c = t->shape.dims[1], hw = tn_shape_count_range(&t->shape, 2, t->shape.rank);
    int64_t blocks = tn_ceil_div(c, t->block);
    for (int64_t i = 0; i < n * c; i++) {
        int64_t b = i / c, channel = i % c, lane = channel % t->block;
        const char *from =
            (const char *)t->data + (size_t)((b * blocks + channel / t->block) * hw * t->block + lane) * size;
        char *to = (char *)(*out)->data + (size_t)(i * hw) * size;
        for (int64_t p = 0; p < hw; p++) memcpy(to + (size_t)p * size, from + (size_t)(p * t->block) * size, size);
    }
    return TERN_OK;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* A file for that value. Names that differ only in characters that file names do not have get a number, and the index
 * says whose file is whose. */
static const char *new_path(cli_dump *d, const char *name, cli_format format) {
    char *path = cli_tensor_path(d->options.folder, name, format);
    size_t n = strlen(name) + 16;
    char *numbered = cli_must(malloc(n));
    for (int i = 2; tn_map_get(&d->files, tn_str_c(path)); i++) {
        snprintf(numbered, n, "%s.%d", name, i);
        free(path);
        path = cli_tensor_path(d->options.folder, numbered, format);
    }
    free(numbered);
    if (!tn_grow(&d->paths, &d->cap_paths, d->n_paths + 1, sizeof *d->paths)) cli_must(NULL);
    d->paths[d->n_paths++] = path;
    if (!tn_map_put(&d->files, tn_str_c(path), path)) cli_must(NULL);
    return path;
}

/* JSON has no room for a name that is not UTF-8: its bytes, to be freed; NULL: it is. */
static char *name_bytes(const char *name) {
    size_t n = strlen(name);
    if (tn_utf8_valid(name, n)) return NULL;
    char *hex = cli_must(malloc(2 * n + 1));
    for (size_t i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", (unsigned char)name[i]);
    return hex;
}

static tern_status write_one(cli_dump *d, const char *name, const tn_node *node, const tern_tensor *t) {
    bool plain = tern_tensor_kind(t) == TERN_KIND_TENSOR && tern_tensor_dtype(t) != TERN_STRING;
    bool fits = d->options.format == CLI_FORMAT_NPY ? cli_fits_npy(t) : plain;
    cli_format format = fits ? d->options.format : CLI_FORMAT_PB;
    const char *path = new_path(d, name, format);
    TN_TRY(cli_tensor_write(t, name, path, format, &d->err));
    cJSON *o = cli_json_object(d->list, NULL);
    cli_json_string(o, "name", name);
    char *bytes = name_bytes(name);
    if (bytes) cli_json_string(o, "name_bytes", bytes);
    free(bytes);
    cli_json_string(o, "node", node ? node->name : "");
    cli_json_string(o, "op_type", node ? node->op_type : "input");
    if (node && node->fused) cli_json_string(o, "fused", node->fused);
    if (tern_tensor_kind(t) == TERN_KIND_TENSOR) {
        cli_json_string(o, "dtype", tern_dtype_name(tern_tensor_dtype(t)));
        cJSON *shape = cli_json_array(o, "shape");
        for (int i = 0; i < tern_tensor_rank(t); i++) cli_json_int(shape, NULL, tern_tensor_dims(t)[i]);
    } else {
        cli_json_int(o, "items", (int64_t)tern_tensor_item_count(t));
    }
    cli_json_string(o, "file", strrchr(path, '/') + 1);
    return TERN_OK;
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

/* The file of that value in the other folder; NULL: it has none. A name with a '/' in an index would lead elsewhere. */
static char *other_file(const cli_dump *d, const char *name) {
    char *bytes = name_bytes(name);
    const char *file = bytes ? tn_map_get(&d->with_bytes, tn_str_c(bytes)) : tn_map_get(&d->with_files, tn_str_c(name));
    free(bytes);
    if (file && !strchr(file, '/')) {
        size_t n = strlen(d->options.with) + strlen(file) + 2;
        char *path = cli_must(malloc(n));
        snprintf(path, n, "%s/%s", d->options.with, file);
        return path;
    }
    for (int format = CLI_FORMAT_NPY; format <= CLI_FORMAT_PB && !d->with_index; format++) {
        char *path = cli_tensor_path(d->options.with, name, (cli_format)format);
        if (access(path, R_OK) == 0) return path;
        free(path);
    }
    return NULL;
}

static tern_status compare_one(cli_dump *d, const char *name, const tn_node *node, const tern_tensor *t) {
    char *path = other_file(d, name);
    if (!path) {
        d->n_missing++;
        return TERN_OK;
    }
    size_t n = strlen(path);
    tern_tensor *want = NULL;
    tern_status status = n > 4 && strcmp(path + n - 4, ".npy") == 0
                             ? tern_tensor_load_npy(&want, path, &d->err)
                             : tern_tensor_load_pb(&want, path, tern_tensor_kind(t), &d->err);
    free(path);
    TN_TRY(status);
    if (!tn_grow(&d->found, &d->cap_found, d->n_found + 1, sizeof *d->found)) cli_must(NULL);
    comparison *c = &d->found[d->n_found++];
    *c = (comparison){.value = name, .node = node->name, .op_type = node->op_type};
    c->difference = cli_measure_difference(t, want);
    double most = d->options.atol + d->options.rtol * c->difference.max_want;
    c->parts = !cli_compare(t, want, 0, most, c->why, sizeof c->why);
    tern_tensor_free(want);
    return TERN_OK;
}

/* ---- the run --------------------------------------------------------------------------------------------------- */

static tern_status take(cli_dump *d, const tn_node *node, const tn_value *v, const tern_tensor *t) {
    tern_tensor *plain;
    const char *name = v->blocked_of ? v->blocked_of : v->name;
    if (tn_map_get(&d->seen, tn_str_c(name))) return TERN_OK; /* the same in another layout */
    if (!tn_map_put(&d->seen, tn_str_c(name), d)) cli_must(NULL);
    TN_TRY(to_plain(t, &plain, &d->err));
    tern_status status = d->options.folder ? write_one(d, name, node, plain) : TERN_OK;
    if (status == TERN_OK && d->options.with) status = compare_one(d, name, node, plain);
    tern_tensor_free(plain);
    return status;
}

static void observe(void *context, const tn_observation *o) {
    cli_dump *d = context;
    const tn_node *node = o->step->node;
    if (o->plan->graph->parent) return; /* a subgraph's values are there once per iteration */
    for (int i = 0; i < node->n_out && d->status == TERN_OK; i++) {
        const tn_value *v = node->out[i];
        const tern_tensor *t = v ? o->values[v->id] : NULL;
        if (t) d->status = take(d, node, v, t);
    }
}

static void map_index(cli_dump *d) {
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(d->with_index, "tensors")) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
        char *file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "file"));
        const char *bytes = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name_bytes"));
        tn_map *files = bytes ? &d->with_bytes : &d->with_files;
        if (name && file && !tn_map_put(files, tn_str_c(bytes ? bytes : name), file)) cli_must(NULL);
    }
}

static tern_status read_index(cli_dump *d, tern_error *err) {
    char *path = cli_must(malloc(strlen(d->options.with) + 16));
    snprintf(path, strlen(d->options.with) + 16, "%s/index.json", d->options.with);
    tern_status status = TERN_OK;
    tn_file file;
    struct stat folder;
    if (stat(d->options.with, &folder) != 0 || access(d->options.with, R_OK) != 0) {
        status = tn_fail(err, TERN_IO, "%s: can not be read", d->options.with);
    } else if (!S_ISDIR(folder.st_mode)) {
        status = tn_fail(err, TERN_IO, "%s: is not a folder", d->options.with);
    } else if (access(path, F_OK) == 0 && (status = tn_file_map(&file, path, err)) == TERN_OK) {
        d->with_index = cJSON_ParseWithLength((const char *)file.data, file.size);
        if (!d->with_index) status = tn_fail(err, TERN_INVALID_ARGUMENT, "%s: is no JSON", path);
        map_index(d);
        tn_file_unmap(&file);
    }
    free(path);
    return status;
}

cli_dump *cli_dump_begin(const cli_dump_options *options, const tern_model *model, tern_session *session,
                         tern_error *err) {
    cli_dump *d = cli_must(calloc(1, sizeof *d));
    d->options = *options;
    d->model = model;
    d->root = cli_json_object(NULL, NULL);
    cli_json_string(d->root, "model", model->path);
    d->list = cli_json_array(d->root, "tensors");
    tern_status status = options->folder ? cli_make_folder(options->folder, err) : TERN_OK;
    if (status == TERN_OK && options->with) status = read_index(d, err);
    if (status != TERN_OK) {
        cli_dump_free(d);
        return NULL;
    }
    session->observe = observe;
    session->observe_context = d;
    return d;
}

void cli_dump_inputs(cli_dump *d, const tern_feed *feeds, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!tn_map_put(&d->seen, tn_str_c(feeds[i].name), d)) cli_must(NULL);
        if (d->options.folder && d->status == TERN_OK) d->status = write_one(d, feeds[i].name, NULL, feeds[i].tensor);
    }
}

static tern_status write_index(cli_dump *d, tern_error *err) {
    cJSON *absent = cli_json_array(d->root, "absent");
    const tn_graph *g = d->model->graph;
    for (int i = 0; i < g->n_values; i++) {
        const tn_value *v = g->values[i];
        if (v->producer && !tn_map_get(&d->seen, tn_str_c(v->name))) cli_json_string(absent, NULL, v->name);
    }
    char *text = cli_must(cJSON_Print(d->root));
    char *path = cli_must(malloc(strlen(d->options.folder) + 16));
    snprintf(path, strlen(d->options.folder) + 16, "%s/index.json", d->options.folder);
    tern_status status = tn_file_write(path, text, strlen(text), err);
    free(path);
    cJSON_free(text);
    return status;
}

tern_status cli_dump_end(cli_dump *d, tern_error *err) {
    if (d->status != TERN_OK) {
        *err = d->err;
        return d->status;
    }
    if (d->options.with && !d->n_found)
        return tn_fail(err, TERN_NOT_FOUND, "%s: has no tensor that this run computes", d->options.with);
    return d->options.folder ? write_index(d, err) : TERN_OK;
}

/* ---- the report ------------------------------------------------------------------------------------------------ */

static void report_json(const comparison *c, cJSON *list) {
    cJSON *o = cli_json_object(list, NULL);
    cli_json_string(o, "name", c->value);
    cli_json_string(o, "node", c->node);
    cli_json_string(o, "op_type", c->op_type);
    cli_json_bool(o, "parts", c->parts);
    cli_json_double(o, "max_abs", c->difference.max_abs);
    cli_json_double(o, "max_ulp", c->difference.max_ulp);
    cli_json_double(o, "cosine", c->difference.cosine);
    if (c->parts) cli_json_string(o, "why", c->why);
}

static void report_text(const char *label, const comparison *c) {
    printf("%s", label);
    cli_print_name(c->value);
    printf(" (%s", c->op_type);
    if (*c->node) printf(" '");
    cli_print_name(c->node);
    printf("%s): max abs %.4g, max ULP %.0f, cosine %.9f\n", *c->node ? "'" : "", c->difference.max_abs,
           c->difference.max_ulp, c->difference.cosine);
}

bool cli_dump_report(const cli_dump *d, cJSON *root) {
    const comparison *first = NULL, *worst = NULL;
    size_t parting = 0;
    cJSON *list = root ? cli_json_array(root, "compared") : NULL;
    for (size_t i = 0; i < d->n_found; i++) {
        const comparison *c = &d->found[i];
        if (list) report_json(c, list);
        if (!worst || c->difference.max_abs > worst->difference.max_abs) worst = c;
        if (!c->parts) continue;
        if (!first) first = c;
        parting++;
    }
    if (root) {
        cli_json_int(root, "missing", d->n_missing);
        cli_json_string(root, "first_parting", first ? first->value : NULL);
        return !first;
    }
    printf("compared: %zu tensors, %zu part, %" PRId64 " are not in %s\n", d->n_found, parting, d->n_missing,
           d->options.with);
    if (first) {
        report_text("first to part: ", first);
        printf("  ");
        cli_print_name(first->why);
        printf("\n");
    }
    if (worst) report_text("largest difference: ", worst);
    return !first;
}

void cli_dump_free(cli_dump *d) {
    if (!d) return;
    cJSON_Delete(d->root);
    cJSON_Delete(d->with_index);
    tn_map_release(&d->seen);
    tn_map_release(&d->files);
    tn_map_release(&d->with_files);
    tn_map_release(&d->with_bytes);
    for (size_t i = 0; i < d->n_paths; i++) free(d->paths[i]);
    tn_free(d->paths);
    tn_free(d->found);
    free(d);
}
