#include "serve/json_read.h"

#include <stdio.h>

#include "serve/number.h"

void serve_json_init(serve_json *r, const char *data, size_t size, tern_error *err) {
    *r = (serve_json){.begin = data, .p = data, .end = data + size, .err = err};
}

bool serve_json_fail(serve_json *r, const char *format, ...) {
    if (r->failed) return false;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_utf8_clean_line(text);
    tn_fail(r->err, TERN_INVALID_FORMAT, "JSON, byte %zu: %s", (size_t)(r->p - r->begin), text);
    r->failed = true;
    return false;
}

static void skip_blanks(serve_json *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) r->p++;
}

char serve_json_peek(serve_json *r) {
    if (r->failed) return 0;
    skip_blanks(r);
    return r->p < r->end ? *r->p : 0;
}

/* What is there, for a message. */
static bool unexpected(serve_json *r, const char *wanted) {
    char c = serve_json_peek(r);
    if (r->failed) return false;
    if (r->p == r->end) return serve_json_fail(r, "%s is missing: the text ends here", wanted);
    if (c > 32 && c < 127) return serve_json_fail(r, "%s wanted, not '%c'", wanted, c);
    return serve_json_fail(r, "%s wanted, not byte 0x%02x", wanted, (unsigned)(unsigned char)c);
}

bool serve_json_open(serve_json *r, char bracket) {
    if (serve_json_peek(r) != bracket) return unexpected(r, bracket == '{' ? "an object" : "a list");
    if (++r->depth > SERVE_JSON_DEPTH) return serve_json_fail(r, "more than %d levels of brackets", SERVE_JSON_DEPTH);
    r->p++;
    return true;
}

/* Whether another item follows; reads the comma or the closing bracket. */
static bool more(serve_json *r, bool *first, char close) {
    char c = serve_json_peek(r);
    if (r->failed) return false;
    if (c == close) {
        r->p++;
        r->depth--;
        return false;
    }
    if (*first) {
        *first = false;
        return true;
    }
    if (c != ',') return unexpected(r, close == '}' ? "',' or '}'" : "',' or ']'");
    r->p++;
    return true;
}

bool serve_json_element(serve_json *r, bool *first) { return more(r, first, ']'); }

bool serve_json_end(serve_json *r) {
    serve_json_peek(r);
    if (r->failed) return false;
    return r->p == r->end || serve_json_fail(r, "something follows the value");
}

/* ---- strings ------------------------------------------------------------------------------------------------ */

/* The string at p without its quotes, escapes not decoded; p moves behind it. */
static bool raw_string(serve_json *r, tn_str *out, bool *escaped) {
    if (serve_json_peek(r) != '"') return unexpected(r, "a string");
    const char *begin = ++r->p;
    *escaped = false;
    while (r->p < r->end && *r->p != '"') {
        if ((unsigned char)*r->p < 32) return serve_json_fail(r, "a control character in a string");
        if (*r->p == '\\') {
            *escaped = true;
            r->p++;
            if (r->p == r->end) break;
        }
        r->p++;
    }
    if (r->p >= r->end) return serve_json_fail(r, "a string without an end");
    *out = (tn_str){begin, (size_t)(r->p - begin)};
    r->p++;
    return tn_utf8_valid(out->data, out->len) || serve_json_fail(r, "a string that is not UTF-8");
}

static bool hex4(const char *p, const char *end, unsigned *out) {
    if (end - p < 4) return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned v = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                            : 99;
        if (v > 15) return false;
        *out = *out * 16 + v;
    }
    return true;
}

static size_t put_utf8(char *to, unsigned c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(lead[n] | c);
    return n;
}

/* \uXXXX at p (behind the u), a pair of surrogates as one character. */
static const char *unescape_u(const char *p, const char *end, char **to) {
    unsigned c, low;
    if (!hex4(p, end, &c)) return NULL;
    p += 4;
    if (c >= 0xd800 && c < 0xdc00) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, end, &low)) return NULL;
        if (low < 0xdc00 || low >= 0xe000) return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    } else if (c >= 0xdc00 && c < 0xe000) {
        return NULL;
    }
    *to += put_utf8(*to, c);
    return p;
}

/* Never longer than the raw form. */
static bool unescape(serve_json *r, tn_str raw, char *to, size_t *len) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char *begin = to;
    const char *p = raw.data, *end = raw.data + raw.len;
    while (p < end) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        char c = p[1]; /* raw_string took two */
        const char *at = c ? strchr(from, c) : NULL;
        p += 2;
        if (at) {
            *to++ = into[at - from];
        } else if (c != 'u' || !(p = unescape_u(p, end, &to))) {
            return serve_json_fail(r, "a wrong escape in a string");
        }
    }
    *len = (size_t)(to - begin);
    return true;
}

