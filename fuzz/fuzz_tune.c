/* Any bytes, taken for a file of tuning results, with the heading that its first line has or with another: a table that
 * prints and reads back, or an error and nothing. */
#include "kernels/tune.h"

#include <stdio.h>
#include <stdlib.h>

static void check(tn_str file, const char *heading) {
    tn_tune_table t = {0}, back = {0};
    tn_text text;
    tern_error err;
    if (tn_tune_table_parse(&t, heading, file, &err) != TERN_OK) {
        if (t.count || !err.text[0]) abort();
        return;
    }
    tn_text_init(&text);
    tn_tune_table_print(&t, heading, &text);
    if (tn_tune_table_parse(&back, heading, (tn_str){text.data, text.len}, &err) != TERN_OK) abort();
    if (back.count != t.count) abort();
    tn_text_release(&text);
    tn_tune_table_release(&t);
    tn_tune_table_release(&back);
}

/* The checksum is made right, so that the lines are looked at. */
static void with_checksum(tn_str lines) {
    char end[64];
    size_t count = 0;
    for (size_t i = 0; i < lines.len; i++) count += lines.data[i] == '\n';
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "tern tune 1\n");
    tn_text_add_str(&text, lines.data, lines.len);
    int n = snprintf(end, sizeof end, "end %zu %016llx\n", count, (unsigned long long)tn_hash(text.data, text.len, 0));
    tn_text_add_str(&text, end, (size_t)n);
    check((tn_str){text.data, text.len}, "tern tune 1");
    tn_text_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    tn_str file = {(const char *)data, size};
    const char *newline = size ? memchr(data, '\n', size) : NULL;
    char *first = tn_strndup(file.data, newline ? (size_t)(newline - file.data) : 0);
    if (first) check(file, first);
    check(file, "tern tune 1");
    with_checksum(file);
    tn_free(first);
    if (tn_alloc_live() != live) abort();
    return 0;
}
