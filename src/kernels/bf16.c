/* bfloat16: which algorithm for which shape, and the layout of maps. */
#include "kernels/bf16.h"

#include "kernels/bf16_internal.h"

static const bf16_method *const methods[TN_BF16_ALGO_COUNT] = {
    [TN_BF16_DEPTHWISE] = &bf16_conv_depthwise,
    [TN_BF16_WINOGRAD] = &bf16_conv_winograd,
    [TN_BF16_DIRECT] = &bf16_conv_direct,
};

bool tn_bf16_conv_takes(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c) {
    return tn_conv_is_sane(c) && methods[algo]->takes(tn_bf16_kernels_get(isa), c);
}

bool tn_bf16_conv_select(tn_bf16_isa isa, const tn_conv *c, tn_bf16_algo *algo) {
    for (*algo = 0; *algo < TN_BF16_ALGO_COUNT; (*algo)++)
        if (tn_bf16_conv_takes(isa, *algo, c)) return true;
    return false;
}

const char *tn_bf16_conv_name(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c) {
#define NAMES(what)                                                                          \
    {                                                                                        \
        "conv_bf16_" what "_scalar", "conv_bf16_" what "_avx2", "conv_bf16_" what "_avx512", \
            "conv_bf16_" what "_avx512bf16"                                                  \
    }
    enum { DEPTHWISE, FIRST, POINTWISE, DIRECT, WINOGRAD_2, WINOGRAD_2S2, WINOGRAD_2X4 };
    static const char *const names[][TN_BF16_ISA_COUNT] = {
        [DEPTHWISE] = NAMES("depthwise"),     [FIRST] = NAMES("first"),          [POINTWISE] = NAMES("1x1"),
        [DIRECT] = NAMES("direct"),           [WINOGRAD_2] = NAMES("winograd2"), [WINOGRAD_2S2] = NAMES("winograd2s2"),
        [WINOGRAD_2X4] = NAMES("winograd2x4")};
#undef NAMES
    if (algo == TN_BF16_DEPTHWISE) return names[DEPTHWISE][isa];
    if (algo == TN_BF16_WINOGRAD) {
        tn_winograd_kind kind = bf16_winograd_kind(c);
        return names[kind == TN_WINOGRAD_2X4 ? WINOGRAD_2X4 : kind == TN_WINOGRAD_2S2 ? WINOGRAD_2S2 : WINOGRAD_2][isa];
    }
    return names[c->in_plain ? FIRST : c->kh == 1 && c->kw == 1 ? POINTWISE : DIRECT][isa];
}

size_t tn_bf16_conv_packed_bytes(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c) {
    return methods[algo]->packed_bytes(tn_bf16_kernels_get(isa), c);
}

void tn_bf16_conv_pack(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, const float *w, void *dst) {
    methods[algo]->pack(tn_bf16_kernels_get(isa), c, w, dst);
}

size_t tn_bf16_conv_workspace(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, int threads) {
    return methods[algo]->workspace(tn_bf16_kernels_get(isa), c, threads);
}

void tn_bf16_conv_run(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, const tn_bf16_conv_args *a, void *workspace,
                      int threads) {
    if (c->n == 0 || c->oh == 0 || c->ow == 0) return;
    methods[algo]->run(tn_bf16_kernels_get(isa), c, a, workspace, threads);
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

/* Pixels of one block that are in both forms at a time, in L1. */
#define CHUNK 128

typedef struct layout_job {
    const tn_kernels *k;
    const float *from;
    float *to;
    const uint16_t *blocked_from;
    uint16_t *blocked_to;
    int64_t c, hw, blocks, chunks;
} layout_job;

static void layout_task(void *context, int64_t begin, int64_t end, int worker) {
    const layout_job *j = context;
    (void)worker;
    _Alignas(TN_CACHE_LINE) float wide[CHUNK * 16];
    int64_t b = j->k->width;
    for (int64_t t = begin; t < end; t++) {
        int64_t p = t % j->chunks * CHUNK, cb = t / j->chunks % j->blocks, n = t / j->chunks / j->blocks;
        int64_t count = TN_MIN(j->hw - p, CHUNK), c = TN_MIN(j->c - cb * b, b);
        int64_t plain = (n * j->c + cb * b) * j->hw + p, blocked = ((n * j->blocks + cb) * j->hw + p) * b;
        if (j->from) {
            j->k->layout_block_f32(j->from + plain, j->hw, wide, b, c, count);
            tn_f32_to_bf16_n(wide, j->blocked_to + blocked, (size_t)(count * b));
        } else {
            tn_bf16_to_f32_n(j->blocked_from + blocked, wide, (size_t)(count * b));
            j->k->layout_unblock_f32(wide, j->to + plain, j->hw, c, count);
        }
    }
}

static void layout_run(layout_job *j, int64_t n, int threads) {
    j->blocks = tn_ceil_div(j->c, j->k->width);
    j->chunks = tn_ceil_div(j->hw, CHUNK);
    tn_parallel_for(threads, n * j->blocks * j->chunks, layout_task, j);
}

void tn_bf16_block(tern_cpu_tier tier, const float *x, uint16_t *y, int64_t n, int64_t c, int64_t hw, int threads) {
    layout_job j = {.k = tn_kernels_get(tier), .from = x, .blocked_to = y, .c = c, .hw = hw};
    layout_run(&j, n, threads);
}

void tn_bf16_unblock(tern_cpu_tier tier, const uint16_t *x, float *y, int64_t n, int64_t c, int64_t hw, int threads) {
    layout_job j = {.k = tn_kernels_get(tier), .blocked_from = x, .to = y, .c = c, .hw = hw};
    layout_run(&j, n, threads);
}
