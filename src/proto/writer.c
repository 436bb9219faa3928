#include "proto/proto.h"

static uint8_t *extend(tn_pb_writer *w, size_t bytes) {
    size_t need;
    if (w->failed || !tn_add_size(w->len, bytes, &need) || !tn_grow(&w->data, &w->cap, need, 1)) {
        w->failed = true;
        return NULL;
    }
    uint8_t *at = w->data + w->len;
    w->len = need;
    return at;
}

static size_t varint_size(uint64_t value) {
    size_t n = 1;
    while (value >>= 7) n++;
    return n;
}

static uint8_t *store_varint(uint8_t *p, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

static void put_raw_varint(tn_pb_writer *w, uint64_t value) {
    uint8_t *p = extend(w, varint_size(value));
    if (p) store_varint(p, value);
}

static void put_key(tn_pb_writer *w, uint32_t number, tn_pb_wire wire) {
    put_raw_varint(w, (uint64_t)number << 3 | (uint64_t)wire);
}

void tn_pb_release(tn_pb_writer *w) {
    tn_free(w->data);
    *w = (tn_pb_writer){0};
}

void tn_pb_put_varint(tn_pb_writer *w, uint32_t number, uint64_t value) {
    put_key(w, number, TN_PB_VARINT);
    put_raw_varint(w, value);
}

void tn_pb_put_float(tn_pb_writer *w, uint32_t number, float value) {
    put_key(w, number, TN_PB_FIXED32);
    uint8_t *p = extend(w, 4);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; p && i < 4; i++) p[i] = (uint8_t)(bits >> (8 * i));
}

uint8_t *tn_pb_put_space(tn_pb_writer *w, uint32_t number, size_t len) {
    put_key(w, number, TN_PB_BYTES);
    put_raw_varint(w, len);
    return extend(w, len);
}

void tn_pb_put_bytes(tn_pb_writer *w, uint32_t number, const void *data, size_t len) {
    uint8_t *p = tn_pb_put_space(w, number, len);
    if (p && len) memcpy(p, data, len);
}

void tn_pb_put_string(tn_pb_writer *w, uint32_t number, const char *s) { tn_pb_put_bytes(w, number, s, strlen(s)); }

void tn_pb_put_packed_i64(tn_pb_writer *w, uint32_t number, const int64_t *values, size_t count) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++) len += varint_size((uint64_t)values[i]);
    if (!count) return;
    uint8_t *p = tn_pb_put_space(w, number, len);
    for (size_t i = 0; p && i < count; i++) p = store_varint(p, (uint64_t)values[i]);
}

void tn_pb_put_packed_f32(tn_pb_writer *w, uint32_t number, const float *values, size_t count) {
    if (count) tn_pb_put_bytes(w, number, values, count * sizeof *values);
}

void tn_pb_put_packed_f64(tn_pb_writer *w, uint32_t number, const double *values, size_t count) {
    if (count) tn_pb_put_bytes(w, number, values, count * sizeof *values);
}

size_t tn_pb_begin(tn_pb_writer *w, uint32_t number) {
    put_key(w, number, TN_PB_BYTES);
    return w->len;
}

/* The length goes in front of what was written: it is not known before. Large tensors are best put by tn_pb_put_bytes
 * into a message whose siblings are small, as each level moves its content once. */
void tn_pb_end(tn_pb_writer *w, size_t mark) {
    if (w->failed) return;
    size_t len = w->len - mark, head = varint_size(len);
    if (!extend(w, head)) return;
    memmove(w->data + mark + head, w->data + mark, len);
    store_varint(w->data + mark, len);
}
