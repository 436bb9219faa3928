/* What the bfloat16 drivers share. */
#ifndef TN_KERNELS_BF16_INTERNAL_H
#define TN_KERNELS_BF16_INTERNAL_H

#include "kernels/bf16_conv.h"
#include "kernels/conv_internal.h"

/* An algorithm, for the kernels of any instruction set. */
typedef struct bf16_method {
    bool (*takes)(const tn_bf16_kernels *q, const tn_conv *c);
    size_t (*packed_bytes)(const tn_bf16_kernels *q, const tn_conv *c);
    void (*pack)(const tn_bf16_kernels *q, const tn_conv *c, const float *w, void *dst);
    size_t (*workspace)(const tn_bf16_kernels *q, const tn_conv *c, int threads);
    void (*run)(const tn_bf16_kernels *q, const tn_conv *c, const tn_bf16_conv_args *a, void *workspace, int threads);
} bf16_method;

extern const bf16_method bf16_conv_direct, bf16_conv_depthwise, bf16_conv_winograd;

/* Which tiles Winograd's takes for a shape that it takes. */
tn_winograd_kind bf16_winograd_kind(const tn_conv *c);

/* While a panel is multiplied, the one behind it is fetched, a part with each of the `tiles` tiles. */
TN_INLINE void bf16_fetch_ahead(tn_bf16_tile *t, int64_t panel, int64_t width, int64_t tile, int64_t tiles) {
    t->ahead = panel + tile * panel / tiles;
    t->ahead_step = tn_ceil_div(width * 2, tiles);
}

/* Activations that tiles apply themselves; the others run over float32 sums. */
TN_INLINE bool bf16_in_tile(tn_act_kind kind) { return tn_act_is_clamp(kind) || kind == TN_ACT_SILU; }

/* Activates `count` pixels of one block of float32 sums, of which `lanes` channels exist, and rounds them into y. */
void bf16_finish(const tn_bf16_kernels *q, const tn_act *act, float *sums, int64_t count, int64_t lanes, uint16_t *y);

#endif
