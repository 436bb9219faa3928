/* Opening a checkpoint: which container it is, limits, warnings. */
#include <stdarg.h>
#include <stdio.h>

#include "vision/torch/torch_internal.h"

/* ---- format ---------------------------------------------------------------------------------------------------- */

static const uint8_t legacy_magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

static uint64_t get64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

static bool is_zip(const uint8_t *p, size_t size) {
    return size >= 4 && p[0] == 'P' && p[1] == 'K' && ((p[2] == 3 && p[3] == 4) || (p[2] == 5 && p[3] == 6));
}

// The first member of what numpy.savez writes.
static bool begins_with_npy(const uint8_t *p, size_t size) {
    if (size < 30) return false;
    size_t n = p[26] | (size_t)p[27] << 8;
    return n > 4 && n <= size - 30 && !memcmp(p + 30 + n - 4, ".npy", 4);
}

// Protocols 0 and 1 have no header: something that begins a pickle, and STOP at the end.
static bool is_old_pickle(const uint8_t *p, size_t size) {
    if (size < 3 || p[size - 1] != '.') return false;
    if (p[0] == '(') return true;
    return p[0] == 'c' || ((p[0] == '}' || p[0] == ']') && (p[1] == 'q' || p[1] == '('));
}

tern_ckpt_format tern_ckpt_format_of(const void *data, size_t size) {
    const uint8_t *p = data;
    if (is_zip(p, size)) return begins_with_npy(p, size) ? TERN_CKPT_NPZ : TERN_CKPT_TORCH_ZIP;
    if (size >= 2 && p[0] == 0x80 && p[1] <= 20) {
        bool legacy = size >= 2 + sizeof legacy_magic && !memcmp(p + 2, legacy_magic, sizeof legacy_magic);
        return legacy ? TERN_CKPT_TORCH_LEGACY : TERN_CKPT_PICKLE;
    }
    if (size >= 512 && !memcmp(p + 257, "ustar", 5)) return TERN_CKPT_TORCH_TAR;
    if (size >= 10 && p[8] == '{' && get64(p) <= size - 8) return TERN_CKPT_SAFETENSORS;
    return is_old_pickle(p, size) ? TERN_CKPT_PICKLE : TERN_CKPT_UNKNOWN;
}

const char *tern_ckpt_format_name(tern_ckpt_format format) {
    static const char *const names[] = {
        "unknown",     "PyTorch zip", "PyTorch legacy (before 1.6)", "PyTorch TAR (before 0.1.10)", "pickle",
        "safetensors", "NumPy .npz"};
    return (size_t)format < TN_COUNT(names) ? names[format] : names[0];
}

/* ---- warnings -------------------------------------------------------------------------------------------------- */

enum { MAX_WARNINGS = 100 };

tern_status tn_ckpt_warn(tern_ckpt *ckpt, tern_error *err, const char *format, ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (ckpt->n_warnings > MAX_WARNINGS) return TERN_OK;
    if (ckpt->n_warnings == MAX_WARNINGS) snprintf(text, sizeof text, "and more");
    for (size_t i = 0; i < ckpt->n_warnings; i++)
        if (!strcmp(ckpt->warnings[i], text)) return TERN_OK;
    char *copy = tn_arena_strndup(&ckpt->arena, text, strlen(text));
    if (!copy || !tn_grow(&ckpt->warnings, &ckpt->warnings_cap, ckpt->n_warnings + 1, sizeof *ckpt->warnings))
        return tn_fail_oom(err, sizeof text);
    tn_utf8_clean_line(copy);
    ckpt->warnings[ckpt->n_warnings++] = copy;
    return TERN_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static size_t or_default(size_t value, size_t fallback, size_t most) { return TN_MIN(value ? value : fallback, most); }

static tern_ckpt_options complete(const tern_ckpt_options *given, size_t size) {
    tern_ckpt_options o = given ? *given : (tern_ckpt_options){0};
    // Weights hardly shrink: what inflates to far more than the file is a bomb.
    const size_t some = (size_t)256 << 20, most = (size_t)8 << 30;
    size_t memory = (size_t)1 << 30, inflated = size > most / 64 ? most : TN_MAX(64 * size, some);
    if (size > memory / 8) memory = size > SIZE_MAX / 16 ? SIZE_MAX / 2 : size * 8;
    o.max_values = or_default(o.max_values, 20000000, UINT32_MAX - 2);
    o.max_expanded = or_default(o.max_expanded, 100000000, UINT32_MAX - 2);
    o.max_memory = or_default(o.max_memory, memory, SIZE_MAX);
    o.max_tensor_bytes = or_default(o.max_tensor_bytes, (size_t)4 << 30, SIZE_MAX);
    o.max_inflated = or_default(o.max_inflated, inflated, SIZE_MAX);
    // The walk of graph.c recurses this deep.
    o.max_depth = (int)or_default(o.max_depth > 0 ? (size_t)o.max_depth : 0, 500, 10000);
    return o;
}

static tern_status make_constants(tern_ckpt *ckpt, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_NONE, &ckpt->none, err));
    TN_TRY(tn_py_new(ckpt, TERN_PY_BOOL, &ckpt->truth[0], err));
    TN_TRY(tn_py_new(ckpt, TERN_PY_BOOL, &ckpt->truth[1], err));
    ckpt->truth[1]->boolean = true;
    return tn_py_new(ckpt, TERN_PY_TUPLE, &ckpt->empty_tuple, err);
}

