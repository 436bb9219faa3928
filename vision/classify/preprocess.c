#include "vision/classify/preprocess.h"

#include <math.h>

/* ---- putting sources together ------------------------------------------------------------------------------ */

void tern_preprocess_merge(tern_preprocess *p, const tern_preprocess *more) {
    unsigned take = more->set & ~p->set;
    if (take & TERN_PRE_SIZE) {
        p->width = more->width;
        p->height = more->height;
    }
    if (take & TERN_PRE_FIT) p->fit = more->fit;
    if (take & TERN_PRE_RESIZE) p->resize = more->resize;
    if (take & TERN_PRE_FILTER) p->filter = more->filter;
    if (take & TERN_PRE_SCALE) p->scale = more->scale;
    if (take & TERN_PRE_MEAN) {
        memcpy(p->mean, more->mean, sizeof p->mean);
        p->n_mean = more->n_mean;
    }
    if (take & TERN_PRE_STD) {
        memcpy(p->std, more->std, sizeof p->std);
        p->n_std = more->n_std;
    }
    if (take & TERN_PRE_CHANNELS) p->channels = more->channels;
    if (take & TERN_PRE_LAYOUT) p->layout = more->layout;
    p->set |= take;
}

static bool is_integer(tern_dtype dtype) { return dtype == TERN_UINT8 || dtype == TERN_INT8; }

static tern_preprocess defaults_for(const tern_value_info *input) {
    tern_preprocess p = {.set = ~0u & ~(unsigned)TERN_PRE_SIZE, .n_mean = 1, .n_std = 1};
    p.scale = is_integer(input->dtype) ? 1 : 1 / 255.0;
    p.std[0] = 1;
    /* 3 channels (or 1) where the last dim says so and the second does not. */
    int64_t second = input->dims[1], last = input->dims[3];
    bool nhwc = (last == 3 || last == 1) && second != 3 && second != 1;
    p.layout = nhwc ? TERN_LAYOUT_NHWC : TERN_LAYOUT_NCHW;
    return p;
}

static tern_status check_size(tern_preprocess *p, const tern_value_info *input, tern_error *err) {
    bool nhwc = p->layout == TERN_LAYOUT_NHWC;
    int64_t h = input->dims[nhwc ? 1 : 2], w = input->dims[nhwc ? 2 : 3];
    if (h > TERN_IMAGE_MAX_SIDE || w > TERN_IMAGE_MAX_SIDE || h == 0 || w == 0) {
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' wants pictures of %lld x %lld", input->name, (long long)w,
                       (long long)h);
    }
    if (!(p->set & TERN_PRE_SIZE)) {
        if (h < 0 || w < 0) {
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "height or width of input '%s' is free: say which size (WxH), or none for the picture's own",
                           input->name);
        }
        p->width = (int)w;
        p->height = (int)h;
        p->set |= TERN_PRE_SIZE;
    }
    if (p->width == 0 && h < 0 && w < 0) return TERN_OK;
    if (p->width == 0) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "the picture's own size can not be used: height or width of input '%s' is fixed", input->name);
    }
    if ((h >= 0 && h != p->height) || (w >= 0 && w != p->width)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "input '%s' wants pictures of %lld x %lld, not %d x %d", input->name,
                       (long long)w, (long long)h, p->width, p->height);
    }
    return TERN_OK;
}

static tern_status check_values(const tern_preprocess *p, int channels, tern_error *err) {
    if ((p->n_mean != 1 && p->n_mean != channels) || (p->n_std != 1 && p->n_std != channels)) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%d means and %d deviations for %d channels: give 1 or %d",
                       p->n_mean, p->n_std, channels, channels);
    }
    for (int c = 0; c < p->n_std; c++) {
        if (p->std[c] == 0) return tn_fail(err, TERN_INVALID_ARGUMENT, "a standard deviation of 0");
    }
    return TERN_OK;
}

tern_status tern_preprocess_resolve(tern_preprocess *p, const tern_value_info *input, tern_error *err) {
    if (input->kind != TERN_KIND_TENSOR || input->rank != 4) {
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' is no batch of pictures: it must be a tensor of rank 4",
                       input->name);
    }
    tern_preprocess defaults = defaults_for(input);
    bool guess_channels = !(p->set & TERN_PRE_CHANNELS);
    tern_preprocess_merge(p, &defaults);
    int64_t channels = input->dims[p->layout == TERN_LAYOUT_NHWC ? 3 : 1];
    if (guess_channels && channels == 1) p->channels = TERN_CHANNELS_GREY;
    int have = tern_preprocess_channels(p);
    if (channels >= 0 && channels != have) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "input '%s' has %lld channels in %s layout, a %s picture has %d",
                       input->name, (long long)channels, p->layout == TERN_LAYOUT_NHWC ? "NHWC" : "NCHW",
                       have == 1 ? "grey" : "colour", have);
    }
    TN_TRY(check_values(p, have, err));
    return check_size(p, input, err);
}

