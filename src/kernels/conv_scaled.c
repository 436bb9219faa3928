/* 1x1 convolution of x times a factor for each sample and channel: what stands behind squeeze-and-excitation (Hu et
 * al., 2018). The factors go into the weights or into a copy of x, whichever is smaller: shape alone decides. */
#include "kernels/conv_internal.h"

/* Floats below which the multiplication is not worth sharing. */
#define SHARED_FLOATS 65536

typedef struct scaled_job {
    const tn_kernels *k;
    const tn_conv *c;
    const float *from, *scale; /* of one sample */
    float *to;
} scaled_job;

static bool takes(const tn_kernels *k, const tn_conv *c) {
    return c->scaled && c->groups == 1 && !c->n_picks && tn_conv_1x1.takes(k, c);
}

static int64_t weight_floats(const tn_kernels *k, const tn_conv *c) { return c->ic * tn_round_up(c->oc, k->width); }
static int64_t x_floats(const tn_kernels *k, const tn_conv *c) { return tn_round_up(c->ic, k->width) * c->ih * c->iw; }
static bool scales_weights(const tn_kernels *k, const tn_conv *c) { return weight_floats(k, c) <= x_floats(k, c); }

/* Of the product; it stands before the workspace of the convolution. */
static size_t own_floats(const tn_kernels *k, const tn_conv *c) {
    return (size_t)tn_round_up(TN_MIN(weight_floats(k, c), x_floats(k, c)), 16);
}

static tn_conv one_sample(const tn_conv *c) {
    tn_conv one = *c;
    one.n = 1;
    one.scaled = false;
    return one;
}

static size_t packed_bytes(const tn_kernels *k, const tn_conv *c) { return tn_conv_1x1.packed_bytes(k, c); }
static void pack(const tn_kernels *k, const tn_conv *c, const float *w, float *dst) { tn_conv_1x1.pack(k, c, w, dst); }
static size_t workspace(const tn_kernels *k, const tn_conv *c, int threads) {
    tn_conv one = one_sample(c);
    return own_floats(k, c) * sizeof(float) + tn_conv_1x1.workspace(k, &one, threads);
}

/* Panels of weights: row i by factor i. */
static void weights_task(void *context, int64_t begin, int64_t end, int worker) {
    const scaled_job *j = context;
    int64_t b = j->k->width, ic = j->c->ic;
    (void)worker;
    for (int64_t o = begin * 2 * b; o < end * 2 * b && o < j->c->oc; o += 2 * b) {
        int64_t width = j->c->oc - o > b ? 2 * b : b;
        j->k->scale_rows_f32(j->from + o * ic, j->scale, ic, width, j->to + o * ic);
    }
}

/* Blocks of channels. */
static void x_task(void *context, int64_t begin, int64_t end, int worker) {
    const scaled_job *j = context;
    static const float zeros[16] = {0};
    int64_t count = j->c->ih * j->c->iw * j->k->width;
    (void)worker;
    for (int64_t cb = begin; cb < end; cb++)
        j->k->scale_shift_f32(j->scale + cb * j->k->width, zeros, -__builtin_inff(), __builtin_inff(),
                              j->from + cb * count, j->to + cb * count, (size_t)count);
}

static void run(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias,
                const float *residual, float *y, void *ws, int threads) {
    const tn_conv one = one_sample(c);
    const bool weights = scales_weights(k, c);
    const int64_t in = x_floats(k, c), out = tn_round_up(c->oc, k->width) * c->oh * c->ow;
    const int64_t factors = tn_round_up(c->ic, k->width);
    const int share = own_floats(k, c) < SHARED_FLOATS ? 1 : threads;
    scaled_job j = {.k = k, .c = c, .to = ws};
    void *rest = (float *)ws + own_floats(k, c);
    for (int64_t n = 0; n < c->n; n++, x += in, y += out) {
        j.from = weights ? packed : x;
        j.scale = c->scale + n * factors;
        if (weights)
            tn_parallel_for(share, tn_ceil_div(c->oc, 2 * k->width), weights_task, &j);
        else
            tn_parallel_for(share, factors / k->width, x_task, &j);
        tn_conv_1x1.run(k, &one, weights ? x : j.to, weights ? j.to : packed, bias,
                        residual ? residual + n * out : NULL, y, rest, threads);
    }
}

const tn_conv_method tn_conv_scaled = {takes, NULL, packed_bytes, pack, workspace, run};