static tern_status open_zip(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    TN_TRY(tn_zip_open(&ckpt->zip, data, size, err));
    return ckpt->format == TERN_CKPT_NPZ ? tn_ckpt_open_npz(ckpt, err) : tn_ckpt_open_torch_zip(ckpt, err);
}

static tern_status open_pickle(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    size_t used;
    TN_TRY(tn_pickle_load(ckpt, data, size, NULL, &ckpt->root, &used, err));
    if (used == size) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "the file goes on for %zu bytes after the pickle", size - used);
}

static tern_status open_as(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    switch (ckpt->format) {
    case TERN_CKPT_TORCH_ZIP:
    case TERN_CKPT_NPZ:
        return open_zip(ckpt, data, size, err);
    case TERN_CKPT_TORCH_LEGACY:
        return tn_ckpt_open_legacy(ckpt, data, size, err);
    case TERN_CKPT_TORCH_TAR:
        return tn_ckpt_open_tar(ckpt, data, size, err);
    case TERN_CKPT_SAFETENSORS:
        return tn_ckpt_open_safetensors(ckpt, data, size, err);
    case TERN_CKPT_PICKLE:
        return open_pickle(ckpt, data, size, err);
    default:
        break;
    }
    if (size == 0) return tn_fail(err, TERN_INVALID_FORMAT, "the file is empty");
    return tn_fail(err, TERN_INVALID_FORMAT, "no checkpoint: neither a zip file, a pickle, safetensors nor TAR");
}

static tern_status open_bytes(tern_ckpt *ckpt, const void *data, size_t size, const tern_ckpt_options *options,
                              tern_error *err) {
    ckpt->options = complete(options, size);
    ckpt->format = tern_ckpt_format_of(data, size);
    tn_arena_init(&ckpt->arena, ckpt->options.max_memory);
    TN_TRY(make_constants(ckpt, err));
    TN_TRY(open_as(ckpt, data, size, err));
    return tn_ckpt_check_graph(ckpt, ckpt->root, err);
}

tern_status tern_ckpt_open_memory(tern_ckpt **out, const void *data, size_t size, const tern_ckpt_options *options,
                                  tern_error *err) {
    *out = NULL;
    tern_ckpt *ckpt = tn_calloc(1, sizeof *ckpt);
    if (!ckpt) return tn_fail_oom(err, sizeof *ckpt);
    tern_status s = open_bytes(ckpt, data, size, options, err);
    if (s == TERN_OK)
        *out = ckpt;
    else
        tern_ckpt_free(ckpt);
    return s;
}

tern_status tern_ckpt_open(tern_ckpt **out, const char *path, const tern_ckpt_options *options, tern_error *err) {
    tn_file file;
    *out = NULL;
    TN_TRY(tn_file_map(&file, path, err));
    tern_status s = tern_ckpt_open_memory(out, file.data, file.size, options, err);
    if (s == TERN_OK) {
        (*out)->file = file;
    } else {
        tn_error_prefix(err, "%s: ", path);
        tn_file_unmap(&file);
    }
    return s;
}

void tern_ckpt_free(tern_ckpt *ckpt) {
    if (!ckpt) return;
    for (tern_storage *s = ckpt->storages; s; s = s->next) {
        tn_free(s->owned);
        tern_tensor_free(s->tensor);
    }
    tn_map_release(&ckpt->storage_map);
    tn_map_release(&ckpt->tensor_map);
    tn_map_release(&ckpt->name_map);
    tn_zip_release(&ckpt->zip);
    tn_free(ckpt->pickle);
    tn_free(ckpt->warnings);
    tn_free(ckpt->names);
    tn_arena_release(&ckpt->arena);
    if (ckpt->file.data) tn_file_unmap(&ckpt->file);
    tn_free(ckpt);
}

tern_ckpt_format tern_ckpt_get_format(const tern_ckpt *ckpt) { return ckpt->format; }
const tern_py *tern_ckpt_root(const tern_ckpt *ckpt) { return ckpt->root; }
const tern_py *tern_ckpt_metadata(const tern_ckpt *ckpt) { return ckpt->metadata; }
size_t tern_ckpt_value_count(const tern_ckpt *ckpt) { return ckpt->values; }
size_t tern_ckpt_warning_count(const tern_ckpt *ckpt) { return ckpt->n_warnings; }
const char *tern_ckpt_warning(const tern_ckpt *ckpt, size_t index) {
    return index < ckpt->n_warnings ? ckpt->warnings[index] : NULL;
}
size_t tern_ckpt_name_count(const tern_ckpt *ckpt) { return ckpt->n_names; }
const tern_ckpt_name *tern_ckpt_name_at(const tern_ckpt *ckpt, size_t index) {
    return index < ckpt->n_names ? &ckpt->names[index] : NULL;
}
