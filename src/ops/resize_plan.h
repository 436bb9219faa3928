/* What Resize and Upsample are to do: output shape, and per dim which inputs make an output with which weights. */
#ifndef TN_OPS_RESIZE_PLAN_H
#define TN_OPS_RESIZE_PLAN_H

#include "ops/args.h"

typedef enum tn_resize_mode { TN_RESIZE_NEAREST, TN_RESIZE_LINEAR, TN_RESIZE_CUBIC } tn_resize_mode;
typedef enum tn_resize_coord {
    TN_COORD_HALF_PIXEL,
    TN_COORD_HALF_PIXEL_SYMMETRIC,
    TN_COORD_PYTORCH_HALF_PIXEL,
    TN_COORD_ALIGN_CORNERS,
    TN_COORD_ASYMMETRIC,
    TN_COORD_TF_HALF_PIXEL,
    TN_COORD_TF_CROP
} tn_resize_coord;
typedef enum tn_resize_round {
    TN_ROUND_PREFER_FLOOR,
    TN_ROUND_PREFER_CEIL,
    TN_ROUND_FLOOR,
    TN_ROUND_CEIL,
    TN_ROUND_SIMPLE /* before version 11: up where the tensor shrinks, else down */
} tn_resize_round;

typedef struct tn_resize {
    tn_resize_mode mode;
    tn_resize_coord coord;
    tn_resize_round round;
    bool antialias, exclude_outside;
    bool by_sizes; /* scales follow from sizes, and are exact in double */
    double cubic_a, extrapolation;
    tn_shape in, out;
    double scale[TERN_MAX_RANK];
    double roi_start[TERN_MAX_RANK], roi_end[TERN_MAX_RANK];
    bool active[TERN_MAX_RANK]; /* dims that change, or whose roi is not all of it */
} tn_resize;

/* Numbers that come as attributes or inputs; an empty list is as good as none. */
typedef struct tn_resize_args {
    const float *scales;
    int n_scales;
    const int64_t *sizes; /* encoded as dims */
    int n_sizes;
    const double *roi;
    int n_roi;
    bool known; /* false: a list is given, but its numbers are not known yet */
} tn_resize_args;

/* Modes and the like from the attributes. */
tern_status tn_resize_modes(const tn_node *n, tn_resize *r, tern_error *err);
/* Scales and output dims for r->in, whose dims may be unknown. */
tern_status tn_resize_shape(const tn_node *n, const tn_resize_args *a, tn_resize *r, tern_error *err);

/* Output j is the sum of taps * inputs [first[j], first[j] + taps); outside[j]: it is the extrapolation value. Owned.
 */
typedef struct tn_resize_map {
    int64_t in, out, taps;
    int64_t *first;
    double *weight; /* (out, taps); NULL for nearest */
    float *weight_f32;
    bool *outside; /* NULL: none */
} tn_resize_map;

tern_status tn_resize_map_make(const tn_resize *r, int dim, tn_resize_map *m, tern_error *err);
void tn_resize_map_release(tn_resize_map *m);

#endif
