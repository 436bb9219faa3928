#include "serve/upload.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/json_read.h"
#include "serve/number.h"

/* ---- base64 ------------------------------------------------------------------------------------------------- */

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

tern_status serve_base64(tn_arena *arena, const char *text, size_t len, tn_str *out, tern_error *err) {
    char *to = tn_arena_alloc(arena, len / 4 * 3 + 4);
    size_t n = 0, i = 0;
    unsigned bits = 0, have = 0, digits = 0;
    if (!to) return tn_fail_oom(err, len);
    for (; i < len && text[i] != '='; i++) {
        if (text[i] == '\n' || text[i] == '\r' || text[i] == ' ') continue;
        int v = base64_value(text[i]);
        if (v < 0) return tn_fail(err, TERN_INVALID_FORMAT, "base64, character %zu: not one of it", i);
        bits = bits << 6 | (unsigned)v;
        have += 6;
        digits++;
        if (have < 8) continue;
        have -= 8;
        to[n++] = (char)(bits >> have);
    }
    for (; i < len; i++) {
        if (!strchr("=\r\n ", text[i])) return tn_fail(err, TERN_INVALID_FORMAT, "base64: something follows its end");
    }
    if (digits % 4 == 1) return tn_fail(err, TERN_INVALID_FORMAT, "base64 that is cut off");
    *out = (tn_str){to, n};
    return TERN_OK;
}

/* ---- settings ----------------------------------------------------------------------------------------------- */

static tern_status set_value(serve_upload *u, const char *key, const char *text, size_t len, tern_error *err) {
    const char *p = text, *why;
    double v;
    if (strcmp(key, "masks") == 0) {
        tn_str word = {text, len};
        u->masks = tn_str_eq(word, tn_str_c("true")) || tn_str_eq(word, tn_str_c("1"));
        if (u->masks || tn_str_eq(word, tn_str_c("false")) || tn_str_eq(word, tn_str_c("0"))) return TERN_OK;
        return tn_fail(err, TERN_INVALID_ARGUMENT, "masks wants true or false");
    }
    if (!serve_parse_f64(&p, text + len, &v, &why) || p != text + len) v = -1;
    if (strcmp(key, "top") == 0) {
        if (!(v >= 1 && v <= 100000 && v == (double)(int64_t)v))
            return tn_fail(err, TERN_INVALID_ARGUMENT, "top wants a whole number from 1 to 100000");
        u->top = (int64_t)v;
        return TERN_OK;
    }
    if (!(v >= 0 && v <= 1)) return tn_fail(err, TERN_INVALID_ARGUMENT, "%s wants a number from 0 to 1", key);
    *(key[0] == 'c' ? &u->conf : &u->iou) = v;
    return TERN_OK;
}

static const char *setting(const char *name, size_t len) {
    static const char *const keys[] = {"top", "conf", "iou", "masks"};
    for (size_t i = 0; i < TN_COUNT(keys); i++) {
        if (strlen(keys[i]) == len && memcmp(keys[i], name, len) == 0) return keys[i];
    }
    return NULL;
}

static tern_status read_query(serve_upload *u, const char *query, tern_error *err) {
    while (query && *query) {
        size_t n = strcspn(query, "&"), name = strcspn(query, "=&");
        const char *key = setting(query, name);
        if (!key)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "'%.*s' is no setting (top, conf, iou, masks)",
                           (int)TN_MIN(name, (size_t)40), query);
        size_t skip = TN_MIN(name + 1, n);
        TN_TRY(set_value(u, key, query + skip, n - skip, err));
        query += n + (query[n] == '&');
    }
    return TERN_OK;
}

static tern_status add_picture(serve_upload *u, const char *name, tn_str bytes, tern_error *err) {
    if (u->count == SERVE_MAX_PICTURES)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "more than %d pictures in one request", SERVE_MAX_PICTURES);
    u->pictures[u->count].name = name;
    u->pictures[u->count++].bytes = bytes;
    return TERN_OK;
}

/* ---- multipart ---------------------------------------------------------------------------------------------- */

/* The value of `key` in a header like `form-data; name="a"; filename="b"`; NULL: it has none. */
static char *parameter(tn_arena *arena, const char *header, size_t len, const char *key) {
    size_t k = strlen(key);
    for (const char *p = header, *end = header + len; p < end; p++) {
        if (*p != ';') continue;
        do p++;
        while (p < end && *p == ' ');
        if ((size_t)(end - p) <= k || strncasecmp(p, key, k) != 0 || p[k] != '=') {
            p--;
            continue;
        }
        p += k + 1;
        bool quoted = p < end && *p == '"';
        const char *begin = p + quoted;
        p = begin;
        while (p < end && (quoted ? *p != '"' : *p != ';' && *p != ' ')) p++;
        return tn_arena_strndup(arena, begin, (size_t)(p - begin));
    }
    return NULL;
}

