#include "vision/detect/letterbox.h"

#include <math.h>

#define GREY 114

static int scaled_side(int side, double ratio, int limit) {
    return TN_MIN(TN_MAX((int)nearbyint(side * ratio), 1), limit);
}

tern_status tern_letterbox(tern_image *out, const tern_image *src, const tern_letterbox_options *o,
                           tern_placement *placement, tern_error *err) {
    *out = (tern_image){0};
    if (!src->data || o->width < 1 || o->height < 1 || o->stride < 0) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a picture of %d x %d can not be put into %d x %d", src->width,
                       src->height, o->width, o->height);
    }
    double ratio = TN_MIN((double)o->height / src->height, (double)o->width / src->width);
    int w = scaled_side(src->width, ratio, o->width), h = scaled_side(src->height, ratio, o->height);
    int bars_x = o->width - w, bars_y = o->height - h;
    if (o->stride > 0) {
        bars_x %= o->stride;
        bars_y %= o->stride;
    }
    int left = o->corner ? 0 : (int)nearbyint(bars_x / 2.0 - 0.1),
        top = o->corner ? 0 : (int)nearbyint(bars_y / 2.0 - 0.1);
    tern_image scaled;
    TN_TRY(tern_image_resize(&scaled, src, w, h, TERN_FILTER_LINEAR, err));
    tern_status status = tern_image_create(out, w + bars_x, h + bars_y, err);
    if (status == TERN_OK) {
        size_t pitch = (size_t)out->width * 3, row = (size_t)w * 3;
        memset(out->data, GREY, pitch * (size_t)out->height);
        uint8_t *dst = out->data + pitch * (size_t)top + (size_t)left * 3;
        for (int y = 0; y < h; y++) memcpy(dst + pitch * (size_t)y, scaled.data + row * (size_t)y, row);
        *placement = (tern_placement){(double)w / src->width, (double)h / src->height, left, top};
    }
    tern_image_release(&scaled);
    return status;
}
