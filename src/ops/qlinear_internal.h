/* 8-bit operators in blocks (kernels/q8.h): what qlinear.c and q8.c share. */
#ifndef TN_OPS_QLINEAR_INTERNAL_H
#define TN_OPS_QLINEAR_INTERNAL_H

#include "kernels/q8_conv.h"
#include "ops/conv_internal.h"
#include "ops/ops.h"

#define TN_TYPES_BYTE (TN_T(INT8) | TN_T(UINT8))

/* Where a convolution's inputs are; -1: it has none. z, mid: see tern:QConv in fused.h. */
typedef struct tn_qconv_inputs {
    int x, w, x_zero, w_zero, x_scale, w_scale, y_scale, y_zero, bias;
    int z, z_scale, z_zero, mid_scale, mid_zero;
} tn_qconv_inputs;

/* Of ConvInteger, QLinearConv or tern:QConv. */
const tn_qconv_inputs *tn_op_qconv_inputs(const tn_node *node);

typedef struct tn_q8_conv_state {
    tn_q8_isa isa;
    tn_q8_conv conv;
    const void *packed;
    size_t at_scale;
} tn_q8_conv_state;

/* Chooses kernels and packs weights for a blocked output; *kernel is the name to show. */
tern_status tn_op_q8_conv_prepare(tn_prepare *c, const tn_conv_dims *d, tn_q8_conv_state *s, const char **kernel);
void tn_op_q8_conv_run(tn_run *c, const tn_q8_conv_state *s);

/* Where a product's inputs are; -1: it has none. */
typedef struct tn_qmatmul_inputs {
    int a, b, a_zero, b_zero, a_scale, b_scale, y_scale, y_zero, bias;
} tn_qmatmul_inputs;

typedef struct tn_q8_gemm_state {
    tn_q8_isa isa;
    tn_q8_gemm gemm;
    const void *packed;
    size_t at_scale;
} tn_q8_gemm_state;

/* Whether the fast kernels do it: bytes, B a constant matrix with constant zero points, one zero point and scale for
 * all of A. */
bool tn_op_q8_gemm_ok(const tn_prepare *c, const tn_qmatmul_inputs *in);
/* `trans_b`: B is (n, k). */
tern_status tn_op_q8_gemm_prepare(tn_prepare *c, const tn_qmatmul_inputs *in, bool trans_b, tn_q8_gemm_state *s,
                                  const char **kernel);
void tn_op_q8_gemm_run(tn_run *c, const tn_qmatmul_inputs *in, const tn_q8_gemm_state *s);

/* Bounds of a result as stored: of its type, narrowed by attributes. */
void tn_op_q8_bounds(const tn_node *node, const char *low_name, const char *high_name, bool is_signed, int32_t *low,
                     int32_t *high);
/* Element i of an 8-bit tensor; 0 without one. */
int32_t tn_op_byte_at(const tern_tensor *t, int64_t i);
/* Fails unless input i has one element (or `many`, when that is not negative); unknown shapes pass. */
tern_status tn_op_want_count(tn_infer *c, int i, int64_t many, const char *what);
/* Tells apart the packings of one tensor with several zero points. */
uint64_t tn_op_zero_key(const tern_tensor *zero);

#endif
