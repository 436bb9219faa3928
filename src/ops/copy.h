/* Strided N-D copies: what Transpose, Slice, Expand, Tile, Concat, Split, Pad and others come down to. */
#ifndef TN_OPS_COPY_H
#define TN_OPS_COPY_H

#include "base/base.h"
#include "tensor/tensor.h"

#define TN_COPY_RANK (2 * TERN_MAX_RANK + 2)

/* dst[sum i_k * dst_k] = src[sum i_k * src_k] for all 0 <= i_k < dims[k]. Strides are in bytes; a source stride may be
 * 0 (repeat) or negative. No two elements of dst may be the same, src and dst do not overlap. */
typedef struct tn_copy {
    int rank;
    size_t unit; /* bytes of an element */
    int64_t dims[TN_COPY_RANK], src[TN_COPY_RANK], dst[TN_COPY_RANK];
} tn_copy;

void tn_copy_init(tn_copy *c, size_t element_bytes);
/* Appends a dim, outermost first; strides in elements. */
void tn_copy_dim(tn_copy *c, int64_t n, int64_t src_stride, int64_t dst_stride);
/* Merges dims in place, then copies. */
void tn_copy_run(tn_copy *c, const void *src, void *dst, int threads);
/* One contiguous range. */
void tn_copy_bytes(const void *src, void *dst, size_t bytes, int threads);
/* Writes n copies of an element of 1, 2, 4, 8 or 16 bytes. */
void tn_copy_fill(void *dst, const void *element, size_t element_bytes, int64_t n);
/* Channels [src_c, src_c + count) of blocked (n, ceil(src_channels/block), hw, block) to [dst_c, dst_c + count). */
typedef struct tn_copy_channels {
    int64_t n, hw, src_channels, dst_channels, src_c, dst_c, count;
    int block;
    size_t unit;
} tn_copy_channels;
void tn_copy_blocked(const tn_copy_channels *c, const void *src, void *dst, int threads);
/* Clears the lanes past `channels` of the last block. */
void tn_copy_clear_tail(void *data, int64_t n, int64_t channels, int64_t hw, int block, size_t unit);
/* Strides in elements of a dense row-major tensor of that shape. */
void tn_copy_strides(const tn_shape *s, int64_t *strides);

#endif
