/* Netpbm: P1 to P6, plain and raw, and PAM (P7), with up to 16 bits per sample. */
#include "vision/image/image_internal.h"

typedef struct pnm {
    const uint8_t *data;
    size_t size, at;
    uint32_t width, height, depth; /* depth: samples per pixel */
    uint32_t most;                 /* the sample that is white */
} pnm;

static bool is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int peek(const pnm *p) { return p->at < p->size ? p->data[p->at] : -1; }

static void skip_line(pnm *p) {
    while (peek(p) >= 0 && peek(p) != '\n') p->at++;
}

static void skip_space(pnm *p) {
    for (;; p->at++) {
        if (peek(p) == '#') skip_line(p);
        if (!is_space(peek(p))) return;
    }
}

/* Numbers above any limit stay above it. */
static bool read_number(pnm *p, uint32_t *out) {
    skip_space(p);
    uint32_t value = 0;
    int digits = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++, digits++) {
        if (value < 100000000) value = value * 10 + (uint32_t)(peek(p) - '0');
    }
    *out = value;
    return digits > 0;
}

static tern_status bad_header(tern_error *err) { return tn_fail(err, TERN_INVALID_FORMAT, "the header is damaged"); }

static tern_status check_most(const pnm *p, tern_error *err) {
    if (p->most >= 1 && p->most <= 65535) return TERN_OK;
    return tn_fail(err, TERN_INVALID_FORMAT, "the largest sample is %u, not 1 to 65535", p->most);
}

/* Lines of a keyword and a value, up to ENDHDR. */
static tern_status read_pam_header(pnm *p, tern_error *err) {
    for (;;) {
        skip_space(p);
        size_t start = p->at;
        while (peek(p) >= 0 && !is_space(peek(p))) p->at++;
        tn_str word = {(const char *)p->data + start, p->at - start};
        if (tn_str_eq(word, tn_str_c("ENDHDR"))) break;
        uint32_t *field = tn_str_eq(word, tn_str_c("WIDTH"))    ? &p->width
                          : tn_str_eq(word, tn_str_c("HEIGHT")) ? &p->height
                          : tn_str_eq(word, tn_str_c("DEPTH"))  ? &p->depth
                          : tn_str_eq(word, tn_str_c("MAXVAL")) ? &p->most
                                                                : NULL;
        if (field) {
            if (!read_number(p, field)) return bad_header(err);
        } else if (tn_str_eq(word, tn_str_c("TUPLTYPE"))) {
            skip_line(p);
        } else {
            return bad_header(err);
        }
    }
    skip_line(p);
    if (peek(p) != '\n') return bad_header(err);
    p->at++;
    if (p->depth < 1 || p->depth > 4) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%u samples per pixel are not supported", p->depth);
    }
    return check_most(p, err);
}

static tern_status read_header(pnm *p, int kind, tern_error *err) {
    p->at = 2;
    if (kind == 7) return read_pam_header(p, err);
    p->depth = kind == 3 || kind == 6 ? 3 : 1;
    p->most = 1;
    if (!read_number(p, &p->width) || !read_number(p, &p->height)) return bad_header(err);
    if (kind != 1 && kind != 4 && !read_number(p, &p->most)) return bad_header(err);
    if (kind >= 4) { /* one blank, then raw samples */
        if (!is_space(peek(p))) return bad_header(err);
        p->at++;
    }
    return check_most(p, err);
}

static uint8_t to_byte(const pnm *p, uint32_t sample) {
    if (sample >= p->most) return 255;
    return p->most == 255     ? (uint8_t)sample
           : p->most == 65535 ? (uint8_t)(sample >> 8)
                              : (uint8_t)((sample * 255 + p->most / 2) / p->most);
}

/* Grey, grey and alpha, RGB or RGB and alpha. */
static void put_pixel(const pnm *p, const uint32_t *samples, uint8_t *dst) {
    for (int c = 0; c < 3; c++) dst[c] = to_byte(p, samples[p->depth >= 3 ? c : 0]);
}

static tern_status truncated(tern_error *err) { return tn_fail(err, TERN_INVALID_FORMAT, "the file is truncated"); }

static tern_status read_plain(pnm *p, tern_image *out, bool bitmap, tern_error *err) {
    size_t pixels = (size_t)p->width * p->height;
    for (size_t i = 0; i < pixels; i++) {
        uint32_t samples[4];
        for (uint32_t c = 0; c < p->depth; c++) {
            if (bitmap) {
                skip_space(p); /* digits may touch each other */
                int digit = peek(p);
                if (digit != '0' && digit != '1') return truncated(err);
                p->at++;
                samples[c] = digit == '0'; /* 1 is black */
            } else if (!read_number(p, &samples[c])) {
                return truncated(err);
            }
        }
        put_pixel(p, samples, out->data + 3 * i);
    }
    return TERN_OK;
}

static tern_status read_bitmap(const pnm *p, tern_image *out, tern_error *err) {
    size_t pitch = ((size_t)p->width + 7) / 8;
    if (p->size - p->at < pitch * p->height) return truncated(err);
    const uint8_t *src = p->data + p->at;
    uint8_t *dst = out->data;
    for (uint32_t y = 0; y < p->height; y++, src += pitch) {
        for (uint32_t x = 0; x < p->width; x++, dst += 3) memset(dst, src[x >> 3] >> (7 - (x & 7)) & 1 ? 0 : 255, 3);
    }
    return TERN_OK;
}

static tern_status read_raw(const pnm *p, tern_image *out, tern_error *err) {
    size_t bytes = p->most > 255 ? 2 : 1;
    size_t pixels = (size_t)p->width * p->height;
    if (p->size - p->at < pixels * p->depth * bytes) return truncated(err);
    const uint8_t *src = p->data + p->at;
    for (size_t i = 0; i < pixels; i++) {
        uint32_t samples[4];
        for (uint32_t c = 0; c < p->depth; c++, src += bytes) {
            samples[c] = bytes == 2 ? (uint32_t)src[0] << 8 | src[1] : src[0];
        }
        put_pixel(p, samples, out->data + 3 * i);
    }
    return TERN_OK;
}

tern_status tn_image_decode_pnm(tern_image *out, tn_image_source *src, tern_error *err) {
    pnm p = {.data = src->data, .size = src->size};
    int kind = src->data[1] - '0';
    TN_TRY(read_header(&p, kind, err));
    TN_TRY(tn_image_start(out, src, p.width, p.height, err));
    if (kind <= 3) return read_plain(&p, out, kind == 1, err);
    return kind == 4 ? read_bitmap(&p, out, err) : read_raw(&p, out, err);
}
