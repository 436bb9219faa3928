/* L2: the protobuf wire format, read in place and written. Knows nothing of any message type. */
#ifndef TN_PROTO_H
#define TN_PROTO_H

#include "base/base.h"

/* ---- reading ----------------------------------------------------------------------------------------------- */

typedef enum tn_pb_wire { TN_PB_VARINT = 0, TN_PB_FIXED64 = 1, TN_PB_BYTES = 2, TN_PB_FIXED32 = 5 } tn_pb_wire;

/* One field of a message. */
typedef struct tn_pb_field {
    uint32_t number; /* >= 1 */
    tn_pb_wire wire;
    uint64_t value; /* varint and fixed forms */
    tn_str bytes;   /* TN_PB_BYTES: points into the message */
} tn_pb_field;

/* A cursor over one message. Copies are independent cursors: passes over the same message start from a copy. */
typedef struct tn_pb {
    const uint8_t *at, *end;
    const uint8_t *damage; /* where reading failed; NULL: it did not */
} tn_pb;

tn_pb tn_pb_open(tn_str message);
/* The next field; false at the end and on damage: look at tn_pb_check afterwards. Groups, field number 0 and whatever
 * leaves the message are damage. */
bool tn_pb_next(tn_pb *r, tn_pb_field *field);
/* Fails when reading stopped because of damage. `what` is the message's name for the error text; `start` is where the
 * whole input begins, for the position. */
tern_status tn_pb_check(const tn_pb *r, const void *start, const char *what, tern_error *err);

/* Elements of a repeated number, which may be spread over several fields, each packed or not. One field gives: the
 * number of its elements, false when it is damaged or of a wrong wire type. */
bool tn_pb_count(const tn_pb_field *field, tn_pb_wire element, size_t *count);
/* Stores them; dst has room for tn_pb_count of them. Call it only after tn_pb_count said true. */
void tn_pb_get_i64(const tn_pb_field *field, int64_t *dst); /* element TN_PB_VARINT */
void tn_pb_get_i32(const tn_pb_field *field, int32_t *dst); /* element TN_PB_VARINT, truncated as protobuf does */
void tn_pb_get_f32(const tn_pb_field *field, float *dst);   /* element TN_PB_FIXED32 */
void tn_pb_get_f64(const tn_pb_field *field, double *dst);  /* element TN_PB_FIXED64 */

float tn_pb_float(const tn_pb_field *field); /* TN_PB_FIXED32 */

/* ---- writing ----------------------------------------------------------------------------------------------- */

/* Growing message. `failed` is sticky: check it once at the end. Zero-initialised is empty. */
typedef struct tn_pb_writer {
    uint8_t *data;
    size_t len, cap;
    bool failed;
} tn_pb_writer;

void tn_pb_release(tn_pb_writer *w);
void tn_pb_put_varint(tn_pb_writer *w, uint32_t number, uint64_t value);
void tn_pb_put_float(tn_pb_writer *w, uint32_t number, float value);
void tn_pb_put_bytes(tn_pb_writer *w, uint32_t number, const void *data, size_t len);
void tn_pb_put_string(tn_pb_writer *w, uint32_t number, const char *s);
/* Packed forms; nothing is written when count is 0. */
void tn_pb_put_packed_i64(tn_pb_writer *w, uint32_t number, const int64_t *values, size_t count);
void tn_pb_put_packed_f32(tn_pb_writer *w, uint32_t number, const float *values, size_t count);
void tn_pb_put_packed_f64(tn_pb_writer *w, uint32_t number, const double *values, size_t count);
/* A bytes field of `len` bytes that the caller fills; NULL when there is no memory (and `failed` is set). */
uint8_t *tn_pb_put_space(tn_pb_writer *w, uint32_t number, size_t len);

/* A nested message: everything written between begin and end. The mark is begin's result. */
size_t tn_pb_begin(tn_pb_writer *w, uint32_t number);
void tn_pb_end(tn_pb_writer *w, size_t mark);

#endif
