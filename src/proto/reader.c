#include "proto/proto.h"

#include <inttypes.h>

#define VARINT_MAX_BYTES 10

tn_pb tn_pb_open(tn_str message) {
    const uint8_t *data = (const uint8_t *)(message.len ? message.data : ""); // NULL is no place to count from
    return (tn_pb){data, data + message.len, NULL};
}

/* False when it is longer than ten bytes or not complete. */
static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *out) {
    const uint8_t *p = *at;
    uint64_t value = 0;
    for (int i = 0; i < VARINT_MAX_BYTES; i++) {
        if (p == end) return false;
        uint8_t byte = *p++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *at = p;
            *out = value;
            return true;
        }
    }
    return false;
}

static uint64_t read_little(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static bool read_field(const uint8_t **at, const uint8_t *end, tn_pb_field *field) {
    uint64_t key, len;
    if (!read_varint(at, end, &key)) return false;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) return false;
    *field = (tn_pb_field){.number = (uint32_t)(key >> 3), .wire = (tn_pb_wire)(key & 7)};
    switch (field->wire) {
    case TN_PB_VARINT:
        return read_varint(at, end, &field->value);
    case TN_PB_FIXED64:
    case TN_PB_FIXED32:
        len = field->wire == TN_PB_FIXED64 ? 8 : 4;
        if ((uint64_t)(end - *at) < len) return false;
        field->value = read_little(*at, (int)len);
        *at += len;
        return true;
    case TN_PB_BYTES:
        if (!read_varint(at, end, &len) || (uint64_t)(end - *at) < len) return false;
        field->bytes = (tn_str){(const char *)*at, (size_t)len};
        *at += len;
        return true;
    }
    return false;
}

bool tn_pb_next(tn_pb *r, tn_pb_field *field) {
    if (r->at == r->end || r->damage) return false;
    const uint8_t *at = r->at;
    if (read_field(&at, r->end, field)) {
        r->at = at;
        return true;
    }
    r->damage = r->at;
    return false;
}

tern_status tn_pb_check(const tn_pb *r, const void *start, const char *what, tern_error *err) {
    if (!r->damage) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "damaged %s at byte %" PRIu64 ": not a protobuf field, or cut short", what,
                   (uint64_t)((uintptr_t)r->damage - (uintptr_t)start));
}

bool tn_pb_count(const tn_pb_field *field, tn_pb_wire element, size_t *count) {
    *count = 1;
    if (field->wire == element) return true;
    if (field->wire != TN_PB_BYTES) return false;
    size_t len = field->bytes.len;
    if (element != TN_PB_VARINT) {
        size_t size = element == TN_PB_FIXED64 ? 8 : 4;
        *count = len / size;
        return len % size == 0;
    }
    // A varint ends at each byte without the top bit; none may be longer than ten bytes.
    const uint8_t *p = (const uint8_t *)field->bytes.data;
    size_t n = 0, run = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] & 0x80) {
            if (++run == VARINT_MAX_BYTES) return false;
        } else {
            run = 0;
            n++;
        }
    }
    *count = n;
    return run == 0;
}

/* DST(value) for each element of a field that holds varints. */
#define EACH_VARINT(field, STORE)                                                                 \
    do {                                                                                          \
        uint64_t value = (field)->value;                                                          \
        if ((field)->wire != TN_PB_BYTES) {                                                       \
            STORE;                                                                                \
            break;                                                                                \
        }                                                                                         \
        const uint8_t *at = (const uint8_t *)(field)->bytes.data, *end = at + (field)->bytes.len; \
        while (at != end && read_varint(&at, end, &value)) STORE;                                 \
    } while (0)

void tn_pb_get_i64(const tn_pb_field *field, int64_t *dst) { EACH_VARINT(field, *dst++ = (int64_t)value); }

void tn_pb_get_i32(const tn_pb_field *field, int32_t *dst) { EACH_VARINT(field, *dst++ = (int32_t)value); }

float tn_pb_float(const tn_pb_field *field) {
    uint32_t bits = (uint32_t)field->value;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void tn_pb_get_f32(const tn_pb_field *field, float *dst) {
    if (field->wire == TN_PB_BYTES) {
        if (field->bytes.len) memcpy(dst, field->bytes.data, field->bytes.len);
    } else {
        *dst = tn_pb_float(field);
    }
}

void tn_pb_get_f64(const tn_pb_field *field, double *dst) {
    if (field->wire == TN_PB_BYTES) {
        if (field->bytes.len) memcpy(dst, field->bytes.data, field->bytes.len);
    } else {
        memcpy(dst, &field->value, sizeof *dst);
    }
}
