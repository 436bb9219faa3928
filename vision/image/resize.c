/* Both filters are separable: an output pixel is a weighted sum over columns of weighted sums over rows.
 *
 * Linear works in fixed point with weights of 11 bits, bit for bit as OpenCV does for 8-bit images: rows first to
 * 19 bits, then columns to 8. The source position of pixel i is (i + 0.5) * source / target - 0.5, with edges repeated.
 *
 * Area sums floats: pixel i covers [i, i + 1) * source / target, and each source pixel counts by the part that is
 * covered. */
#include "vision/image/resize.h"

#include <math.h>

#define WEIGHT_BITS    11
#define WEIGHT_ONE     (1 << WEIGHT_BITS)
#define LETTERBOX_GREY 114

/* ---- linear ------------------------------------------------------------------------------------------------ */

/* Output i is in[a] * wa + in[b] * wb. */
typedef struct linear_tap {
    int a, b, wa, wb;
} linear_tap;

/* `area`: the weights of OpenCV's INTER_AREA where a side grows: no blending inside a source pixel. */
static void linear_taps(linear_tap *taps, int from, int to, bool area) {
    double scale = 1.0 / ((double)to / from); /* as OpenCV computes it: floor(i * scale) hangs on the last bit */
    for (int i = 0; i < to; i++) {
        int a;
        float f;
        if (area) {
            a = (int)floor(i * scale);
            f = (float)((i + 1) - (a + 1) * ((double)to / from));
            f = f <= 0 ? 0 : f - floorf(f);
        } else {
            f = (float)((i + 0.5) * scale - 0.5);
            a = (int)floorf(f);
            f -= (float)a;
        }
        if (a < 0) {
            a = 0;
            f = 0;
        }
        if (a >= from - 1) {
            a = from - 1;
            f = 0;
        }
        int wa = (int)nearbyintf((1.0f - f) * WEIGHT_ONE), wb = (int)nearbyintf(f * WEIGHT_ONE);
        taps[i] = (linear_tap){a, TN_MIN(a + 1, from - 1), wa, wb};
    }
}

/* One source row to `width` pixels of 19 bits. */
static void linear_row(const uint8_t *src, int32_t *dst, const linear_tap *taps, int width) {
    for (int x = 0; x < width; x++, dst += 3) {
        const uint8_t *a = src + (size_t)taps[x].a * 3, *b = src + (size_t)taps[x].b * 3;
        int wa = taps[x].wa, wb = taps[x].wb;
        for (int c = 0; c < 3; c++) dst[c] = a[c] * wa + b[c] * wb;
    }
}

static void linear_image(tern_image *out, const tern_image *src, const linear_tap *tx, const linear_tap *ty,
                         int32_t *rows) {
    size_t n = (size_t)out->width * 3, pitch = (size_t)src->width * 3;
    int32_t *row[2] = {rows, rows + n};
    int held[2] = {-1, -1}; /* which source rows are in row[] */
    for (int y = 0; y < out->height; y++) {
        int want[2] = {ty[y].a, ty[y].b};
        if (held[1] == want[0]) { /* the lower row of before is the upper one now */
            int32_t *t = row[0];
            row[0] = row[1];
            row[1] = t;
            held[1] = held[0];
            held[0] = want[0];
        }
        for (int k = 0; k < 2; k++) {
            if (held[k] != want[k]) linear_row(src->data + pitch * (size_t)want[k], row[k], tx, out->width);
            held[k] = want[k];
        }
        int wa = ty[y].wa, wb = ty[y].wb;
        uint8_t *dst = out->data + n * (size_t)y;
        for (size_t i = 0; i < n; i++) {
            /* 19 bits -> 15, times 11 bits, high 16 -> 10 bits, rounded to 8: the steps decide the last bit. */
            int32_t sum = (((row[0][i] >> 4) * wa) >> 16) + (((row[1][i] >> 4) * wb) >> 16);
            dst[i] = (uint8_t)TN_MIN((sum + 2) >> 2, 255);
        }
    }
}

static tern_status resize_linear(tern_image *out, const tern_image *src, bool area, tern_error *err) {
    size_t taps = (size_t)out->width + (size_t)out->height, row = (size_t)out->width * 3;
    linear_tap *tx = tn_alloc_array(taps, sizeof *tx);
    int32_t *rows = tn_alloc_array(row * 2, sizeof *rows);
    if (tx && rows) {
        linear_taps(tx, src->width, out->width, area);
        linear_taps(tx + out->width, src->height, out->height, area);
        linear_image(out, src, tx, tx + out->width, rows);
    }
    bool good = tx && rows;
    tn_free(tx);
    tn_free(rows);
    return good ? TERN_OK : tn_fail_oom(err, taps * sizeof *tx + row * 2 * sizeof *rows);
}

