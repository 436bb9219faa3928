/* Reader of .npy files. Nothing is allocated before the header's shape and the size of the file agree. */
#include "io/npy_internal.h"

const npy_type tn_npy_types[] = {
    {'f', 2, TERN_FLOAT16},   {'f', 4, TERN_FLOAT},       {'f', 8, TERN_DOUBLE}, {'i', 1, TERN_INT8},
    {'i', 2, TERN_INT16},     {'i', 4, TERN_INT32},       {'i', 8, TERN_INT64},  {'u', 1, TERN_UINT8},
    {'u', 2, TERN_UINT16},    {'u', 4, TERN_UINT32},      {'u', 8, TERN_UINT64}, {'b', 1, TERN_BOOL},
    {'c', 8, TERN_COMPLEX64}, {'c', 16, TERN_COMPLEX128},
};
const size_t tn_npy_type_count = TN_COUNT(tn_npy_types);

typedef struct header {
    tn_str descr;
    bool fortran_order;
    tn_shape shape;
    bool has_descr, has_order, has_shape;
} header;

// What `descr` says.
typedef struct element {
    tern_dtype dtype;
    size_t size; // bytes in the file
    size_t part; // bytes to swap together; 1: none
    bool swap;
    bool wide; // 'U': 4 bytes per character; else strings are bytes
} element;

/* ---- the header's Python literal ---- */

typedef struct cursor {
    const char *p, *end;
} cursor;

static tern_status fail_header(const cursor *c, const char *expected, tern_error *err) {
    size_t left = (size_t)(c->end - c->p);
    return tn_fail(err, TERN_INVALID_FORMAT, "npy header: %s expected, found \"%.*s\"", expected,
                   (int)TN_MIN(left, (size_t)20), c->p);
}

static void skip_blanks(cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r')) c->p++;
}

// Skips blanks and takes the character if it is there.
static bool take(cursor *c, char wanted) {
    skip_blanks(c);
    if (c->p == c->end || *c->p != wanted) return false;
    c->p++;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    skip_blanks(c);
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
    c->p += n;
    return true;
}

static tern_status parse_string(cursor *c, tn_str *out, tern_error *err) {
    char quote = take(c, '\'') ? '\'' : take(c, '"') ? '"' : 0;
    if (!quote) return fail_header(c, "a string", err);
    const char *end = memchr(c->p, quote, (size_t)(c->end - c->p));
    if (!end || memchr(c->p, '\\', (size_t)(end - c->p))) return fail_header(c, "a plain string", err);
    *out = (tn_str){c->p, (size_t)(end - c->p)};
    c->p = end + 1;
    return TERN_OK;
}

static tern_status parse_dim(cursor *c, int64_t *out, tern_error *err) {
    skip_blanks(c);
    const char *start = c->p;
    int64_t value = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
        if (!tn_mul_i64(value, 10, &value) || !tn_add_i64(value, *c->p - '0', &value))
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "npy header: a dim does not fit in 63 bits");
    if (c->p == start) return fail_header(c, "a dim", err);
    if (c->p < c->end && *c->p == 'L') c->p++; // Python 2's long
    *out = value;
    return TERN_OK;
}

static tern_status parse_shape(cursor *c, tn_shape *shape, tern_error *err) {
    if (!take(c, '(')) return fail_header(c, "the shape's (", err);
    shape->rank = 0;
    while (!take(c, ')')) {
        if (shape->rank == TERN_MAX_RANK)
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "npy header: rank is above %d", TERN_MAX_RANK);
        TN_TRY(parse_dim(c, &shape->dims[shape->rank++], err));
        if (take(c, ',')) continue;
        if (!take(c, ')')) return fail_header(c, "a , or )", err);
        break;
    }
    return TERN_OK;
}

