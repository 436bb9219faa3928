/* Protocol buffers' text format (protobuf.dev/reference/protobuf/textformat-spec), as far as configurations use it. */
#include <stdlib.h>

#include "serve/config.h"

#define MAX_DEPTH 32

typedef struct reader {
    const char *p, *end;
    int line;
    tern_error *err;
} reader;

static tern_status bad(const reader *r, const char *what) {
    return tn_fail(r->err, TERN_INVALID_FORMAT, "line %d: %s", r->line, what);
}

static char peek(reader *r) {
    while (r->p < r->end) {
        if (*r->p == '#') {
            while (r->p < r->end && *r->p != '\n') r->p++;
        } else if (*r->p == '\n') {
            r->line++;
            r->p++;
        } else if (*r->p == ' ' || *r->p == '\t' || *r->p == '\r') {
            r->p++;
        } else {
            return *r->p;
        }
    }
    return 0;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static tn_str take_word(reader *r) {
    const char *begin = r->p;
    while (r->p < r->end && is_word(*r->p)) r->p++;
    return (tn_str){begin, (size_t)(r->p - begin)};
}

static tern_status take_string(reader *r, tn_text *out) {
    static const char from[] = "ntr\\\"'", into[] = "\n\t\r\\\"'";
    for (char quote = peek(r); quote == '"' || quote == '\''; quote = peek(r)) {
        r->p++;
        while (r->p < r->end && *r->p != quote) {
            char c = *r->p++;
            if (c == '\n') return bad(r, "a string without an end");
            if (c == '\\' && r->p < r->end) {
                const char *at = strchr(from, *r->p);
                if (!at || !*at) return bad(r, "an escape that is not understood");
                c = into[at - from];
                r->p++;
            }
            tn_text_add_str(out, &c, 1);
        }
        if (r->p >= r->end) return bad(r, "a string without an end");
        r->p++;
    }
    return out->failed ? tn_fail_oom(r->err, out->len) : TERN_OK;
}

static tern_status take_fields(reader *r, cJSON *into, char close, int depth);

static tern_status take_number_or_word(reader *r, cJSON **out) {
    bool negative = *r->p == '-';
    if (negative) r->p++;
    tn_str word = take_word(r);
    char text[64];
    if (word.len == 0 || word.len >= sizeof text) return bad(r, "a value is missing");
    memcpy(text, word.data, word.len);
    text[word.len] = '\0';
    char *end;
    double number = strtod(text, &end);
    if (*end == '\0' || strcmp(end, "f") == 0) {
        *out = cJSON_CreateNumber(negative ? -number : number);
    } else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *out = cJSON_CreateBool(*text == 't');
    } else {
        *out = cJSON_CreateString(text);
    }
    return *out ? TERN_OK : tn_fail_oom(r->err, 0);
}

static tern_status take_value(reader *r, cJSON **out, int depth) {
    char c = peek(r);
    *out = NULL;
    if (depth > MAX_DEPTH) return bad(r, "too many levels of brackets");
    if (c == '{' || c == '<') {
        r->p++;
        *out = cJSON_CreateObject();
        return *out ? take_fields(r, *out, c == '{' ? '}' : '>', depth + 1) : tn_fail_oom(r->err, 0);
    }
    if (c == '"' || c == '\'') {
        tn_text text;
        tn_text_init(&text);
        tern_status status = take_string(r, &text);
        if (status == TERN_OK && !(*out = cJSON_CreateString(text.data))) status = tn_fail_oom(r->err, text.len);
        tn_text_release(&text);
        return status;
    }
    if (c != '[') return c ? take_number_or_word(r, out) : bad(r, "a value is missing");
    r->p++;
    *out = cJSON_CreateArray();
    while (*out && peek(r) != ']') {
        cJSON *item;
        tern_status status = take_value(r, &item, depth + 1);
        if (item) cJSON_AddItemToArray(*out, item);
        if (status != TERN_OK) return status;
        if (peek(r) == ',') {
            r->p++;
        } else if (peek(r) != ']') {
            return bad(r, "',' or ']' wanted in a list");
        }
    }
    r->p++;
    return *out ? TERN_OK : tn_fail_oom(r->err, 0);
}

/* A second value makes a list of the first one. */
static tern_status add_field(const reader *r, cJSON *into, const char *name, cJSON *value) {
    cJSON *old = cJSON_GetObjectItemCaseSensitive(into, name);
    if (!old) return cJSON_AddItemToObject(into, name, value) ? TERN_OK : tn_fail_oom(r->err, 0);
    if (!cJSON_IsArray(old)) {
        cJSON *list = cJSON_CreateArray();
        old = cJSON_DetachItemViaPointer(into, old);
        if (!list || !cJSON_AddItemToArray(list, old) || !cJSON_AddItemToObject(into, name, list)) {
            cJSON_Delete(value);
            return tn_fail_oom(r->err, 0);
        }
        old = list;
    }
    if (!cJSON_IsArray(value)) return cJSON_AddItemToArray(old, value) ? TERN_OK : tn_fail_oom(r->err, 0);
    while (cJSON_GetArraySize(value) > 0) cJSON_AddItemToArray(old, cJSON_DetachItemFromArray(value, 0));
    cJSON_Delete(value);
    return TERN_OK;
}

static tern_status take_fields(reader *r, cJSON *into, char close, int depth) {
    for (;;) {
        char c = peek(r);
        if (c == close && (close || r->p == r->end)) {
            if (close) r->p++;
            return TERN_OK;
        }
        tn_str word = take_word(r);
        char name[80];
        if (word.len == 0 || word.len >= sizeof name) return bad(r, "the name of a field wanted");
        memcpy(name, word.data, word.len);
        name[word.len] = '\0';
        c = peek(r);
        if (c == ':') {
            r->p++;
        } else if (c != '{' && c != '<' && c != '[') {
            return bad(r, "':' or '{' wanted after the name of a field");
        }
        cJSON *value;
        tern_status status = take_value(r, &value, depth);
        if (status != TERN_OK) {
            cJSON_Delete(value);
            return status;
        }
        TN_TRY(add_field(r, into, name, value));
        if (peek(r) == ',' || peek(r) == ';') r->p++;
    }
}

tern_status serve_pbtxt_parse(cJSON **out, const char *text, size_t size, tern_error *err) {
    reader r = {text, text + size, 1, err};
    *out = cJSON_CreateObject();
    if (!*out) return tn_fail_oom(err, 0);
    tern_status status = take_fields(&r, *out, 0, 0);
    if (status == TERN_OK) return TERN_OK;
    cJSON_Delete(*out);
    *out = NULL;
    return status;
}