/* ---- area -------------------------------------------------------------------------------------------------- */

/* Output i averages in[first] .. in[last]: the first and the last by a part, those between wholly. */
typedef struct area_span {
    int first, last;
    float w_first, w_mid, w_last;
} area_span;

static void area_spans(area_span *spans, int from, int to) {
    double scale = 1.0 / ((double)to / from); /* as OpenCV computes it: floor(i * scale) hangs on the last bit */
    for (int i = 0; i < to; i++) {
        double begin = i * scale, end = begin + scale;
        double width = TN_MIN(scale, from - begin);
        int first = (int)floor(begin + 1e-3), last = (int)ceil(end - 1e-3) - 1;
        first = TN_MIN(first, from - 1);
        last = TN_MAX(first, TN_MIN(last, from - 1));
        double w_first = TN_MIN(first + 1 - begin, 1.0), w_last = TN_MIN(end - last, 1.0);
        if (first == last) w_first = width;
        spans[i] = (area_span){first, last, (float)(w_first / width), (float)(1 / width), (float)(w_last / width)};
    }
}

static float span_weight(const area_span *s, int i) {
    return i == s->first ? s->w_first : i == s->last ? s->w_last : s->w_mid;
}

/* Adds one source row, averaged along x and times w, to `sums`. */
static void area_row(const uint8_t *src, float *sums, const area_span *spans, int width, float w) {
    for (int x = 0; x < width; x++, sums += 3) {
        float sum[3] = {0};
        const uint8_t *p = src + (size_t)spans[x].first * 3;
        for (int i = spans[x].first; i <= spans[x].last; i++, p += 3) {
            float wx = span_weight(&spans[x], i);
            for (int c = 0; c < 3; c++) sum[c] += (float)p[c] * wx;
        }
        for (int c = 0; c < 3; c++) sums[c] += sum[c] * w;
    }
}

static void area_image(tern_image *out, const tern_image *src, const area_span *sx, const area_span *sy, float *sums) {
    size_t n = (size_t)out->width * 3, pitch = (size_t)src->width * 3;
    for (int y = 0; y < out->height; y++) {
        memset(sums, 0, n * sizeof *sums);
        for (int i = sy[y].first; i <= sy[y].last; i++) {
            area_row(src->data + pitch * (size_t)i, sums, sx, out->width, span_weight(&sy[y], i));
        }
        uint8_t *dst = out->data + n * (size_t)y;
        for (size_t i = 0; i < n; i++) dst[i] = (uint8_t)TN_MIN(sums[i] + 0.5f, 255.0f);
    }
}

static tern_status resize_area(tern_image *out, const tern_image *src, tern_error *err) {
    size_t count = (size_t)out->width + (size_t)out->height, row = (size_t)out->width * 3;
    area_span *spans = tn_alloc_array(count, sizeof *spans);
    float *sums = tn_alloc_array(row, sizeof *sums);
    if (spans && sums) {
        area_spans(spans, src->width, out->width);
        area_spans(spans + out->width, src->height, out->height);
        area_image(out, src, spans, spans + out->width, sums);
    }
    bool good = spans && sums;
    tn_free(spans);
    tn_free(sums);
    return good ? TERN_OK : tn_fail_oom(err, count * sizeof *spans + row * sizeof *sums);
}

/* ---- the doors --------------------------------------------------------------------------------------------- */

tern_status tern_image_resize(tern_image *out, const tern_image *src, int width, int height, tern_filter filter,
                              tern_error *err) {
    *out = (tern_image){0};
    if (!src->data) return tn_fail(err, TERN_INVALID_ARGUMENT, "there is no image to resize");
    TN_TRY(tern_image_create(out, width, height, err));
    if (width == src->width && height == src->height) {
        memcpy(out->data, src->data, (size_t)width * (size_t)height * 3);
        return TERN_OK;
    }
    bool shrinks = width <= src->width && height <= src->height;
    bool by_more = (int64_t)width * 2 < src->width && (int64_t)height * 2 < src->height;
    /* Half of both sides is the mean of four pixels by either filter; OpenCV takes this way, which rounds better. */
    bool half = (int64_t)width * 2 == src->width && (int64_t)height * 2 == src->height;
    bool area = half || (filter == TERN_FILTER_AREA ? shrinks : filter == TERN_FILTER_AUTO && by_more);
    tern_status status = area ? resize_area(out, src, err) : resize_linear(out, src, filter == TERN_FILTER_AREA, err);
    if (status != TERN_OK) tern_image_release(out);
    return status;
}