static tern_status parse_entry(cursor *c, header *h, tern_error *err) {
    tn_str key;
    TN_TRY(parse_string(c, &key, err));
    if (!take(c, ':')) return fail_header(c, "a :", err);
    skip_blanks(c);
    if (tn_str_eq(key, tn_str_c("descr"))) {
        if (c->p < c->end && *c->p == '[')
            return tn_fail(err, TERN_UNSUPPORTED, "npy: an array of records; save each field as an array of its own");
        h->has_descr = true;
        return parse_string(c, &h->descr, err);
    }
    if (tn_str_eq(key, tn_str_c("fortran_order"))) {
        h->has_order = true;
        h->fortran_order = take_word(c, "True");
        return h->fortran_order || take_word(c, "False") ? TERN_OK : fail_header(c, "True or False", err);
    }
    if (tn_str_eq(key, tn_str_c("shape"))) {
        h->has_shape = true;
        return parse_shape(c, &h->shape, err);
    }
    return tn_fail(err, TERN_INVALID_FORMAT, "npy header: unknown key \"%.*s\"", (int)TN_MIN(key.len, (size_t)40),
                   key.data);
}

static tern_status parse_header(cursor c, header *h, tern_error *err) {
    *h = (header){0};
    if (!take(&c, '{')) return fail_header(&c, "a {", err);
    while (!take(&c, '}')) {
        TN_TRY(parse_entry(&c, h, err));
        if (take(&c, ',')) continue;
        if (!take(&c, '}')) return fail_header(&c, "a , or }", err);
        break;
    }
    skip_blanks(&c);
    if (c.p != c.end) return fail_header(&c, "the end", err);
    if (!h->has_descr || !h->has_order || !h->has_shape)
        return tn_fail(err, TERN_INVALID_FORMAT, "npy header: descr, fortran_order or shape is missing");
    return TERN_OK;
}

/* ---- element types ---- */

static tern_status fail_descr(tn_str descr, const char *why, tern_error *err) {
    return tn_fail(err, TERN_UNSUPPORTED, "npy: elements of type \"%.*s\": %s", (int)TN_MIN(descr.len, (size_t)40),
                   descr.data, why);
}

// U and S: n characters of 4 or 1 bytes, padded with zeros.
static tern_status string_element(tn_str descr, char kind, size_t size, element *out, tern_error *err) {
    if (size == 0) return fail_descr(descr, "strings without characters; store them as U1", err);
    out->dtype = TERN_STRING;
    out->wide = kind == 'U';
    out->part = out->wide ? 4 : 1;
    return tn_mul_size(size, out->part, &out->size) ? TERN_OK : fail_descr(descr, "the strings are too long", err);
}

static tern_status parse_descr(tn_str descr, element *out, tern_error *err) {
    *out = (element){0};
    const char *p = descr.data, *end = p + descr.len;
    char order = p < end && strchr("<>|=", *p) && *p ? *p++ : '=';
    if (p == end) return fail_descr(descr, "not a type of NumPy", err);
    char kind = *p++;
    size_t size = 0;
    for (; p < end && *p >= '0' && *p <= '9' && size < 1u << 28; p++) size = size * 10 + (size_t)(*p - '0');
    out->swap = order == (NPY_HOST_BIG ? '<' : '>');
    if (kind == 'O') return fail_descr(descr, "pickled Python objects are not read", err);
    if (kind == 'V')
        return fail_descr(descr, "NumPy has no name for it (bfloat16?); convert to float32 before saving", err);
    if (p != end) return fail_descr(descr, "not supported; convert before saving", err);
    if (kind == 'U' || kind == 'S') return string_element(descr, kind, size, out, err);
    for (size_t i = 0; i < tn_npy_type_count; i++) {
        const npy_type *type = &tn_npy_types[i];
        if (type->kind != kind || type->size != size) continue;
        out->dtype = type->dtype;
        out->size = size;
        out->part = kind == 'c' ? size / 2 : size;
        return TERN_OK;
    }
    return fail_descr(descr, "not supported; convert before saving, to float32 or int64 for example", err);
}

/* ---- elements ---- */

static void swap_bytes(uint8_t *data, size_t bytes, size_t part) {
    for (size_t i = 0; i < bytes; i += part)
        for (size_t a = i, b = i + part - 1; a < b; a++, b--) {
            uint8_t byte = data[a];
            data[a] = data[b];
            data[b] = byte;
        }
}

