#include "cli/inputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "tensor/tensor.h"

bool cli_parse_shape(const char *text, int64_t *dims, int *rank) {
    *rank = 0;
    if (!*text) return true;
    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        long long d = strtoll(p, &end, 10);
        if (end == p || errno || d < 0 || *rank == TERN_MAX_RANK || (*p < '0' || *p > '9')) return false;
        dims[(*rank)++] = d;
        p = end;
        if (!*p) return true;
        if (*p != 'x' && *p != ',' && *p != '_') return false;
    }
}

const char *cli_value_text(const tern_value_info *info, char *buffer, size_t size) {
    size_t at = 0;
#define ADD(...)                                                \
    do {                                                        \
        int n_ = snprintf(buffer + at, size - at, __VA_ARGS__); \
        if (n_ > 0) at += TN_MIN((size_t)n_, size - at - 1);    \
    } while (0)
    static const char *const kinds[] = {"", "sequence of ", "optional ", "map of "};
    ADD("%s%s", kinds[info->kind], tern_dtype_name(info->dtype));
    if (info->rank >= 0) ADD("[");
    for (int i = 0; i < info->rank; i++) {
        ADD("%s", i ? "," : "");
        if (info->dims[i] >= 0)
            ADD("%lld", (long long)info->dims[i]);
        else
            ADD("%s", info->dim_names[i] ? info->dim_names[i] : "?");
    }
    if (info->rank >= 0) ADD("]");
#undef ADD
    return buffer;
}

/* The part of "NAME=REST" behind the input's name; the whole text when the model has one input and no name fits. */
static const char *match(const char *text, const char *name, bool only_input) {
    size_t n = strlen(name);
    if (strncmp(text, name, n) == 0 && text[n] == '=') return text + n + 1;
    return only_input && !strchr(text, '=') ? text : NULL;
}

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* What the name of a file of pplnn says: NAME-DIMS-TYPE.dat; dims are apart by '_', none is a scalar. */
typedef struct file_name {
    const char *name; /* not terminated */
    size_t name_len;
    int64_t dims[TERN_MAX_RANK];
    int rank;
    tern_dtype dtype;
} file_name;

static bool parse_file_name(const char *path, file_name *out) {
    static const struct {
        const char *text;
        tern_dtype dtype;
    } types[] = {{"fp64", TERN_DOUBLE}, {"fp32", TERN_FLOAT}, {"fp16", TERN_FLOAT16}, {"int32", TERN_INT32},
                 {"int64", TERN_INT64}, {"int8", TERN_INT8},  {"uint8", TERN_UINT8},  {"bool", TERN_BOOL}};
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!ends_with(base, ".dat")) return false;
    const char *end = base + strlen(base) - 4;
    const char *type = end, *dims;
    while (type > base && type[-1] != '-') type--;
    for (dims = type > base ? type - 1 : base; dims > base && dims[-1] != '-';) dims--;
    if (type == base || dims <= base + 1) return false;
    char text[200];
    if ((size_t)(type - 1 - dims) >= sizeof text) return false;
    snprintf(text, sizeof text, "%.*s", (int)(type - 1 - dims), dims);
    *out = (file_name){.name = base, .name_len = (size_t)(dims - 1 - base)};
    for (size_t i = 0; i < TN_COUNT(types); i++)
        if (strlen(types[i].text) == (size_t)(end - type) && memcmp(types[i].text, type, (size_t)(end - type)) == 0)
            out->dtype = types[i].dtype;
    return out->dtype != TERN_UNDEFINED && cli_parse_shape(text, out->dims, &out->rank);
}

/* The file when its own name says that it is of this input. */
static const char *match_file_name(const char *text, const char *name) {
    file_name f;
    bool named = !strchr(text, '=') && parse_file_name(text, &f);
    return named && strlen(name) == f.name_len && memcmp(name, f.name, f.name_len) == 0 ? text : NULL;
}

static const char *find(const cli_strings *list, const char *name, bool only_input) {
    for (size_t i = 0; list && i < list->count; i++) {
        const char *rest = match(list->items[i], name, only_input);
        if (!rest) rest = match_file_name(list->items[i], name);
        if (rest) return rest;
    }
    return NULL;
}

/* An option that names no input of the model is a mistake. */
static tern_status check_names(const cli_strings *list, const tern_model *model, const char *option, tern_error *err) {
    int n = tern_model_input_count(model);
    for (size_t i = 0; list && i < list->count; i++) {
        bool known = false;
        tern_value_info info = {0};
        for (int k = 0; !known && k < n; k++) {
            TN_TRY(tern_model_input(model, k, &info, err));
            known = match(list->items[i], info.name, n == 1) || match_file_name(list->items[i], info.name);
        }
        if (!known)
            return tn_fail(err, TERN_NOT_FOUND,
                           "--%s %s: it should be NAME=..., and the model has no such input; %s '%s'", option,
                           list->items[i], n > 1 ? "its last one is" : "its input is", n ? info.name : "");
    }
    return TERN_OK;
}

