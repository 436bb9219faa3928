/* Writer of .npy files: version 1, the host's byte order, elements aligned to 64 bytes. */
#include "io/npy_internal.h"

#include <stdio.h>

enum { ALIGN = 64 };

static tern_status fail_type(const tern_tensor *t, const char *path, tern_error *err) {
    if (t->kind != TERN_KIND_TENSOR)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: only a tensor fits in an .npy file; save the items one by one",
                       path);
    const char *to = t->dtype == TERN_INT4 || t->dtype == TERN_INT2     ? "int8"
                     : t->dtype == TERN_UINT4 || t->dtype == TERN_UINT2 ? "uint8"
                                                                        : "float32";
    return tn_fail(err, TERN_UNSUPPORTED, "%s: NumPy has no type %s; convert to %s (the Cast operator) or save as .pb",
                   path, tn_dtype_name(t->dtype), to);
}

// Header of an array whose elements are `descr`.
static void write_header(tn_text *text, const char *descr, const tn_shape *shape) {
    tn_text dict;
    tn_text_init(&dict);
    tn_text_add(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < shape->rank; i++) tn_text_add(&dict, i ? ", %lld" : "%lld", (long long)shape->dims[i]);
    tn_text_add(&dict, "%s), }", shape->rank == 1 ? "," : "");
    size_t before = NPY_MAGIC_LEN + 4;
    while ((before + dict.len + 1) % ALIGN && !dict.failed) tn_text_add_str(&dict, " ", 1);
    tn_text_add_str(&dict, "\n", 1);
    const char head[] = {1, 0, (char)(dict.len & 0xff), (char)(dict.len >> 8)};
    tn_text_add_str(text, NPY_MAGIC, NPY_MAGIC_LEN);
    tn_text_add_str(text, head, sizeof head);
    tn_text_add_str(text, dict.data, dict.len);
    if (dict.failed) text->failed = true;
    tn_text_release(&dict);
}

static tern_status write_file(const char *descr, const tn_shape *shape, const void *data, size_t bytes,
                              const char *path, tern_error *err) {
    tn_text text;
    tn_text_init(&text);
    write_header(&text, descr, shape);
    const tn_str parts[] = {{text.data, text.len}, {data, bytes}};
    tern_status status = text.failed ? tn_fail_oom(err, 256) : tn_file_write_parts(path, parts, TN_COUNT(parts), err);
    tn_text_release(&text);
    return status;
}

/* ---- strings: UTF-8 to UCS-4, padded with zeros to the longest ---- */

static uint32_t decode_utf8(const char *s, size_t n) {
    static const uint8_t lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (uint8_t)s[0] & lead_mask[n];
    for (size_t i = 1; i < n; i++) c = c << 6 | ((uint8_t)s[i] & 0x3f);
    return c;
}

static tern_status longest_string(const tern_tensor *t, int64_t count, size_t *longest, const char *path,
                                  tern_error *err) {
    const tern_string *s = t->data;
    *longest = 1;
    for (int64_t i = 0; i < count; i++) {
        size_t chars = 0;
        for (size_t at = 0, n; at < s[i].len; at += n, chars++) {
            n = tn_utf8_length(s[i].data + at, s[i].len - at);
            if (n == 0)
                return tn_fail(err, TERN_UNSUPPORTED, "%s: string %lld is not UTF-8, which NumPy needs; save as .pb",
                               path, (long long)i);
        }
        *longest = TN_MAX(*longest, chars);
    }
    return TERN_OK;
}

static tern_status save_strings(const tern_tensor *t, const char *path, tern_error *err) {
    const tern_string *s = t->data;
    int64_t count = tn_shape_count(&t->shape);
    size_t longest, cells, bytes;
    TN_TRY(longest_string(t, count, &longest, path, err));
    if (!tn_mul_size((size_t)count, longest, &cells) || !tn_mul_size(cells, sizeof(uint32_t), &bytes))
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%s: the strings are too long for an .npy file", path);
    uint32_t *chars = tn_calloc(cells, sizeof *chars);
    if (!chars) return tn_fail_oom(err, bytes);
    for (int64_t i = 0; i < count; i++) {
        uint32_t *to = chars + (size_t)i * longest;
        for (size_t at = 0, n; at < s[i].len; at += n) {
            n = tn_utf8_length(s[i].data + at, s[i].len - at);
            *to++ = decode_utf8(s[i].data + at, n);
        }
    }
    char descr[32];
    snprintf(descr, sizeof descr, "%cU%zu", NPY_HOST_BIG ? '>' : '<', longest);
    tern_status status = write_file(descr, &t->shape, chars, bytes, path, err);
    tn_free(chars);
    return status;
}

tern_status tn_npy_save(const tern_tensor *t, const char *path, tern_error *err) {
    if (t->kind != TERN_KIND_TENSOR) return fail_type(t, path, err);
    if (t->block) return tn_fail(err, TERN_INTERNAL, "%s: a tensor in blocked layout was to be saved", path);
    if (t->dtype == TERN_STRING) return save_strings(t, path, err);
    for (size_t i = 0; i < tn_npy_type_count; i++) {
        const npy_type *type = &tn_npy_types[i];
        if (type->dtype != t->dtype) continue;
        char descr[8];
        snprintf(descr, sizeof descr, "%c%c%d",
                 type->size == 1 ? '|'
                 : NPY_HOST_BIG  ? '>'
                                 : '<',
                 type->kind, type->size);
        return write_file(descr, &t->shape, t->data, tn_tensor_bytes(t), path, err);
    }
    return fail_type(t, path, err);
}
