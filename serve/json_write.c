#include "serve/json_write.h"

#include <math.h>

#include "serve/number.h"

static void put_char(tn_text *t, char c) { tn_text_add_str(t, &c, 1); }

/* Plain runs in one piece. */
static void put_quoted(tn_text *t, const char *s, size_t n) {
    put_char(t, '"');
    size_t plain = 0;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t len = c < 0x80 ? 1 : tn_utf8_length(s + i, n - i);
        if (len > 0 && c >= 32 && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        tn_text_add_str(t, s + plain, i - plain);
        if (len == 0) {
            tn_text_add_str(t, "\xef\xbf\xbd", 3);
        } else if (c == '"' || c == '\\') {
            tn_text_add(t, "\\%c", c);
        } else {
            tn_text_add(t, "\\u%04x", c);
        }
        plain = ++i;
    }
    if (plain < n) tn_text_add_str(t, s + plain, n - plain); /* s of an empty text may be NULL */
    put_char(t, '"');
}

static void put_key(tn_text *t, const char *key) {
    char last = t->len ? t->data[t->len - 1] : '{';
    if (last != '{' && last != '[') put_char(t, ',');
    if (!key) return;
    put_quoted(t, key, strlen(key));
    put_char(t, ':');
}

void serve_put_open(tn_text *t, const char *key, char bracket) {
    /* The root has nothing before it. */
    if (t->len) put_key(t, key);
    put_char(t, bracket);
}

void serve_put_close(tn_text *t, char bracket) { put_char(t, bracket); }

void serve_put_bytes(tn_text *t, const char *key, const char *value, size_t len) {
    put_key(t, key);
    put_quoted(t, value, len);
}

void serve_put_string(tn_text *t, const char *key, const char *value) {
    if (value) {
        serve_put_bytes(t, key, value, strlen(value));
        return;
    }
    put_key(t, key);
    tn_text_add_str(t, "null", 4);
}

void serve_put_i64(tn_text *t, const char *key, int64_t value) {
    char text[SERVE_NUMBER_TEXT];
    put_key(t, key);
    tn_text_add_str(t, text, (size_t)serve_print_i64(text, value));
}

void serve_put_u64(tn_text *t, const char *key, uint64_t value) {
    char text[SERVE_NUMBER_TEXT];
    put_key(t, key);
    tn_text_add_str(t, text, (size_t)serve_print_u64(text, value));
}

void serve_put_f32(tn_text *t, const char *key, float value) {
    char text[SERVE_NUMBER_TEXT];
    put_key(t, key);
    if (isfinite(value)) {
        tn_text_add_str(t, text, (size_t)serve_print_f32(text, value));
    } else {
        tn_text_add_str(t, "null", 4);
    }
}

void serve_put_fixed(tn_text *t, const char *key, double value, int digits) {
    put_key(t, key);
    if (isfinite(value)) {
        tn_text_add(t, "%.*f", digits, value);
    } else {
        tn_text_add_str(t, "null", 4);
    }
}

void serve_put_bool(tn_text *t, const char *key, bool value) {
    put_key(t, key);
    tn_text_add_str(t, value ? "true" : "false", value ? 4 : 5);
}

void serve_put_dims(tn_text *t, const char *key, const int64_t *dims, int rank) {
    serve_put_open(t, key, '[');
    for (int i = 0; i < rank; i++) serve_put_i64(t, NULL, dims[i]);
    serve_put_close(t, ']');
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* Elements written between two reservations. */
#define PIECE 1024

static tern_status not_in_json(const char *name, const char *what, tern_error *err) {
    return tn_fail(err, TERN_UNSUPPORTED, "output '%s': JSON can not hold %s; ask for it with \"binary_data\": true",
                   name, what);
}

static int print_integer(char *to, tern_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
    case TERN_INT8:
        return serve_print_i64(to, ((const int8_t *)data)[i]);
    case TERN_INT16:
        return serve_print_i64(to, ((const int16_t *)data)[i]);
    case TERN_INT32:
        return serve_print_i64(to, ((const int32_t *)data)[i]);
    case TERN_INT64:
        return serve_print_i64(to, ((const int64_t *)data)[i]);
    case TERN_UINT8:
        return serve_print_u64(to, ((const uint8_t *)data)[i]);
    case TERN_UINT16:
        return serve_print_u64(to, ((const uint16_t *)data)[i]);
    case TERN_UINT32:
        return serve_print_u64(to, ((const uint32_t *)data)[i]);
    default:
        return serve_print_u64(to, ((const uint64_t *)data)[i]);
    }
}

/* Writes element i and a comma; 0: it is not finite. */
static int print_number(char *to, tern_dtype dtype, const void *data, int64_t i) {
    int n;
    if (dtype == TERN_FLOAT) {
        float v = ((const float *)data)[i];
        if (!isfinite(v)) return 0;
        n = serve_print_f32(to, v);
    } else if (dtype == TERN_DOUBLE) {
        double v = ((const double *)data)[i];
        if (!isfinite(v)) return 0;
        n = serve_print_f64(to, v);
    } else {
        n = print_integer(to, dtype, data, i);
    }
    to[n] = ',';
    return n + 1;
}

static tern_status put_numbers(tn_text *t, const tern_tensor *tensor, const char *name, tern_error *err) {
    int64_t count = tern_tensor_count(tensor);
    tern_dtype dtype = tern_tensor_dtype(tensor);
    const void *data = tern_tensor_const_data(tensor);
    for (int64_t i = 0; i < count;) {
        if (!tn_text_reserve(t, (size_t)PIECE * (SERVE_NUMBER_TEXT + 1))) return tn_fail_oom(err, t->len);
        char *to = t->data + t->len;
        for (int64_t stop = TN_MIN(count, i + PIECE); i < stop; i++) {
            int n = print_number(to, dtype, data, i);
            if (n == 0) return not_in_json(name, "NaN or infinity", err);
            to += n;
        }
        t->len = (size_t)(to - t->data);
    }
    if (count > 0) t->len--; /* the last comma */
    if (count > 0) t->data[t->len] = '\0';
    return TERN_OK;
}

static tern_status put_strings(tn_text *t, const tern_tensor *tensor, const char *name, tern_error *err) {
    const tern_string *s = tern_tensor_const_data(tensor);
    for (int64_t i = 0; i < tern_tensor_count(tensor); i++) {
        if (!tn_utf8_valid(s[i].data, s[i].len)) return not_in_json(name, "bytes that are not UTF-8", err);
        if (i) put_char(t, ',');
        put_quoted(t, s[i].data, s[i].len);
    }
    return TERN_OK;
}

tern_status serve_put_tensor(tn_text *t, const char *key, const tern_tensor *tensor, const char *name,
                             tern_error *err) {
    serve_put_open(t, key, '[');
    tern_status status = TERN_OK;
    const uint8_t *bits = tern_tensor_const_data(tensor);
    switch (tern_tensor_dtype(tensor)) {
    case TERN_BOOL:
        for (int64_t i = 0; i < tern_tensor_count(tensor); i++) serve_put_bool(t, NULL, bits[i]);
        break;
    case TERN_STRING:
        status = put_strings(t, tensor, name, err);
        break;
    case TERN_FLOAT16:
        status = not_in_json(name, "FP16", err);
        break;
    case TERN_BFLOAT16:
        status = not_in_json(name, "BF16", err);
        break;
    default:
        status = put_numbers(t, tensor, name, err);
    }
    serve_put_close(t, ']');
    return status;
}