int tern_preprocess_channels(const tern_preprocess *p) { return p->channels == TERN_CHANNELS_GREY ? 1 : 3; }

/* ---- pixels to values -------------------------------------------------------------------------------------- */

/* Elements for each value of a byte, per channel: what the formula gives, in the input's type. */
typedef union value_table {
    double f64[TERN_MAX_CHANNELS][256];
    float f32[TERN_MAX_CHANNELS][256];
    uint16_t u16[TERN_MAX_CHANNELS][256];
    uint8_t u8[TERN_MAX_CHANNELS][256];
} value_table;

static tern_status fill_table(value_table *t, const tern_preprocess *p, tern_dtype dtype, tern_error *err) {
    for (int c = 0; c < tern_preprocess_channels(p); c++) {
        double mean = p->mean[p->n_mean > 1 ? c : 0], std = p->std[p->n_std > 1 ? c : 0];
        for (int i = 0; i < 256; i++) {
            double v = (i * p->scale - mean) / std;
            switch (dtype) {
            case TERN_FLOAT:
                t->f32[c][i] = (float)v;
                break;
            case TERN_DOUBLE:
                t->f64[c][i] = v;
                break;
            case TERN_FLOAT16:
                t->u16[c][i] = tn_f32_to_f16((float)v);
                break;
            case TERN_BFLOAT16:
                t->u16[c][i] = tn_f32_to_bf16((float)v);
                break;
            case TERN_UINT8:
                t->u8[c][i] = (uint8_t)nearbyint(TN_MIN(TN_MAX(v, 0.0), 255.0));
                break;
            case TERN_INT8:
                t->u8[c][i] = (uint8_t)(int8_t)nearbyint(TN_MIN(TN_MAX(v, -128.0), 127.0));
                break;
            default:
                return tn_fail(err, TERN_UNSUPPORTED, "a picture can not become elements of type %s",
                               tern_dtype_name(dtype));
            }
        }
    }
    return TERN_OK;
}

/* OpenCV's luma: 15 bits, rounded. */
static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((rgb[0] * 9798u + rgb[1] * 19235u + rgb[2] * 3735u + (1u << 14)) >> 15);
}

static void write_values(const tern_preprocess *p, const tern_image *image, const value_table *t, size_t element,
                         void *dst) {
    size_t pixels = (size_t)image->width * (size_t)image->height;
    size_t channels = (size_t)tern_preprocess_channels(p);
    bool nhwc = p->layout == TERN_LAYOUT_NHWC;
    size_t step = nhwc ? channels : 1;
    for (size_t c = 0; c < channels; c++) {
        size_t from = p->channels == TERN_CHANNELS_BGR ? 2 - c : c, at = nhwc ? c : c * pixels;
        const uint8_t *src = image->data;
        for (size_t i = 0; i < pixels; i++, src += 3, at += step) {
            uint8_t v = p->channels == TERN_CHANNELS_GREY ? luma(src) : src[from];
            switch (element) {
            case 1:
                ((uint8_t *)dst)[at] = t->u8[c][v];
                break;
            case 2:
                ((uint16_t *)dst)[at] = t->u16[c][v];
                break;
            case 4:
                ((float *)dst)[at] = t->f32[c][v];
                break;
            default:
                ((double *)dst)[at] = t->f64[c][v];
                break;
            }
        }
    }
}

tern_status tern_preprocess_image(const tern_preprocess *p, const tern_image *image, int width, int height,
                                  tern_dtype dtype, void *dst, tern_error *err) {
    value_table table;
    TN_TRY(fill_table(&table, p, dtype, err));
    size_t element = tern_dtype_size(dtype);
    if (image->width == width && image->height == height && !(p->fit == TERN_FIT_CROP && p->resize > 0)) {
        write_values(p, image, &table, element, dst);
        return TERN_OK;
    }
    tern_image fitted;
    TN_TRY(tern_image_fit(&fitted, image, width, height, p->fit, p->resize, p->filter, NULL, err));
    write_values(p, &fitted, &table, element, dst);
    tern_image_release(&fitted);
    return TERN_OK;
}
