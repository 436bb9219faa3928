#include "ops/rowio.h"

#define LOAD(T) \
    for (int64_t i = 0; i < n; i++) dst[i] = ((const T *)data)[at + i]
#define STORE(T) \
    for (int64_t i = 0; i < n; i++) ((T *)data)[at + i] = (T)src[i]

void tn_row_load_f64(tern_dtype dtype, const void *data, int64_t at, int64_t n, double *dst) {
    switch (dtype) {
    case TERN_FLOAT:
        LOAD(float);
        break;
    case TERN_DOUBLE:
        LOAD(double);
        break;
    case TERN_FLOAT16:
        for (int64_t i = 0; i < n; i++) dst[i] = (double)tn_f16_to_f32(((const uint16_t *)data)[at + i]);
        break;
    case TERN_BFLOAT16:
        for (int64_t i = 0; i < n; i++) dst[i] = (double)tn_bf16_to_f32(((const uint16_t *)data)[at + i]);
        break;
    case TERN_INT8:
        LOAD(int8_t);
        break;
    case TERN_INT16:
        LOAD(int16_t);
        break;
    case TERN_UINT16:
        LOAD(uint16_t);
        break;
    case TERN_INT32:
        LOAD(int32_t);
        break;
    case TERN_UINT32:
        LOAD(uint32_t);
        break;
    case TERN_INT64:
        for (int64_t i = 0; i < n; i++) dst[i] = (double)((const int64_t *)data)[at + i];
        break;
    case TERN_UINT64:
        for (int64_t i = 0; i < n; i++) dst[i] = (double)((const uint64_t *)data)[at + i];
        break;
    default:
        LOAD(uint8_t);
        break;
    }
}

/* low and high are exact in double; high is the least power of two that does not fit. */
static int64_t clamp_i64(double v, double low, double high, int64_t max) {
    if (!(v == v)) return 0;
    if (v <= low) return (int64_t)low;
    return v >= high ? max : (int64_t)v;
}

static void store_int(tern_dtype dtype, void *data, int64_t i, double v) {
    switch (dtype) {
    case TERN_INT8:
        ((int8_t *)data)[i] = (int8_t)clamp_i64(v, -128, 128, INT8_MAX);
        break;
    case TERN_INT16:
        ((int16_t *)data)[i] = (int16_t)clamp_i64(v, -32768, 32768, INT16_MAX);
        break;
    case TERN_UINT16:
        ((uint16_t *)data)[i] = (uint16_t)clamp_i64(v, 0, 65536, UINT16_MAX);
        break;
    case TERN_INT32:
        ((int32_t *)data)[i] = (int32_t)clamp_i64(v, -2147483648.0, 2147483648.0, INT32_MAX);
        break;
    case TERN_UINT32:
        ((uint32_t *)data)[i] = (uint32_t)clamp_i64(v, 0, 4294967296.0, UINT32_MAX);
        break;
    case TERN_INT64:
        ((int64_t *)data)[i] = clamp_i64(v, -9223372036854775808.0, 9223372036854775808.0, INT64_MAX);
        break;
    case TERN_UINT64:
        ((uint64_t *)data)[i] = !(v > 0) ? 0 : v >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)v;
        break;
    default:
        ((uint8_t *)data)[i] = (uint8_t)clamp_i64(v, 0, 256, UINT8_MAX);
        break;
    }
}

void tn_row_store_f64(tern_dtype dtype, void *data, int64_t at, int64_t n, const double *src) {
    switch (dtype) {
    case TERN_FLOAT:
        STORE(float);
        break;
    case TERN_DOUBLE:
        STORE(double);
        break;
    case TERN_FLOAT16:
        for (int64_t i = 0; i < n; i++) ((uint16_t *)data)[at + i] = tn_f32_to_f16((float)src[i]);
        break;
    case TERN_BFLOAT16:
        for (int64_t i = 0; i < n; i++) ((uint16_t *)data)[at + i] = tn_f32_to_bf16((float)src[i]);
        break;
    default:
        for (int64_t i = 0; i < n; i++) store_int(dtype, data, at + i, src[i]);
        break;
    }
}

void tn_row_load_f32(tern_dtype dtype, const void *data, int64_t at, int64_t n, float *dst) {
    if (dtype == TERN_FLOAT)
        memcpy(dst, (const float *)data + at, (size_t)n * sizeof *dst);
    else if (dtype == TERN_FLOAT16)
        tn_f16_to_f32_n((const uint16_t *)data + at, dst, (size_t)n);
    else
        tn_bf16_to_f32_n((const uint16_t *)data + at, dst, (size_t)n);
}

void tn_row_store_f32(tern_dtype dtype, void *data, int64_t at, int64_t n, const float *src) {
    if (dtype == TERN_FLOAT)
        memcpy((float *)data + at, src, (size_t)n * sizeof *src);
    else if (dtype == TERN_FLOAT16)
        tn_f32_to_f16_n(src, (uint16_t *)data + at, (size_t)n);
    else
        tn_f32_to_bf16_n(src, (uint16_t *)data + at, (size_t)n);
}

void tn_row_load_i64(tern_dtype dtype, const void *data, int64_t at, int64_t n, int64_t *dst) {
    switch (dtype) {
    case TERN_INT8:
        LOAD(int8_t);
        break;
    case TERN_INT16:
        LOAD(int16_t);
        break;
    case TERN_UINT16:
        LOAD(uint16_t);
        break;
    case TERN_INT32:
        LOAD(int32_t);
        break;
    case TERN_UINT32:
        LOAD(uint32_t);
        break;
    case TERN_INT64:
    case TERN_UINT64:
        LOAD(int64_t);
        break;
    default:
        LOAD(uint8_t);
        break;
    }
}

void tn_row_store_i64(tern_dtype dtype, void *data, int64_t at, int64_t n, const int64_t *src) {
    switch (dtype) {
    case TERN_INT8:
        STORE(int8_t);
        break;
    case TERN_INT16:
        STORE(int16_t);
        break;
    case TERN_UINT16:
        STORE(uint16_t);
        break;
    case TERN_INT32:
        STORE(int32_t);
        break;
    case TERN_UINT32:
        STORE(uint32_t);
        break;
    case TERN_INT64:
    case TERN_UINT64:
        STORE(int64_t);
        break;
    default:
        STORE(uint8_t);
        break;
    }
}