static tern_status take_part(serve_upload *u, serve_exchange *x, tn_str part, tern_error *err) {
    const char *end = memmem(part.data, part.len, "\r\n\r\n", 4);
    if (!end) return tn_fail(err, TERN_INVALID_FORMAT, "multipart: a part without the end of its headers");
    char *name = NULL, *file = NULL;
    for (const char *line = part.data; line < end;) {
        const char *stop = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        size_t n = (size_t)(stop - line);
        if (n > 20 && strncasecmp(line, "Content-Disposition:", 20) == 0) {
            name = parameter(&x->arena, line + 20, n - 20, "name");
            file = parameter(&x->arena, line + 20, n - 20, "filename");
        }
        line = stop + 2;
    }
    tn_str content = {end + 4, part.len - (size_t)(end + 4 - part.data)};
    const char *key = name && !file ? setting(name, strlen(name)) : NULL;
    if (key) return set_value(u, key, content.data, content.len, err);
    return add_picture(u, file ? file : name, content, err);
}

static tern_status read_multipart(serve_upload *u, serve_exchange *x, tern_error *err) {
    const char *type = x->headers.content_type;
    char *boundary = parameter(&x->arena, type, strlen(type), "boundary");
    if (!boundary || !*boundary || strlen(boundary) > 70)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "multipart: the Content-Type has no usable boundary");
    tn_text mark;
    tn_text_init(&mark);
    tn_text_add(&mark, "\r\n--%s", boundary);
    char *m = mark.failed ? NULL : tn_arena_strndup(&x->arena, mark.data, mark.len);
    tn_text_release(&mark);
    if (!m) return tn_fail_oom(err, 0);
    size_t n = strlen(m);
    tn_str body = serve_body(x);
    const char *p = body.data, *end = p + body.len;
    /* The first one may stand at the very beginning, without a line before it. */
    if (body.len >= n - 2 && memcmp(p, m + 2, n - 2) == 0) {
        p += n - 2;
    } else {
        p = memmem(p, body.len, m, n);
        if (p) p += n;
    }
    while (p) {
        if (end - p >= 2 && p[0] == '-' && p[1] == '-') return TERN_OK;
        if (end - p < 2 || p[0] != '\r' || p[1] != '\n') break;
        p += 2;
        const char *next = memmem(p, (size_t)(end - p), m, n);
        if (!next) break;
        TN_TRY(take_part(u, x, (tn_str){p, (size_t)(next - p)}, err));
        p = next + n;
    }
    return tn_fail(err, TERN_INVALID_FORMAT, "multipart: the body does not end with its boundary");
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

static tern_status take_text(serve_upload *u, serve_exchange *x, serve_json *r, tern_error *err) {
    char *text;
    size_t len;
    if (!serve_json_string(r, &x->arena, &text, &len)) return err->status;
    const char *comma = strncmp(text, "data:", 5) == 0 ? strchr(text, ',') : NULL;
    if (comma) {
        len -= (size_t)(comma + 1 - text);
        text += comma + 1 - text;
    }
    tn_str bytes;
    TN_TRY(serve_base64(&x->arena, text, len, &bytes, err));
    return add_picture(u, NULL, bytes, err);
}

/* "<base64>" or {"b64": "<base64>"} */
static tern_status take_image(serve_upload *u, serve_exchange *x, serve_json *r, tern_error *err) {
    if (serve_json_peek(r) != '{') return take_text(u, x, r, err);
    tn_str key;
    bool first = true;
    serve_json_open(r, '{');
    while (serve_json_member(r, &first, &key)) {
        if (serve_key_is(key, "b64")) {
            TN_TRY(take_text(u, x, r, err));
        } else {
            serve_json_skip(r, NULL);
        }
    }
    return r->failed ? err->status : TERN_OK;
}

static tern_status read_json(serve_upload *u, serve_exchange *x, tern_error *err) {
    serve_json r;
    tn_str key, span;
    bool first = true;
    tn_str body = serve_body(x);
    serve_json_init(&r, body.data, body.len, err);
    serve_json_open(&r, '{');
    while (serve_json_member(&r, &first, &key)) {
        const char *name = setting(key.data, key.len);
        if (serve_key_is(key, "image")) {
            TN_TRY(take_image(u, x, &r, err));
        } else if (serve_key_is(key, "images")) {
            bool inner = true;
            u->list = true;
            serve_json_open(&r, '[');
            while (serve_json_element(&r, &inner)) TN_TRY(take_image(u, x, &r, err));
        } else if (serve_json_skip(&r, &span) && name) {
            TN_TRY(set_value(u, name, span.data, span.len, err));
        }
    }
    return serve_json_end(&r) ? TERN_OK : err->status;
}

tern_status serve_upload_read(serve_upload *u, serve_exchange *x, tern_error *err) {
    *u = (serve_upload){.conf = -1, .iou = -1};
    const char *type = x->headers.content_type ? x->headers.content_type : "";
    TN_TRY(read_query(u, x->query, err));
    if (strncasecmp(type, "multipart/form-data", 19) == 0) {
        TN_TRY(read_multipart(u, x, err));
        u->list = u->count > 1;
    } else if (strncasecmp(type, "application/json", 16) == 0) {
        TN_TRY(read_json(u, x, err));
    } else {
        TN_TRY(add_picture(u, NULL, serve_body(x), err));
    }
    if (u->count > 0) return TERN_OK;
    return tn_fail(err, TERN_INVALID_ARGUMENT, "there is no picture in the request");
}
