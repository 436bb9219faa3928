#include "vision/classify/labels.h"

#include <cjson/cJSON.h>

#include "base/base.h"

#define MAX_LABELS (1 << 20)

void tern_labels_release(tern_labels *labels) {
    for (size_t i = 0; i < labels->count; i++) tn_free(labels->names[i]);
    tn_free(labels->names);
    *labels = (tern_labels){0};
}

const char *tern_labels_get(const tern_labels *labels, size_t index) {
    return index < labels->count ? labels->names[index] : NULL;
}

static tern_status add(tern_labels *labels, size_t *cap, const char *text, size_t len, tern_error *err) {
    if (labels->count >= MAX_LABELS) return tn_fail(err, TERN_LIMIT_EXCEEDED, "more than %d labels", MAX_LABELS);
    char *name = tn_strndup(text, len);
    if (!name || !tn_grow(&labels->names, cap, labels->count + 1, sizeof *labels->names)) {
        tn_free(name);
        return tn_fail_oom(err, len + 1);
    }
    labels->names[labels->count++] = name;
    return TERN_OK;
}

static tern_status parse_json_list(tern_labels *out, const cJSON *list, tern_error *err) {
    size_t cap = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item)) return tn_fail(err, TERN_INVALID_FORMAT, "label %zu is not a string", out->count);
        TN_TRY(add(out, &cap, item->valuestring, strlen(item->valuestring), err));
    }
    return TERN_OK;
}

/* ---- {0: 'person', 1: "bicycle"} --------------------------------------------------------------------------- */

typedef struct cursor {
    const char *p, *end;
} cursor;

static void skip_blanks(cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || (*c->p >= '\t' && *c->p <= '\r'))) c->p++;
}

static bool take(cursor *c, char letter) {
    skip_blanks(c);
    if (c->p >= c->end || *c->p != letter) return false;
    c->p++;
    return true;
}

static bool take_number(cursor *c, size_t *out) {
    bool quoted = take(c, '"');
    skip_blanks(c);
    size_t value = 0;
    const char *start = c->p;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (value > MAX_LABELS) return false;
        value = value * 10 + (size_t)(*c->p - '0');
    }
    *out = value;
    return c->p > start && (!quoted || take(c, '"'));
}

/* A quoted string; a backslash takes the next character as it is. */
static bool take_string(cursor *c, tn_text *out) {
    skip_blanks(c);
    if (c->p >= c->end || (*c->p != '\'' && *c->p != '"')) return false;
    char quote = *c->p++;
    while (c->p < c->end && *c->p != quote) {
        if (*c->p == '\\' && c->p + 1 < c->end) c->p++;
        tn_text_add_str(out, c->p++, 1);
    }
    return c->p < c->end && *c->p++ == quote;
}

/* The keys must be 0, 1, 2, ... in order, which is how every exporter writes them. */
static tern_status parse_dictionary(tern_labels *out, cursor c, tern_error *err) {
    size_t cap = 0;
    take(&c, '{');
    while (!take(&c, '}')) {
        size_t key;
        tn_text name;
        tn_text_init(&name);
        bool good =
            take_number(&c, &key) && key == out->count && take(&c, ':') && take_string(&c, &name) && !name.failed;
        tern_status status =
            good ? add(out, &cap, name.data ? name.data : "", name.len, err)
                 : tn_fail(err, TERN_INVALID_FORMAT, "the dictionary of labels is damaged at label %zu", out->count);
        tn_text_release(&name);
        TN_TRY(status);
        if (!take(&c, ',') && (c.p >= c.end || *c.p != '}')) {
            return tn_fail(err, TERN_INVALID_FORMAT, "the dictionary of labels is damaged after label %zu",
                           out->count - 1);
        }
    }
    return TERN_OK;
}

static tern_status parse_lines(tern_labels *out, const char *text, size_t len, tern_error *err) {
    size_t cap = 0;
    for (size_t at = 0; at < len;) {
        const char *line = text + at;
        const char *stop = memchr(line, '\n', len - at);
        size_t n = stop ? (size_t)(stop - line) : len - at;
        at += n + 1;
        if (n > 0 && line[n - 1] == '\r') n--;
        if (memchr(line, '\0', n))
            return tn_fail(err, TERN_INVALID_FORMAT, "label %zu has a zero byte: not a text file", out->count);
        TN_TRY(add(out, &cap, line, n, err));
    }
    return TERN_OK;
}

static tern_status parse_any(tern_labels *out, const char *text, size_t len, tern_error *err) {
    cursor c = {text, text + len};
    skip_blanks(&c);
    if (c.p < c.end && *c.p == '{') return parse_dictionary(out, c, err);
    cJSON *root = c.p < c.end && *c.p == '[' ? cJSON_ParseWithLength(text, len) : NULL;
    tern_status status = cJSON_IsArray(root) ? parse_json_list(out, root, err) : parse_lines(out, text, len, err);
    cJSON_Delete(root);
    return status;
}

tern_status tern_labels_parse(tern_labels *out, const char *text, size_t len, tern_error *err) {
    *out = (tern_labels){0};
    tern_status status = parse_any(out, text, len, err);
    if (status == TERN_OK && out->count == 0) status = tn_fail(err, TERN_INVALID_FORMAT, "there are no labels in it");
    if (status != TERN_OK) tern_labels_release(out);
    return status;
}

tern_status tern_labels_load(tern_labels *out, const char *path, tern_error *err) {
    *out = (tern_labels){0};
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    tern_status status = tern_labels_parse(out, (const char *)file.data, file.size, err);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

tern_status tern_labels_metadata(tern_labels *out, const tern_model *model, tern_error *err) {
    static const char *const keys[] = {"tern.labels", "names", "labels"};
    *out = (tern_labels){0};
    for (size_t i = 0; i < TN_COUNT(keys); i++) {
        const char *text = tern_model_metadata(model, keys[i]);
        if (!text) continue;
        tern_status status = tern_labels_parse(out, text, strlen(text), err);
        if (status != TERN_OK) tn_error_prefix(err, "metadata \"%s\": ", keys[i]);
        return status;
    }
    return TERN_OK;
}
