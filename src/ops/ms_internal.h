/* What the operators of com.microsoft share. */
#ifndef TN_OPS_MS_INTERNAL_H
#define TN_OPS_MS_INTERNAL_H

#include "ops/expand.h"

/* Where an activation's numbers are. */
typedef struct ms_activation {
    const char *params; /* a list attribute; NULL: activation_alpha, activation_beta */
} ms_activation;

/* What attribute `activation` names, applied to v; v itself when it names none. */
tn_value *tn_ms_activation(tn_expand *x, const ms_activation *a, tn_value *v);
/* Transposes (n, spatial..., c) to (n, c, spatial...), and back. */
tn_value *tn_ms_channels_first(tn_expand *x, int64_t rank, tn_value *v);
tn_value *tn_ms_channels_last(tn_expand *x, int64_t rank, tn_value *v);
/* Copies auto_pad, dilations, group, kernel_shape, pads and strides to the node made last. */
void tn_ms_copy_window(tn_expand *x);

/* (a - a_zero) * (b - b_zero) * a_scale * b_scale + bias, sums in integers, the rest in float32. Zero points and bias
 * may be NULL. */
typedef struct ms_product {
    tn_value *a, *b, *a_scale, *b_scale, *a_zero, *b_zero, *bias;
} ms_product;
tn_value *tn_ms_integer_product(tn_expand *x, const ms_product *p);

#endif