/* From the first index fastest (Fortran) to the last one fastest. `index` counts like the result; `from` is the
 * element's place in the source. */
static void reorder(const uint8_t *src, uint8_t *dst, const tn_shape *shape, size_t size) {
    int64_t stride[TERN_MAX_RANK], index[TERN_MAX_RANK] = {0}, count = tn_shape_count(shape), from = 0;
    for (int d = 0; d < shape->rank; d++) stride[d] = tn_shape_count_range(shape, 0, d);
    for (int64_t i = 0; i < count; i++) {
        memcpy(dst + (size_t)i * size, src + (size_t)from * size, size);
        for (int d = shape->rank - 1; d >= 0; d--) {
            from += stride[d];
            if (++index[d] < shape->dims[d]) break;
            from -= stride[d] * shape->dims[d];
            index[d] = 0;
        }
    }
}

// One UCS-4 character as UTF-8; 0 when it is not a character.
static size_t encode_utf8(uint32_t c, char *to) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    to[0] = (char)(lead[n] | c);
    return n;
}

static tern_status set_wide_string(tern_tensor *t, int64_t index, const uint8_t *from, const element *e, char *scratch,
                                   tern_error *err) {
    size_t length = 0, chars = e->size / 4;
    uint32_t c;
    // Trailing zeros are padding.
    for (; chars > 0; chars--) {
        memcpy(&c, from + (chars - 1) * 4, 4);
        if (c) break;
    }
    for (size_t i = 0; i < chars; i++) {
        memcpy(&c, from + i * 4, 4);
        if (e->swap) c = __builtin_bswap32(c);
        size_t n = encode_utf8(c, scratch + length);
        if (n == 0)
            return tn_fail(err, TERN_INVALID_FORMAT, "npy: string %lld holds %#x, which is no character",
                           (long long)index, (unsigned)c);
        length += n;
    }
    return tn_tensor_set_string(t, index, scratch, length, err);
}

static tern_status fill_strings(tern_tensor *t, const uint8_t *data, const element *e, tern_error *err) {
    int64_t count = tn_shape_count(&t->shape);
    char *scratch = tn_alloc(e->size);
    if (!scratch) return tn_fail_oom(err, e->size);
    tern_status status = TERN_OK;
    for (int64_t i = 0; i < count && status == TERN_OK; i++) {
        const uint8_t *from = data + (size_t)i * e->size;
        size_t length = e->size;
        if (e->wide) {
            status = set_wide_string(t, i, from, e, scratch, err);
        } else {
            while (length > 0 && from[length - 1] == 0) length--;
            status = tn_tensor_set_string(t, i, (const char *)from, length, err);
        }
    }
    tn_free(scratch);
    return status;
}

static tern_status fill(tern_tensor *t, const uint8_t *data, const header *h, const element *e, tern_error *err) {
    size_t bytes = (size_t)tn_shape_count(&t->shape) * e->size;
    if (bytes == 0) return TERN_OK;
    bool transpose = h->fortran_order && t->shape.rank > 1;
    if (e->dtype == TERN_STRING) {
        if (!transpose) return fill_strings(t, data, e, err);
        uint8_t *ordered = tn_alloc(bytes);
        if (!ordered) return tn_fail_oom(err, bytes);
        reorder(data, ordered, &t->shape, e->size);
        tern_status status = fill_strings(t, ordered, e, err);
        tn_free(ordered);
        return status;
    }
    if (transpose) {
        reorder(data, t->data, &t->shape, e->size);
    } else {
        memcpy(t->data, data, bytes);
    }
    if (e->swap && e->part > 1) swap_bytes(t->data, bytes, e->part);
    if (e->dtype == TERN_BOOL)
        for (size_t i = 0; i < bytes; i++) ((uint8_t *)t->data)[i] = ((uint8_t *)t->data)[i] != 0;
    return TERN_OK;
}

/* ---- the file ---- */

