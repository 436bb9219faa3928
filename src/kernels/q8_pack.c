#include "kernels/q8_internal.h"

size_t q8_panels_at(int64_t channels) {
    return (size_t)tn_round_up((int64_t)sizeof(q8_header) + channels * 2 * (int64_t)sizeof(int32_t), 64);
}

q8_packed q8_open(const void *packed, int64_t channels) {
    const char *p = packed;
    const int32_t *sums = (const int32_t *)(p + sizeof(q8_header));
    return (q8_packed){packed, sums, sums + channels, p + q8_panels_at(channels)};
}

static int32_t weight_at(const void *w, bool is_signed, int64_t i) {
    return is_signed ? ((const int8_t *)w)[i] : ((const uint8_t *)w)[i];
}

/* Where lane `lane` of a panel of `width` channels has byte e of quad q, in elements: q * quad + e[...]. Words: the
 * even elements of all lanes of a vector, then the odd ones. */
typedef struct lane_place {
    int64_t quad, e[4];
} lane_place;

static lane_place place_of(const tn_q8_kernels *q, int64_t width, int64_t lane) {
    int64_t w = q->base->width, vector = lane / w * w * 4;
    lane_place p = {.quad = width * 4};
    for (int e = 0; e < 4; e++)
        p.e[e] = q->words ? vector + (e & 1) * w * 2 + lane % w * 2 + e / 2 : vector + lane % w * 4 + e;
    return p;
}

void q8_pack_channel(const tn_q8_kernels *q, const q8_source *s, const q8_column *c, int64_t channel, int64_t width,
                     int64_t lane, char *panel, q8_header *header, int32_t *sum, int32_t *zero) {
    int32_t wz = s->zero ? weight_at(s->zero, s->is_signed, s->n_zero > 1 ? channel : 0) : 0;
    int32_t min = INT32_MAX, max = INT32_MIN, total = 0;
    for (int64_t i = 0; i < c->n; i++) {
        int32_t v = weight_at(s->w, s->is_signed, c->at + i * c->step) - wz;
        min = TN_MIN(min, v);
        max = TN_MAX(max, v);
        total = (int32_t)((uint32_t)total + (uint32_t)v);
    }
    /* Less the zero point if that fits, else as near to it as int8 holds all values. */
    bool fits = q->words || (min >= INT8_MIN && max <= INT8_MAX);
    int32_t less = fits ? wz : s->is_signed ? 0 : 128;
    lane_place p = place_of(q, width, lane);
    for (int64_t i = 0; i < c->n; i++) {
        int64_t at = (c->place[i] >> 2) * p.quad + p.e[c->place[i] & 3];
        int32_t v = weight_at(s->w, s->is_signed, c->at + i * c->step) - less;
        if (q->words)
            ((int16_t *)panel)[at] = (int16_t)v;
        else
            ((int8_t *)panel)[at] = (int8_t)v;
    }
    *sum = total;
    *zero = less - wz;
    if (less != wz) header->corrected = 1;
}

void q8_begin(const q8_packed *p, const tn_q8_args *a, int64_t count, int64_t channels, int32_t x_zero, int32_t *bias,
              float *scale) {
    for (int64_t o = 0; o < channels; o++) {
        uint32_t b = a->bias && o < count ? (uint32_t)a->bias[o] : 0;
        bias[o] = (int32_t)(b - (uint32_t)x_zero * (uint32_t)p->sums[o]);
        scale[o] = a->scale && o < count ? a->scale[o] : 0;
    }
}

tn_q8_finish q8_finish_of(const tn_q8_args *a, bool y_signed) {
    int32_t up = y_signed ? 128 : 0;
    tn_q8_finish f = {.zero = a->y_zero + up, .y_signed = y_signed};
    f.low = (uint8_t)(a->y_low + up);
    f.high = (uint8_t)(a->y_high + up);
    if (!a->z) return f;
    f.residual = true;
    f.z_signed = a->z_signed;
    f.z_zero = a->z_zero + (a->z_signed ? 128 : 0);
    f.mid_low = a->mid_low;
    f.mid_high = a->mid_high;
    f.mid_scale = a->mid_scale;
    f.z_scale = a->z_scale;
    return f;
}

void q8_copy(const tn_kernels *k, uint8_t *dst, const uint8_t *src, int64_t n, bool flip) {
    if (flip)
        k->q8_flip(src, n, dst);
    else
        memcpy(dst, src, (size_t)n);
}