bool serve_json_string(serve_json *r, tn_arena *arena, char **out, size_t *len) {
    tn_str raw;
    bool escaped;
    if (!raw_string(r, &raw, &escaped)) return false;
    *out = tn_arena_alloc(arena, raw.len + 1);
    if (!*out) return serve_json_fail(r, "no memory for a string of %zu bytes", raw.len);
    size_t n = raw.len;
    if (!escaped) {
        memcpy(*out, raw.data, n);
    } else if (!unescape(r, raw, *out, &n)) {
        return false;
    }
    (*out)[n] = '\0';
    if (len) {
        *len = n;
    } else if (memchr(*out, '\0', n)) {
        return serve_json_fail(r, "a zero character in a string");
    }
    return true;
}

bool serve_json_member(serve_json *r, bool *first, tn_str *key) {
    if (!more(r, first, '}')) return false;
    bool escaped;
    if (!raw_string(r, key, &escaped)) return false;
    if (escaped) {
        /* A longer name is none of ours. */
        size_t n = 0;
        if (key->len < sizeof r->key && !unescape(r, *key, r->key, &n)) return false;
        *key = (tn_str){r->key, n};
    }
    if (serve_json_peek(r) != ':') return unexpected(r, "':'");
    r->p++;
    return true;
}

/* ---- small values ------------------------------------------------------------------------------------------- */

static bool word(serve_json *r, const char *text) {
    size_t n = strlen(text);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0) return false;
    r->p += n;
    return true;
}

bool serve_json_bool(serve_json *r, bool *out) {
    serve_json_peek(r);
    if (r->failed) return false;
    *out = word(r, "true");
    return *out || word(r, "false") || unexpected(r, "true or false");
}

bool serve_json_i64(serve_json *r, int64_t *out) {
    const char *why;
    serve_json_peek(r);
    if (r->failed) return false;
    return serve_parse_i64(&r->p, r->end, out, &why) || serve_json_fail(r, "%s", why);
}

static bool skip_scalar(serve_json *r) {
    char c = serve_json_peek(r);
    tn_str raw;
    bool escaped;
    double number;
    const char *why;
    if (r->failed) return false;
    if (c == '"') return raw_string(r, &raw, &escaped);
    if (word(r, "true") || word(r, "false") || word(r, "null")) return true;
    if (c != '-' && (c < '0' || c > '9')) return unexpected(r, "a value");
    return serve_parse_f64(&r->p, r->end, &number, &why) || serve_json_fail(r, "%s", why);
}

