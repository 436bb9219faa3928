/* What tuning found, and its file. */
#include <inttypes.h>
#include <stdio.h>

#include "kernels/tune.h"

enum { MAX_WORD = 300, MAX_ENTRIES = 100000, MAX_FILE = 32 << 20 };

void tn_tune_table_release(tn_tune_table *t) {
    for (size_t i = 0; i < t->count; i++) {
        tn_free(t->entries[i].key);
        tn_free(t->entries[i].algo);
    }
    tn_free(t->entries);
    tn_map_release(&t->map);
    *t = (tn_tune_table){0};
}

static tn_tune_entry *find(const tn_tune_table *t, tn_str key) {
    size_t found = (size_t)(uintptr_t)tn_map_get(&t->map, key);
    return found ? &t->entries[found - 1] : NULL;
}

const char *tn_tune_table_get(const tn_tune_table *t, const char *key) {
    const tn_tune_entry *e = find(t, tn_str_c(key));
    return e ? e->algo : NULL;
}

/* Text that a line can hold; only a key may have blanks. */
static bool is_good(tn_str s, bool blanks) {
    if (s.len == 0 || s.len > MAX_WORD) return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < (blanks ? 32 : 33) || s.data[i] > 126) return false;
    return true;
}

static bool put(tn_tune_table *t, tn_str key, tn_str algo) {
    if (!is_good(key, true) || !is_good(algo, false)) return false;
    tn_tune_entry *old = find(t, key), new = {NULL, tn_strndup(algo.data, algo.len)};
    if (!new.algo) return false;
    if (old) {
        tn_free(old->algo);
        old->algo = new.algo;
        return true;
    }
    new.key = tn_strndup(key.data, key.len);
    bool good = new.key && t->count < MAX_ENTRIES &&tn_grow(&t->entries, &t->cap, t->count + 1, sizeof new) &&
                tn_map_put(&t->map, tn_str_c(new.key), (void *)(uintptr_t)(t->count + 1));
    if (!good) {
        tn_free(new.key);
        tn_free(new.algo);
        return false;
    }
    t->entries[t->count++] = new;
    return true;
}

bool tn_tune_table_put(tn_tune_table *t, const char *key, const char *algo) {
    return put(t, tn_str_c(key), tn_str_c(algo));
}

static bool starts_with(tn_str s, const char *with) {
    size_t n = strlen(with);
    return s.len >= n && memcmp(s.data, with, n) == 0;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* The last line of a file whose other lines are `body`. */
static void print_end(size_t count, tn_str body, char *line, size_t size) {
    snprintf(line, size, "end %zu %016" PRIx64 "\n", count, tn_hash(body.data, body.len, 0));
}

void tn_tune_table_print(const tn_tune_table *t, const char *heading, tn_text *out) {
    char end[64];
    tn_text_add(out, "%s\n", heading);
    for (size_t i = 0; i < t->count; i++) tn_text_add(out, "%s %s\n", t->entries[i].key, t->entries[i].algo);
    print_end(t->count, (tn_str){out->data, out->failed ? 0 : out->len}, end, sizeof end);
    tn_text_add(out, "%s", end);
}

/* The next line, without its newline, which must be there. */
static bool next_line(tn_str *rest, tn_str *line) {
    const char *newline = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    if (!newline) return false;
    *line = (tn_str){rest->data, (size_t)(newline - rest->data)};
    rest->data = newline + 1;
    rest->len -= line->len + 1;
    return true;
}

static bool parse_line(tn_tune_table *t, tn_str line) {
    size_t at = line.len;
    while (at > 0 && line.data[at - 1] != ' ') at--;
    return at > 1 && put(t, (tn_str){line.data, at - 1}, (tn_str){line.data + at, line.len - at});
}

static tern_status parse_lines(tn_tune_table *t, const char *heading, tn_str file, tern_error *err) {
    static const char damaged[] = "it is damaged", ours[] = "tern tune ", end_word[] = "end ";
    tn_str rest = file, line;
    if (file.len > MAX_FILE || !next_line(&rest, &line)) return tn_fail(err, TERN_INVALID_FORMAT, "%s", damaged);
    if (!tn_str_eq(line, tn_str_c(heading)))
        return tn_fail(err, TERN_INVALID_FORMAT, "%s",
                       starts_with(line, ours) ? "it is of another version or another CPU" : "it is no such file");
    while (!starts_with(rest, end_word))
        if (!next_line(&rest, &line) || !parse_line(t, line)) return tn_fail(err, TERN_INVALID_FORMAT, "%s", damaged);
    char end[64];
    print_end(t->count, (tn_str){file.data, file.len - rest.len}, end, sizeof end);
    return tn_str_eq(rest, tn_str_c(end)) ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "%s", damaged);
}

tern_status tn_tune_table_parse(tn_tune_table *t, const char *heading, tn_str file, tern_error *err) {
    tn_tune_table read = {0};
    tern_status status = parse_lines(&read, heading, file, err);
    for (size_t i = 0; status == TERN_OK && i < read.count; i++)
        if (!tn_tune_table_put(t, read.entries[i].key, read.entries[i].algo)) status = tn_fail_oom(err, MAX_WORD);
    tn_tune_table_release(&read);
    return status;
}
