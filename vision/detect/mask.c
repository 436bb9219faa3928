/* Masks: each object's is the sigmoid of a sum of prototypes, scaled up to the picture, above 0.5, cut to its box:
 * pixel for pixel what YOLOv5 gives at full size. They are kept at the resolution of the prototypes and scaled up,
 * bilinearly, row by row when somebody wants to see them: a full-size mask of every object of a large picture would
 * take gigabytes. */
#include <math.h>

#include "vision/detect/detect_internal.h"

static int clamp_int(double v, int low, int high) { return v < low ? low : v > high ? high : (int)v; }

/* Cells [x, x + width) x [y, y + height) that scaling up needs for the box, one more on each side. */
static tern_mask mask_extent(const tern_detections *d, const tern_box *box, int grid_w, int grid_h) {
    int x1 = clamp_int(floor((double)box->x1 * d->mask_scale_x + d->mask_offset_x) - 1, 0, grid_w - 1);
    int x2 = clamp_int(ceil((double)box->x2 * d->mask_scale_x + d->mask_offset_x) + 1, x1 + 1, grid_w);
    int y1 = clamp_int(floor((double)box->y1 * d->mask_scale_y + d->mask_offset_y) - 1, 0, grid_h - 1);
    int y2 = clamp_int(ceil((double)box->y2 * d->mask_scale_y + d->mask_offset_y) + 1, y1 + 1, grid_h);
    return (tern_mask){x1, y1, x2 - x1, y2 - y1, NULL};
}

static tern_status make_mask(tern_mask *m, const float *coefficients, int n, const float *proto, int grid_w, int grid_h,
                             tern_error *err) {
    size_t cells = (size_t)m->width * (size_t)m->height;
    m->values = tn_calloc(cells, sizeof *m->values);
    if (!m->values) return tn_fail_oom(err, cells * sizeof *m->values);
    for (int k = 0; k < n; k++) {
        for (int y = 0; y < m->height; y++) {
            const float *p = proto + ((size_t)k * (size_t)grid_h + (size_t)(m->y + y)) * (size_t)grid_w + m->x;
            float *v = m->values + (size_t)y * (size_t)m->width;
            for (int x = 0; x < m->width; x++) v[x] += coefficients[k] * p[x];
        }
    }
    for (size_t i = 0; i < cells; i++) m->values[i] = 1.0f / (1.0f + expf(-m->values[i]));
    return TERN_OK;
}

tern_status tn_detect_make_masks(tern_detections *d, const tern_head_layout *l, const tern_candidates *c,
                                 const tern_head_output *proto, int net_width, int net_height,
                                 const tern_placement *place, tern_error *err) {
    if (proto->rank != 4 || proto->dims[0] < 1 || proto->dims[1] != l->masks || proto->dims[2] < 1 ||
        proto->dims[3] < 1 || proto->dims[2] > TERN_IMAGE_MAX_SIDE || proto->dims[3] > TERN_IMAGE_MAX_SIDE) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has no %d prototypes of masks", proto->name, l->masks);
    }
    int grid_w = (int)proto->dims[3], grid_h = (int)proto->dims[2];
    double sx = (double)grid_w / net_width, sy = (double)grid_h / net_height;
    d->mask_scale_x = place->scale_x * sx;
    d->mask_scale_y = place->scale_y * sy;
    d->mask_offset_x = place->offset_x * sx;
    d->mask_offset_y = place->offset_y * sy;
    d->masks = tn_calloc(d->count + 1, sizeof *d->masks);
    float *coefficients = tn_alloc_array((size_t)l->masks, sizeof *coefficients);
    tern_status status = d->masks && coefficients ? TERN_OK : tn_fail_oom(err, d->count * sizeof *d->masks);
    for (size_t i = 0; i < d->count && status == TERN_OK; i++) {
        tern_head_masks(l, c, &c->items[i], coefficients);
        d->masks[i] = mask_extent(d, &d->items[i].box, grid_w, grid_h);
        status = make_mask(&d->masks[i], coefficients, l->masks, proto->data, grid_w, grid_h, err);
    }
    tn_free(coefficients);
    return status;
}

void tern_mask_row(const tern_detections *d, size_t i, int y, int x1, int x2, uint8_t *out) {
    const tern_mask *m = &d->masks[i];
    const tern_box *box = &d->items[i].box;
    double cy = (y + 0.5) * d->mask_scale_y + d->mask_offset_y - 0.5 - m->y;
    int y0 = clamp_int(floor(cy), 0, m->height - 1), y1 = TN_MIN(y0 + 1, m->height - 1);
    double fy = TN_MIN(TN_MAX(cy - y0, 0.0), 1.0);
    const float *top = m->values + (size_t)y0 * (size_t)m->width, *low = m->values + (size_t)y1 * (size_t)m->width;
    bool row_inside = y >= (double)box->y1 && y < (double)box->y2;
    for (int x = x1; x < x2; x++) {
        bool inside = row_inside && x >= (double)box->x1 && x < (double)box->x2;
        double cx = (x + 0.5) * d->mask_scale_x + d->mask_offset_x - 0.5 - m->x;
        int a = clamp_int(floor(cx), 0, m->width - 1), b = TN_MIN(a + 1, m->width - 1);
        double fx = TN_MIN(TN_MAX(cx - a, 0.0), 1.0);
        double upper = (double)top[a] * (1 - fx) + (double)top[b] * fx;
        double lower = (double)low[a] * (1 - fx) + (double)low[b] * fx;
        out[x - x1] = inside && upper * (1 - fy) + lower * fy > 0.5;
    }
}
