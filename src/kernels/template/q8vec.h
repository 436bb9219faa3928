/* What the 8-bit templates need beyond vec.h: 32-bit integers and packed bytes.
 *
 *   vi              VEC_W int32
 *   vi_mul          low 32 bits
 *   vi_from_f       rounded to nearest even; what lies beyond +-32768 stays beyond, on its side
 *   vf_to_even      clamped to integral bounds, and rounded to nearest even
 *   vi_load_u8      VEC_W bytes
 *   vi_flip         x ^ 128: int8 that was loaded as uint8, plus 128
 *   vi_store_low    the lowest byte of each
 *   vb              VB_BYTES = 4 VEC_W bytes
 *   vb_pack         four vectors, in order, plus `zero`, saturated to 0..255
 *   vb_store_n      the first n bytes; memory past them is not written
 *   vb_lanes        255 in the first n bytes of each 16
 *
 * And of one tn_q8_isa, with the suffix that Q8_NAME adds:
 *
 *   qx              four bytes for each of VEC_W lanes
 *   qx_set          the same four for all lanes
 *   qx_pixels       lane i: byte i of four pixels `step` bytes apart
 *   qw              four weights for each lane, QW_BYTES in memory; qw_set: the same four
 *   qw_shl, qw_shr  the four bytes of each lane as one little-endian word; where Q8_SHIFTS is defined
 *   q8_dot          acc + sum of the four products */
#ifndef TN_KERNELS_Q8VEC_H
#define TN_KERNELS_Q8VEC_H

#include "kernels/q8.h"
#include "kernels/template/vec.h"

/* Vectors of one pixel of a block. */
#define Q8_HALVES (TN_Q8_BLOCK / VEC_W)

#endif