// Finds the header's text and the elements behind it.
static tern_status split(const uint8_t *data, size_t size, cursor *text, tern_error *err) {
    if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0)
        return tn_fail(err, TERN_UNSUPPORTED,
                       "an .npz archive, not an .npy file; unpack it, it is a zip file of .npy files");
    if (size < NPY_MAGIC_LEN + 4 || memcmp(data, NPY_MAGIC, NPY_MAGIC_LEN) != 0)
        return tn_fail(err, TERN_INVALID_FORMAT, "not an .npy file");
    unsigned version = data[NPY_MAGIC_LEN];
    if (version < 1 || version > 3)
        return tn_fail(err, TERN_UNSUPPORTED, "npy: version %u of the format; 1 to 3 are known", version);
    size_t start = NPY_MAGIC_LEN + 2 + (version == 1 ? 2 : 4), length = 0;
    if (size < start) return tn_fail(err, TERN_INVALID_FORMAT, "npy: the file ends inside the header");
    for (size_t i = start; i > NPY_MAGIC_LEN + 2; i--) length = length << 8 | data[i - 1];
    if (length > size - start)
        return tn_fail(err, TERN_INVALID_FORMAT, "npy: a header of %zu bytes in a file of %zu", length, size);
    *text = (cursor){(const char *)data + start, (const char *)data + start + length};
    return TERN_OK;
}

tern_status tn_npy_parse(tern_tensor **out, const void *data, size_t size, tern_error *err) {
    *out = NULL;
    cursor text;
    header h;
    element e;
    TN_TRY(split(data, size, &text, err));
    TN_TRY(parse_header(text, &h, err));
    TN_TRY(parse_descr(h.descr, &e, err));
    const uint8_t *elements = (const uint8_t *)text.end;
    size_t have = size - (size_t)(elements - (const uint8_t *)data), need;
    int64_t count;
    bool fits = tn_shape_count_checked(&h.shape, &count) && tn_mul_size((size_t)count, e.size, &need);
    if (!fits || need != have) {
        char shape[TN_SHAPE_TEXT];
        return tn_fail(err, TERN_INVALID_FORMAT, "npy: shape %s of type %.*s does not go with %zu bytes of elements",
                       tn_shape_text(&h.shape, shape, sizeof shape), (int)TN_MIN(h.descr.len, (size_t)40), h.descr.data,
                       have);
    }
    tern_tensor *t;
    TN_TRY(tn_tensor_new(&t, e.dtype, &h.shape, err));
    tern_status status = fill(t, elements, &h, &e, err);
    if (status != TERN_OK) {
        tn_tensor_unref(t);
        return status;
    }
    *out = t;
    return TERN_OK;
}

tern_status tn_npy_load(tern_tensor **out, const char *path, tern_error *err) {
    tn_file file;
    *out = NULL;
    TN_TRY(tn_file_map(&file, path, err));
    tern_status status = tn_npy_parse(out, file.data, file.size, err);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

tern_status tn_raw_load(tern_tensor **out, const char *path, tern_dtype dtype, const tn_shape *shape, tern_error *err) {
    *out = NULL;
    if (tn_dtype_bits(dtype) < 8)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: elements of type %s can not be read from a raw file", path,
                       tn_dtype_name(dtype));
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    size_t need;
    char text[TN_SHAPE_TEXT];
    tern_tensor *t = NULL;
    tern_status status;
    if (!tn_bytes_for(dtype, shape, 0, &need) || need != file.size) {
        status = tn_fail(err, TERN_SHAPE_MISMATCH, "%s: has %zu bytes, which is not shape %s of type %s", path,
                         file.size, tn_shape_text(shape, text, sizeof text), tn_dtype_name(dtype));
    } else {
        status = tn_tensor_new(&t, dtype, shape, err);
    }
    if (status == TERN_OK) {
        bool complex = dtype == TERN_COMPLEX64 || dtype == TERN_COMPLEX128;
        size_t size = tn_dtype_size(dtype);
        element e = {.dtype = dtype, .size = size, .part = complex ? size / 2 : size, .swap = NPY_HOST_BIG};
        status = fill(t, file.data, &(header){0}, &e, err);
        *out = t;
    }
    tn_file_unmap(&file);
    return status;
}