static void copy_into(tern_image *out, int to_x, int to_y, const tern_image *src, int x, int y, int width, int height) {
    for (int i = 0; i < height; i++) {
        memcpy(out->data + ((size_t)(to_y + i) * (size_t)out->width + (size_t)to_x) * 3,
               src->data + ((size_t)(y + i) * (size_t)src->width + (size_t)x) * 3, (size_t)width * 3);
    }
}

tern_status tern_image_crop(tern_image *out, const tern_image *src, int x, int y, int width, int height,
                            tern_error *err) {
    *out = (tern_image){0};
    if (x < 0 || y < 0 || width < 1 || height < 1 || width > src->width - x || height > src->height - y) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a part of %d x %d at (%d, %d) is not inside an image of %d x %d",
                       width, height, x, y, src->width, src->height);
    }
    TN_TRY(tern_image_create(out, width, height, err));
    copy_into(out, 0, 0, src, x, y, width, height);
    return TERN_OK;
}

/* Scaled so that the shorter side is `side` (0: both sides cover the size), the other in proportion, rounded down. */
static tern_status fit_crop(tern_image *out, const tern_image *src, int width, int height, int side, tern_filter filter,
                            tern_placement *place, tern_error *err) {
    double scale = side > 0 ? (double)side / TN_MIN(src->width, src->height)
                            : TN_MAX((double)width / src->width, (double)height / src->height);
    double w = floor(src->width * scale + 1e-6), h = floor(src->height * scale + 1e-6);
    if (w > TERN_IMAGE_MAX_SIDE || h > TERN_IMAGE_MAX_SIDE) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "an image of %d x %d scaled to cover %d x %d would be %.0f x %.0f",
                       src->width, src->height, width, height, w, h);
    }
    if (w < width || h < height) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a crop of %d x %d is not inside an image scaled to %.0f x %.0f",
                       width, height, w, h);
    }
    tern_image scaled;
    TN_TRY(tern_image_resize(&scaled, src, (int)w, (int)h, filter, err));
    int x = (int)nearbyint((scaled.width - width) / 2.0), y = (int)nearbyint((scaled.height - height) / 2.0);
    *place = (tern_placement){w / src->width, h / src->height, -x, -y};
    tern_status status = tern_image_crop(out, &scaled, x, y, width, height, err);
    tern_image_release(&scaled);
    return status;
}

static tern_status fit_letterbox(tern_image *out, const tern_image *src, int width, int height, tern_filter filter,
                                 tern_placement *place, tern_error *err) {
    double scale = TN_MIN((double)width / src->width, (double)height / src->height);
    int w = TN_MAX(1, (int)nearbyint(src->width * scale)), h = TN_MAX(1, (int)nearbyint(src->height * scale));
    w = TN_MIN(w, width);
    h = TN_MIN(h, height);
    tern_image scaled;
    TN_TRY(tern_image_resize(&scaled, src, w, h, filter, err));
    tern_status status = tern_image_create(out, width, height, err);
    if (status == TERN_OK) {
        memset(out->data, LETTERBOX_GREY, (size_t)width * (size_t)height * 3);
        int left = (int)nearbyint((width - w) / 2.0 - 0.1), top = (int)nearbyint((height - h) / 2.0 - 0.1);
        copy_into(out, left, top, &scaled, 0, 0, w, h);
        *place = (tern_placement){(double)w / src->width, (double)h / src->height, left, top};
    }
    tern_image_release(&scaled);
    return status;
}

tern_status tern_image_fit(tern_image *out, const tern_image *src, int width, int height, tern_fit fit, int short_side,
                           tern_filter filter, tern_placement *placement, tern_error *err) {
    *out = (tern_image){0};
    tern_placement place;
    tern_placement *where = placement ? placement : &place;
    if (!src->data) return tn_fail(err, TERN_INVALID_ARGUMENT, "there is no image to fit");
    if (fit == TERN_FIT_CROP) return fit_crop(out, src, width, height, short_side, filter, where, err);
    if (fit == TERN_FIT_LETTERBOX) return fit_letterbox(out, src, width, height, filter, where, err);
    *where = (tern_placement){(double)width / src->width, (double)height / src->height, 0, 0};
    return tern_image_resize(out, src, width, height, filter, err);
}
