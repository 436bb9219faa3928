/* What the 8-bit drivers share: packed weights. */
#ifndef TN_KERNELS_Q8_INTERNAL_H
#define TN_KERNELS_Q8_INTERNAL_H

#include "kernels/kernels_internal.h"
#include "kernels/q8_conv.h"
#include "thread/thread.h"

/* Multiply-adds of a task, at least: some 4 microseconds with dot product instructions. */
#define Q8_TASK_WORK 1500000.0
#define Q8_TASKS     16

/* Packed weights begin with this, then sums (channels), zeros (channels), and the panels. */
typedef struct q8_header {
    int32_t corrected; /* some zero point is not folded into the weights: sums need that of x */
    int32_t unused[15];
} q8_header;

typedef struct q8_packed {
    const q8_header *header;
    const int32_t *sums;  /* per channel: of (w - w_zero), what the zero point of x is multiplied by */
    const int32_t *zeros; /* per channel: minus the zero point that is left */
    const char *panels;
} q8_packed;

/* `channels`: a multiple of 16. */
size_t q8_panels_at(int64_t channels);
q8_packed q8_open(const void *packed, int64_t channels);
/* Bytes of four weights of a channel. */
TN_INLINE int64_t q8_quad_bytes(const tn_q8_kernels *q) { return q->words ? 8 : 4; }

/* Where weights of channel o come from: element i of n is at base + i * step. */
typedef struct q8_source {
    const void *w;
    bool is_signed;
    const void *zero;
    int64_t n_zero;
} q8_source;

/* Packs one channel: `n` weights at `at`, `step` apart, into lane `lane` of a panel of `width` channels, as the bytes
 * `place[i]` of its column. Sets its sum and zero. */
typedef struct q8_column {
    int64_t at, step, n;
    const int32_t *place;
} q8_column;
void q8_pack_channel(const tn_q8_kernels *q, const q8_source *s, const q8_column *c, int64_t channel, int64_t width,
                     int64_t lane, char *panel, q8_header *header, int32_t *sum, int32_t *zero);

/* bias - x_zero * sums, and scales, for all channels (padded to blocks); x_zero in unsigned form. */
void q8_begin(const q8_packed *p, const tn_q8_args *a, int64_t count, int64_t channels, int32_t x_zero, int32_t *bias,
              float *scale);
/* What does not depend on the block. */
tn_q8_finish q8_finish_of(const tn_q8_args *a, bool y_signed);

/* Depthwise: q8_depthwise.c. */
size_t q8_dw_packed_bytes(const tn_q8_kernels *q, const tn_q8_conv *c);
void q8_dw_pack(const tn_q8_kernels *q, const tn_q8_conv *c, const q8_source *s, void *dst);
size_t q8_dw_workspace(const tn_q8_kernels *q, const tn_q8_conv *c, int threads);
void q8_dw_run(const tn_q8_kernels *q, const tn_q8_conv *c, const tn_q8_args *a, const uint8_t *x, uint8_t *y,
               void *workspace, int threads);

TN_INLINE bool q8_is_depthwise(const tn_q8_conv *c) { return c->groups > 1 && c->groups == c->ic && c->ic == c->oc; }

/* Copies n bytes, with 128 added where `flip`; dst may be src then. */
void q8_copy(const tn_kernels *k, uint8_t *dst, const uint8_t *src, int64_t n, bool flip);

#endif
