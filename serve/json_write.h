/* JSON into a growing text. Commas are put where they belong; `key` is NULL for elements of a list. A lack of memory
 * sticks in the text (`failed`). */
#ifndef SERVE_JSON_WRITE_H
#define SERVE_JSON_WRITE_H

#include "base/base.h"
#include "tern/tensor.h"

void serve_put_open(tn_text *t, const char *key, char bracket);
void serve_put_close(tn_text *t, char bracket);
/* Bytes that are not UTF-8 become U+FFFD; NULL is null. */
void serve_put_string(tn_text *t, const char *key, const char *value);
void serve_put_bytes(tn_text *t, const char *key, const char *value, size_t len);
void serve_put_i64(tn_text *t, const char *key, int64_t value);
void serve_put_u64(tn_text *t, const char *key, uint64_t value);
/* Infinities and NaN are null. */
void serve_put_f32(tn_text *t, const char *key, float value);
/* With that many digits after the point. */
void serve_put_fixed(tn_text *t, const char *key, double value, int digits);
void serve_put_bool(tn_text *t, const char *key, bool value);
void serve_put_dims(tn_text *t, const char *key, const int64_t *dims, int rank);

/* All elements as one flat list. TERN_UNSUPPORTED for what JSON can not hold: NaN and infinities, half precision, bytes
 * that are no UTF-8; `name` is for that message. */
tern_status serve_put_tensor(tn_text *t, const char *key, const tern_tensor *tensor, const char *name, tern_error *err);

#endif