static tern_status wanted_shape(const tern_value_info *info, const cli_input_options *o, const char *shape_text,
                                int64_t free_dim, int64_t *dims, int *rank, tern_error *err) {
    if (shape_text) {
        if (!cli_parse_shape(shape_text, dims, rank))
            return tn_fail(err, TERN_INVALID_ARGUMENT, "--shape %s=%s: a shape looks like 1x3x224x224", info->name,
                           shape_text);
        return TERN_OK;
    }
    *rank = info->rank;
    if (info->rank < 0)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' has no rank in the model; say --shape %s=...",
                       info->name, info->name);
    for (int i = 0; i < info->rank; i++) {
        int64_t free_size = i == 0 && o->batch ? o->batch : free_dim;
        dims[i] = info->dims[i] >= 0 ? info->dims[i] : free_size;
        if (info->dims[i] < 0 && free_size <= 0)
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "dim %d of input '%s' is not fixed by the model; say --shape %s=...", i, info->name,
                           info->name);
    }
    return TERN_OK;
}

static tern_status wanted_type(const tern_value_info *info, const cli_input_options *o, bool only_input,
                               tern_dtype *out, tern_error *err) {
    const char *text = find(o->dtypes, info->name, only_input);
    *out = info->dtype;
    if (text) TN_TRY(tern_dtype_parse(text, out, err));
    if (*out == TERN_UNDEFINED)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' has no type in the model; say --dtype %s=float32",
                       info->name, info->name);
    return TERN_OK;
}

static tern_status load(const tern_value_info *info, const cli_input_options *o, const char *file,
                        const char *shape_text, bool only_input, tern_tensor **out, tern_error *err) {
    if (ends_with(file, ".npy")) return tern_tensor_load_npy(out, file, err);
    if (ends_with(file, ".pb")) return tern_tensor_load_pb(out, file, info->kind, err);
    file_name f;
    if (parse_file_name(file, &f)) return tern_tensor_load_raw(out, file, f.dtype, f.rank, f.dims, err);
    if (!ends_with(file, ".bin") && !ends_with(file, ".raw"))
        return tn_fail(err, TERN_INVALID_ARGUMENT,
                       "%s: the format is told by the ending: .npy, .pb, .bin or .raw, or NAME-DIMS-TYPE.dat as in "
                       "x-1_3_224_224-fp32.dat",
                       file);
    int64_t dims[TERN_MAX_RANK];
    int rank;
    tern_dtype dtype;
    TN_TRY(wanted_shape(info, o, shape_text, 0, dims, &rank, err));
    TN_TRY(wanted_type(info, o, only_input, &dtype, err));
    return tern_tensor_load_raw(out, file, dtype, rank, dims, err);
}

/* xorshift64*: the same numbers on every machine. */
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 0x2545F4914F6CDD1Dull) >> 11) * 0x1p-53;
}

static double fill_value(cli_fill fill, bool real, int64_t index, uint64_t *state) {
    switch (fill) {
    case CLI_FILL_RANDOM:
        return real ? uniform(state) * 2 - 1 : (double)(uniform(state) < 0.5);
    case CLI_FILL_ARANGE:
        return (double)index;
    default:
        return fill == CLI_FILL_ONES ? 1 : 0;
    }
}

static tern_status fill(tern_tensor *t, cli_fill how, uint64_t *state, tern_error *err) {
    void *data = tern_tensor_data(t);
    tern_dtype dtype = tern_tensor_dtype(t);
    bool real = tn_type_in(dtype, TN_TYPES_FLOAT);
    for (int64_t i = 0, n = tern_tensor_count(t); i < n; i++) {
        double x = fill_value(how, real, tern_dtype_size(dtype) <= 2 ? i % 256 : i, state);
        switch (dtype) {
        case TERN_FLOAT:
            ((float *)data)[i] = (float)x;
            break;
        case TERN_DOUBLE:
            ((double *)data)[i] = x;
            break;
        case TERN_FLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_f16((float)x);
            break;
        case TERN_BFLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_bf16((float)x);
            break;
        case TERN_INT64:
        case TERN_UINT64:
            ((int64_t *)data)[i] = (int64_t)x;
            break;
        case TERN_INT32:
        case TERN_UINT32:
            ((uint32_t *)data)[i] = (uint32_t)(int64_t)x;
            break;
        case TERN_INT16:
        case TERN_UINT16:
            ((uint16_t *)data)[i] = (uint16_t)x;
            break;
        case TERN_INT8:
        case TERN_UINT8:
            ((uint8_t *)data)[i] = (uint8_t)x;
            break;
        case TERN_BOOL:
            ((uint8_t *)data)[i] = (uint8_t)((int64_t)x & 1);
            break;
        default:
            return tn_fail(err, TERN_UNSUPPORTED, "%s inputs can not be filled; give a file", tern_dtype_name(dtype));
        }
    }
    return TERN_OK;
}

