/* ImageDecoder: the bytes of a picture file to pixels. */
#include "base/base.h"
#include "vision/image/image.h"
#include "vision/op/op.h"

typedef enum pixel_format { RGB, BGR, GRAYSCALE } pixel_format;

static tern_status find_format(tern_op_context *c, pixel_format *out) {
    static const char *const names[] = {"RGB", "BGR", "Grayscale"};
    tern_string s = tern_op_attr_string(c, "pixel_format", "RGB");
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        *out = (pixel_format)i;
        if (s.len == strlen(names[i]) && memcmp(s.data, names[i], s.len) == 0) return TERN_OK;
    }
    return tern_op_fail(c, TERN_INVALID_MODEL, "pixel_format is '%.*s'; it can be RGB, BGR or Grayscale",
                        (int)TN_MIN(s.len, (size_t)40), s.data);
}

static tern_status infer(tern_op_context *c, void *user_data) {
    (void)user_data;
    pixel_format format;
    TN_TRY(find_format(c, &format));
    tern_value_info in;
    if (tern_op_input_info(c, 0, &in) && in.rank >= 0 && in.rank != 1)
        return tern_op_fail(c, TERN_SHAPE_MISMATCH, "the bytes have rank %d instead of 1", in.rank);
    return tern_op_set_output(c, 0, TERN_UINT8, 3, (int64_t[]){-1, -1, format == GRAYSCALE ? 1 : 3});
}

/* Luma of ITU-R BT.601 in 16 bits of fraction, rounded: equal channels stay what they are. */
static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

static void convert(const uint8_t *rgb, uint8_t *to, size_t pixels, pixel_format format) {
    if (format == RGB) memcpy(to, rgb, pixels * 3);
    for (size_t i = 0; i < pixels && format == GRAYSCALE; i++) to[i] = luma(rgb + 3 * i);
    for (size_t i = 0; i < pixels && format == BGR; i++)
        for (size_t k = 0; k < 3; k++) to[3 * i + k] = rgb[3 * i + 2 - k];
}

static tern_status compute(tern_op_context *c, void *user_data) {
    (void)user_data;
    pixel_format format;
    TN_TRY(find_format(c, &format));
    const tern_tensor *x = tern_op_input(c, 0);
    const tern_image_options options = {.ignore_orientation = true};
    tern_image image;
    tern_error err;
    tern_status s = tern_image_decode(&image, tern_tensor_const_data(x), tern_tensor_bytes(x), &options, &err);
    if (s == TERN_INVALID_FORMAT)
        tn_log(TERN_LOG_WARNING, "ImageDecoder: %s; the output is empty", err.text);
    else if (s != TERN_OK)
        return tern_op_fail(c, s, "%s", err.text);
    tern_tensor *y;
    s = tern_op_output(c, 0, 3, (int64_t[]){image.height, image.width, format == GRAYSCALE ? 1 : 3}, &y);
    if (s == TERN_OK && y && image.data)
        convert(image.data, tern_tensor_data(y), (size_t)image.width * (size_t)image.height, format);
    tern_image_release(&image);
    return s;
}

tern_status tern_vision_register_operators(tern_error *err) {
    static const tern_op_param in = {.name = "encoded_stream", .types = TERN_TYPE(UINT8)};
    static const tern_op_param out = {.name = "image", .types = TERN_TYPE(UINT8)};
    static const tern_op_attribute attribute = {"pixel_format", TERN_ATTR_STRING, false};
    return tern_op_register(&(tern_op){.name = "ImageDecoder",
                                       .since = 20,
                                       .inputs = &in,
                                       .n_inputs = 1,
                                       .outputs = &out,
                                       .n_outputs = 1,
                                       .attributes = &attribute,
                                       .n_attributes = 1,
                                       .infer = infer,
                                       .compute = compute},
                            err);
}
