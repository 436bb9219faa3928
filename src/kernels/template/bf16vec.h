/* What the bfloat16 templates are written in, beside vec.h. x86/bf16vec_<isa>.h and scalar/bf16vec_scalar.h define it:
 *
 *   BF16_NAME       the names that a template gives
 *   BF16_TILE_M     the highest register tile
 *   vh_load, vh_store  VEC_W bfloat16 to and from float32; rounds to nearest even
 *   vh_store_2      two vectors, one behind the other
 *   vh_interleave   element k of pixel i from v[k][i], `block` (at most 4) for each of VEC_W pixels
 *   hw, hw_load     2 * VEC_W weights: a pair for each lane
 *   hx, hx_set      a pair of activations for all lanes
 *   bf16_dot        acc + x[1] * w[1] + x[0] * w[0]
 *   vh_reciprocal   1 / x with a relative error below 2^-13, for 1 <= x < 2^126; of infinity 0
 *   vh_fraction     z - floor(z); of numbers too large to have one anything in [0, 1)
 *   vh_scale        p * 2^floor(z); |z| above 125 as if it led to an overflow, or a number below 2^-120 */
#ifndef TN_KERNELS_BF16VEC_H
#define TN_KERNELS_BF16VEC_H

#include "kernels/bf16.h"
#include "kernels/template/vec.h"

#endif