/* Elements of all inputs in one file, in the model's order: the next ones. */
typedef struct blob {
    const char *path; /* NULL: none */
    tn_file file;
    size_t at;
} blob;

static tern_status take_from_blob(blob *b, tern_tensor *t, tern_error *err) {
    size_t bytes = tern_tensor_bytes(t);
    if (tern_tensor_dtype(t) == TERN_STRING || tern_tensor_dtype(t) >= TERN_UINT4)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: %s elements can not be raw", b->path,
                       tern_dtype_name(tern_tensor_dtype(t)));
    if (bytes > b->file.size - b->at)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: has %zu bytes, too few for the inputs", b->path, b->file.size);
    if (bytes) memcpy(tern_tensor_data(t), b->file.data + b->at, bytes);
    b->at += bytes;
    return TERN_OK;
}

static tern_status make_one(const tern_value_info *info, const cli_input_options *o, bool only_input, blob *b,
                            uint64_t *state, tern_tensor **out, tern_error *err) {
    const char *file = find(o->files, info->name, only_input), *shape = find(o->shapes, info->name, only_input);
    if (file) return load(info, o, file, shape, only_input, out, err);
    char text[300];
    if (o->fill == CLI_FILL_NONE && !b->path)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' (%s) is missing; say --input %s=FILE", info->name,
                       cli_value_text(info, text, sizeof text), info->name);
    if (info->kind != TERN_KIND_TENSOR)
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' is no tensor and can not be filled; give a .pb file",
                       info->name);
    int64_t dims[TERN_MAX_RANK];
    int rank;
    tern_dtype dtype;
    TN_TRY(wanted_shape(info, o, shape, b->path ? 0 : o->free_dim, dims, &rank, err));
    TN_TRY(wanted_type(info, o, only_input, &dtype, err));
    TN_TRY(tern_tensor_create(out, dtype, rank, dims, err));
    if (b->path) return take_from_blob(b, *out, err);
    return o->fill == CLI_FILL_ZEROS ? TERN_OK : fill(*out, o->fill, state, err); /* it is cleared, of any type */
}

static tern_status make_all(cli_inputs *out, const tern_model *model, const cli_input_options *o, blob *b,
                            tern_error *err) {
    int n = tern_model_input_count(model);
    uint64_t state = o->seed * 0x9E3779B97F4A7C15ull + 1;
    out->tensors = cli_must(calloc((size_t)n + 1, sizeof *out->tensors));
    out->feeds = cli_must(calloc((size_t)n + 1, sizeof *out->feeds));
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_input(model, i, &info, err));
        out->count++; /* what make_one leaves behind when it fails is released, too */
        TN_TRY(make_one(&info, o, n == 1, b, &state, &out->tensors[i], err));
        out->feeds[i] = (tern_feed){info.name, out->tensors[i]};
    }
    if (b->path && b->at != b->file.size)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: has %zu bytes, but the inputs need %zu", b->path, b->file.size,
                       b->at);
    return TERN_OK;
}

static tern_status check_batch(const cli_input_options *o, const tern_model *model, tern_error *err) {
    tern_value_info info = {0};
    bool open = !o->batch;
    for (int i = 0; !open && i < tern_model_input_count(model); i++) {
        TN_TRY(tern_model_input(model, i, &info, err));
        open = info.rank != 0 && (info.rank < 0 || info.dims[0] < 0 || info.dims[0] == o->batch);
    }
    if (open) return TERN_OK;
    return tn_fail(err, TERN_INVALID_ARGUMENT,
                   "the model fixes its batch; tern convert --fix-shape makes another model");
}

tern_status cli_inputs_make(cli_inputs *out, const tern_model *model, const cli_input_options *o, tern_error *err) {
    blob b = {.path = o->blob};
    *out = (cli_inputs){0};
    TN_TRY(check_names(o->files, model, "input", err));
    TN_TRY(check_names(o->shapes, model, "shape", err));
    TN_TRY(check_names(o->dtypes, model, "dtype", err));
    TN_TRY(check_batch(o, model, err));
    if (b.path) TN_TRY(tn_file_map(&b.file, b.path, err));
    tern_status status = make_all(out, model, o, &b, err);
    if (b.path) tn_file_unmap(&b.file);
    return status;
}

void cli_inputs_release(cli_inputs *in) {
    for (size_t i = 0; in->tensors && i < in->count; i++) tern_tensor_free(in->tensors[i]);
    free(in->tensors);
    free(in->feeds);
    *in = (cli_inputs){0};
}
