/* tern's own operators, domain "tern": what fusion and the layout pass make out of standard ones. All take float32.
 *
 *   Conv     X, W, B (optional), Z (optional, added before the activation; shaped like Y). Attributes of the standard's
 * Conv with explicit pads, and act, act_alpha, act_beta: see tn_op_act. X may be plain where Y is blocked. In blocked
 * layout also, for 1x1 kernels of one group: S (n, c, 1, 1), input 4, by which X is multiplied; or, with stride 1, more
 * inputs from 5 on, and the attribute map: what is convolved is Channels(X, inputs from 5 on). For depthwise ones a
 * second output: the means over the maps of Y (n, c, 1, 1). With pooled = 1 (3x3, stride 1, no Z, act a clamp) Y is
 * MaxPool of that with windows and strides of 2. With bf16 = 1 Y
 * and Z are bfloat16 and blocked, X is that or plain float32, and there are no more inputs and outputs.
 *
 *   ConvTranspose  X, W, B (optional), Z (optional, as in Conv), all maps blocked. Attributes of the standard's, and
 * act, act_alpha, act_beta. W has the shape of the standard's, but its elements are in the order of conv_parts.h.
 *
 *   Gemm     A, B, C (optional), Z (optional, added before the activation; shaped like Y). Attributes of the standard's
 * Gemm, and act, act_alpha, act_beta. A may have more than two dims, rows of its last one, where transA is 0; C is then
 * a row.
 *
 *   ScaleShift  X (n, c, ...), S (c), T (c): act(X * S + T). Attributes act, act_alpha, act_beta.
 *
 *   Channels  X... (n, c_i, h, w): channel i of Y is channel map[i] of the inputs one after the other. What Concat,
 * channel shuffle, Split and Slice along channels come down to together.
 *
 *   Reorder  X (rank 4). Attribute block: 0 makes it plain, 4, 8 or 16 blocked. Attribute to: the type of Y where that
 * is not the one of X (plain float32 to blocked bfloat16, and back).
 *
 * 8-bit ones, in blocks of 16; scales and zero points are those of QLinearConv:
 *
 *   QConv    the inputs of QLinearConv, then optionally z, z_scale, z_zero, mid_scale, mid_zero: the convolution is
 * quantised with mid's parameters (and clamped to mid_low and mid_high), z is added as a real number, and the sum is
 * quantised with those of y. Attributes of QLinearConv, and q_low, q_high: bounds of y as stored.
 *
 *   QGemm    the inputs of QLinearMatMul, then optionally int32 C (n); plain. B and its zero point are constants.
 * Attributes transB, q_low, q_high.
 *
 *   QAdd     a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero; one shape. Attributes q_low, q_high.
 *
 *   QLookup  x, table (256 values): table[x], x taken as an unsigned byte; plain, or as x is.
 *
 *   QGlobalAveragePool  x, x_scale, x_zero, y_scale, y_zero. */
#ifndef TN_OPS_FUSED_H
#define TN_OPS_FUSED_H

#include "kernels/act.h"
#include "ops/ops.h"

/* The activation named by the string attribute `act` ("" or absent: none) with act_alpha and act_beta. False: no such
 * name. */
bool tn_op_act(const tn_node *node, tn_act *out);
/* The name that tn_op_act understands: "none", "relu", "hardswish", "gelu_tanh" ... */
const char *tn_op_act_name(tn_act_kind kind);
/* The most maps that a tern:Conv picks channels from. */
#define TN_CONV_MAPS 16
/* Where channel `c` is of inputs 0, more, more + 1 ... < n_in one after the other. False: there is none. */
bool tn_op_find_channel(const tn_type *const *in, int n_in, int more, int64_t c, int *input, int64_t *channel);
/* The shape of Channels of those inputs by the attribute map. */
tern_status tn_op_picked_shape(tn_infer *c, int more, tn_shape *shape);
/* True when a Conv (standard or tern's) can have a blocked output: float32, rank 3 to 5, constant weights, and a fast
 * algorithm for whatever height and width. `plain_input`: with X in plain layout; `bf16`: in bfloat16. Uses the types
 * of node->in. */
bool tn_op_conv_blocked_ok(const tn_node *node, tern_cpu_tier tier, bool plain_input, bool bf16);
/* Whether a ConvTranspose with constant float32 weights can be tern:ConvTranspose. Gives its attribute strides. */
bool tn_op_conv_transpose_blocked_ok(const tn_node *node, tern_cpu_tier tier, int64_t strides[TERN_MAX_RANK]);
/* Weights of a standard one, maybe unaligned, in the order of that tern:ConvTranspose. */
bool tn_op_conv_transpose_weights(const tn_node *node, const tern_tensor *w, float *dst);
/* The same as tn_op_conv_blocked_ok for QLinearConv, ConvInteger and tern:QConv: X, with blocks of `x_block` bytes, and
 * Y (blocks of 16). */
bool tn_op_q8_conv_ok(const tn_node *node, int x_block);
/* tern:QAdd and tern:QGlobalAveragePool on maps of known channels. */
bool tn_op_q8_eltwise_ok(const tn_node *node);

#endif
