/* A JSON reader (RFC 8259) that hands out values one after the other and builds nothing: requests are read from the
 * bytes that came in, tensors straight into their memory.
 *
 *   serve_json r; tn_str key; bool first = true;
 *   serve_json_init(&r, data, size, &err);
 *   serve_json_open(&r, '{');
 *   while (serve_json_member(&r, &first, &key))
 *       if (serve_key_is(key, "id")) serve_json_string(&r, &arena, &id); else serve_json_skip(&r);
 *   serve_json_end(&r);
 *   if (r.failed) ...   err says what, and at which byte
 *
 * The first failure sticks: every function does nothing and returns false after it. */
#ifndef SERVE_JSON_READ_H
#define SERVE_JSON_READ_H

#include "base/base.h"
#include "tern/tensor.h"

/* Brackets inside brackets. */
#define SERVE_JSON_DEPTH 64

typedef struct serve_json {
    const char *begin, *p, *end;
    int depth;
    bool failed;
    tern_error *err;
    char key[64]; /* of a member whose name has escapes */
} serve_json;

void serve_json_init(serve_json *r, const char *data, size_t size, tern_error *err);
/* Notes a failure at the present place, with the number of the byte; returns false. */
bool serve_json_fail(serve_json *r, const char *format, ...) TN_PRINTF(2, 3);
/* The first character of the next value, after blanks; 0 at the end or after a failure. */
char serve_json_peek(serve_json *r);
/* '{' or '['. */
bool serve_json_open(serve_json *r, char bracket);
/* The next member's name of an object, or the next element of an array; false at the closing bracket, which is read.
 * *first is true before the first call. A key is valid until the next call. */
bool serve_json_member(serve_json *r, bool *first, tn_str *key);
bool serve_json_element(serve_json *r, bool *first);
/* Nothing but blanks may be left. */
bool serve_json_end(serve_json *r);

/* A string, decoded into the arena and terminated; NUL inside is refused when `text` is wanted (len NULL). */
bool serve_json_string(serve_json *r, tn_arena *arena, char **out, size_t *len);
bool serve_json_bool(serve_json *r, bool *out);
bool serve_json_i64(serve_json *r, int64_t *out);
/* A value of any type, checked and passed over. *span: where it was; may be NULL. */
bool serve_json_skip(serve_json *r, tn_str *span);

/* The elements of `tensor`: a flat list, or lists nested as its shape says. Numbers must fit the type; bool is true,
 * false, 0 or 1; strings of a string tensor are copied into it. `name` is for messages. */
bool serve_json_tensor(serve_json *r, tern_tensor *tensor, const char *name);

TN_INLINE bool serve_key_is(tn_str key, const char *name) { return tn_str_eq(key, tn_str_c(name)); }

#endif
