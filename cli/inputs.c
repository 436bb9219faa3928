#include "cli/inputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

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
        if (*p != 'x' && *p != ',') return false;
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

static const char *find(const cli_strings *list, const char *name, bool only_input) {
    for (size_t i = 0; list && i < list->count; i++) {
        const char *rest = match(list->items[i], name, only_input);
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
            known = match(list->items[i], info.name, n == 1) != NULL;
        }
        if (!known)
            return tn_fail(err, TERN_NOT_FOUND,
                           "--%s %s: it should be NAME=..., and the model has no such input; %s '%s'", option,
                           list->items[i], n > 1 ? "its last one is" : "its input is", n ? info.name : "");
    }
    return TERN_OK;
}

static tern_status wanted_shape(const tern_value_info *info, const char *shape_text, int64_t free_dim, int64_t *dims,
                                int *rank, tern_error *err) {
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
        dims[i] = info->dims[i] >= 0 ? info->dims[i] : free_dim;
        if (info->dims[i] < 0 && free_dim <= 0)
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "dim %d of input '%s' is not fixed by the model; say --shape %s=...", i, info->name,
                           info->name);
    }
    return TERN_OK;
}

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

static tern_status load(const tern_value_info *info, const char *file, const char *shape_text, tern_tensor **out,
                        tern_error *err) {
    if (ends_with(file, ".npy")) return tern_tensor_load_npy(out, file, err);
    if (ends_with(file, ".pb")) return tern_tensor_load_pb(out, file, info->kind, err);
    if (!ends_with(file, ".bin"))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: the format is told by the ending: .npy, .pb or .bin", file);
    int64_t dims[TERN_MAX_RANK];
    int rank;
    TN_TRY(wanted_shape(info, shape_text, 0, dims, &rank, err));
    return tern_tensor_load_raw(out, file, info->dtype, rank, dims, err);
}

/* xorshift64*: the same numbers on every machine. */
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 0x2545F4914F6CDD1Dull) >> 11) * 0x1p-53;
}

static double fill_value(cli_fill fill, bool real, uint64_t *state) {
    if (fill == CLI_FILL_RANDOM) return real ? uniform(state) * 2 - 1 : (double)(uniform(state) < 0.5);
    return fill == CLI_FILL_ONES ? 1 : 0;
}

static tern_status fill(tern_tensor *t, cli_fill how, uint64_t *state, tern_error *err) {
    void *data = tern_tensor_data(t);
    for (int64_t i = 0, n = tern_tensor_count(t); i < n; i++) {
        switch (tern_tensor_dtype(t)) {
        case TERN_FLOAT:
            ((float *)data)[i] = (float)fill_value(how, true, state);
            break;
        case TERN_DOUBLE:
            ((double *)data)[i] = fill_value(how, true, state);
            break;
        case TERN_FLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_f16((float)fill_value(how, true, state));
            break;
        case TERN_BFLOAT16:
            ((uint16_t *)data)[i] = tn_f32_to_bf16((float)fill_value(how, true, state));
            break;
        case TERN_INT64:
        case TERN_UINT64:
            ((int64_t *)data)[i] = (int64_t)fill_value(how, false, state);
            break;
        case TERN_INT32:
        case TERN_UINT32:
            ((int32_t *)data)[i] = (int32_t)fill_value(how, false, state);
            break;
        case TERN_INT16:
        case TERN_UINT16:
            ((int16_t *)data)[i] = (int16_t)fill_value(how, false, state);
            break;
        case TERN_INT8:
        case TERN_UINT8:
        case TERN_BOOL:
            ((uint8_t *)data)[i] = (uint8_t)fill_value(how, false, state);
            break;
        default:
            return tn_fail(err, TERN_UNSUPPORTED, "%s inputs can not be filled; give a file",
                           tern_dtype_name(tern_tensor_dtype(t)));
        }
    }
    return TERN_OK;
}

static tern_status make_one(const tern_value_info *info, const cli_input_options *o, bool only_input, uint64_t *state,
                            tern_tensor **out, tern_error *err) {
    const char *file = find(o->files, info->name, only_input), *shape = find(o->shapes, info->name, only_input);
    if (file) return load(info, file, shape, out, err);
    char text[300];
    if (o->fill == CLI_FILL_NONE)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' (%s) is missing; say --input %s=FILE", info->name,
                       cli_value_text(info, text, sizeof text), info->name);
    if (info->kind != TERN_KIND_TENSOR)
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' is no tensor and can not be filled; give a .pb file",
                       info->name);
    int64_t dims[TERN_MAX_RANK];
    int rank;
    TN_TRY(wanted_shape(info, shape, o->free_dim, dims, &rank, err));
    TN_TRY(tern_tensor_create(out, info->dtype, rank, dims, err));
    return fill(*out, o->fill, state, err);
}

tern_status cli_inputs_make(cli_inputs *out, const tern_model *model, const cli_input_options *o, tern_error *err) {
    int n = tern_model_input_count(model);
    uint64_t state = o->seed * 0x9E3779B97F4A7C15ull + 1;
    *out = (cli_inputs){0};
    TN_TRY(check_names(o->files, model, "input", err));
    TN_TRY(check_names(o->shapes, model, "shape", err));
    out->tensors = cli_must(calloc((size_t)n + 1, sizeof *out->tensors));
    out->feeds = cli_must(calloc((size_t)n + 1, sizeof *out->feeds));
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        TN_TRY(tern_model_input(model, i, &info, err));
        TN_TRY(make_one(&info, o, n == 1, &state, &out->tensors[i], err));
        out->feeds[i] = (tern_feed){info.name, out->tensors[i]};
        out->count++;
    }
    return TERN_OK;
}

void cli_inputs_release(cli_inputs *in) {
    for (size_t i = 0; in->tensors && i < in->count; i++) tern_tensor_free(in->tensors[i]);
    free(in->tensors);
    free(in->feeds);
    *in = (cli_inputs){0};
}