bool serve_json_skip(serve_json *r, tn_str *span) {
    char c = serve_json_peek(r);
    const char *begin = r->p;
    bool first = true;
    if (c == '{') {
        tn_str key;
        serve_json_open(r, '{');
        while (serve_json_member(r, &first, &key)) serve_json_skip(r, NULL);
    } else if (c == '[') {
        serve_json_open(r, '[');
        while (serve_json_element(r, &first)) serve_json_skip(r, NULL);
    } else {
        skip_scalar(r);
    }
    if (span) *span = (tn_str){begin, (size_t)(r->p - begin)};
    return !r->failed;
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

typedef struct filler {
    serve_json *r;
    tern_tensor *tensor;
    tern_dtype dtype;
    char *data;
    size_t size; /* bytes of an element */
    int64_t at, count;
    const char *name;
    tn_text text; /* for strings */
} filler;

static bool put_signed(filler *f, int64_t min, int64_t max) {
    int64_t v;
    const char *why;
    if (!serve_parse_i64(&f->r->p, f->r->end, &v, &why)) return serve_json_fail(f->r, "input '%s': %s", f->name, why);
    if (v < min || v > max) return serve_json_fail(f->r, "input '%s': a number too large for the type", f->name);
    /* Little-endian: the low bytes are the value in every width. */
    memcpy(f->data + (size_t)f->at * f->size, &v, f->size);
    return true;
}

static bool put_unsigned(filler *f, uint64_t max) {
    uint64_t v;
    const char *why;
    if (!serve_parse_u64(&f->r->p, f->r->end, &v, &why)) return serve_json_fail(f->r, "input '%s': %s", f->name, why);
    if (v > max) return serve_json_fail(f->r, "input '%s': a number too large for the type", f->name);
    memcpy(f->data + (size_t)f->at * f->size, &v, f->size);
    return true;
}

static bool put_bool(filler *f) {
    bool one = word(f->r, "true") || word(f->r, "1");
    if (!one && !word(f->r, "false") && !word(f->r, "0")) return unexpected(f->r, "true or false");
    f->data[f->at] = one;
    return true;
}

static bool put_string(filler *f) {
    tn_str raw;
    bool escaped;
    if (!raw_string(f->r, &raw, &escaped)) return false;
    size_t n = raw.len;
    if (escaped) {
        f->text.len = 0;
        if (!tn_text_reserve(&f->text, n)) return serve_json_fail(f->r, "no memory");
        if (!unescape(f->r, raw, f->text.data, &n)) return false;
        raw.data = f->text.data;
    }
    tern_error err;
    return tern_tensor_set_string(f->tensor, f->at, raw.data, n, &err) == TERN_OK ||
           serve_json_fail(f->r, "%s", err.text);
}

static bool put_double(filler *f) {
    double v;
    const char *why;
    if (!serve_parse_f64(&f->r->p, f->r->end, &v, &why)) return serve_json_fail(f->r, "input '%s': %s", f->name, why);
    memcpy(f->data + (size_t)f->at * sizeof v, &v, sizeof v);
    return true;
}

static bool put_float(filler *f) {
    const char *why;
    return serve_parse_f32(&f->r->p, f->r->end, (float *)(void *)f->data + f->at, &why) ||
           serve_json_fail(f->r, "input '%s': %s", f->name, why);
}

static bool put(filler *f) {
    switch (f->dtype) {
    case TERN_FLOAT:
        return put_float(f);
    case TERN_DOUBLE:
        return put_double(f);
    case TERN_INT8:
        return put_signed(f, INT8_MIN, INT8_MAX);
    case TERN_INT16:
        return put_signed(f, INT16_MIN, INT16_MAX);
    case TERN_INT32:
        return put_signed(f, INT32_MIN, INT32_MAX);
    case TERN_INT64:
        return put_signed(f, INT64_MIN, INT64_MAX);
    case TERN_UINT8:
        return put_unsigned(f, UINT8_MAX);
    case TERN_UINT16:
        return put_unsigned(f, UINT16_MAX);
    case TERN_UINT32:
        return put_unsigned(f, UINT32_MAX);
    case TERN_UINT64:
        return put_unsigned(f, UINT64_MAX);
    case TERN_BOOL:
        return put_bool(f);
    default:
        return put_string(f);
    }
}

/* Elements up to the closing bracket, which is read. *n: how many. */
static bool fill_list(filler *f, int64_t *n) {
    serve_json *r = f->r;
    int64_t begin = f->at;
    bool first = true;
    while (more(r, &first, ']')) {
        if (f->at == f->count) {
            return serve_json_fail(r, "input '%s': more than the %lld elements of its shape", f->name,
                                   (long long)f->count);
        }
        skip_blanks(r);
        if (!put(f)) return false;
        f->at++;
        /* The usual case without a call: comma, number. */
        while (f->dtype == TERN_FLOAT && f->at < f->count && r->p < r->end && *r->p == ',') {
            r->p++;
            skip_blanks(r);
            if (!put_float(f)) return false;
            f->at++;
        }
    }
    *n = f->at - begin;
    return !r->failed;
}

/* The list for dims [axis, rank). */
static bool fill_nested(filler *f, int axis) {
    serve_json *r = f->r;
    const int64_t *dims = tern_tensor_dims(f->tensor);
    int64_t n = 0;
    if (!serve_json_open(r, '[')) return false;
    if (axis == tern_tensor_rank(f->tensor) - 1) {
        if (!fill_list(f, &n)) return false;
    } else {
        bool first = true;
        while (serve_json_element(r, &first)) {
            if (n++ == dims[axis]) break;
            if (!fill_nested(f, axis + 1)) return false;
        }
    }
    if (r->failed || n == dims[axis]) return !r->failed;
    return serve_json_fail(r, "input '%s': a list of %s%lld items where its shape has %lld", f->name,
                           n > dims[axis] ? "more than " : "", (long long)TN_MIN(n, dims[axis]), (long long)dims[axis]);
}

/* The second character that is no blank. */
static bool opens_nested(const serve_json *r) {
    const char *p = r->p + 1;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p < r->end && *p == '[';
}

bool serve_json_tensor(serve_json *r, tern_tensor *tensor, const char *name) {
    tern_dtype dtype = tern_tensor_dtype(tensor);
    filler f = {.r = r,
                .tensor = tensor,
                .dtype = dtype,
                .data = tern_tensor_data(tensor),
                .size = tern_dtype_size(dtype),
                .count = tern_tensor_count(tensor),
                .name = name};
    tn_text_init(&f.text);
    bool good;
    if (serve_json_peek(r) == '[' && tern_tensor_rank(tensor) > 1 && opens_nested(r)) {
        good = fill_nested(&f, 0);
    } else {
        int64_t n = 0;
        good = serve_json_open(r, '[') && fill_list(&f, &n);
        if (good && n < f.count) {
            good = serve_json_fail(r, "input '%s': %lld elements where its shape has %lld", name, (long long)n,
                                   (long long)f.count);
        }
    }
    tn_text_release(&f.text);
    return good;
}
