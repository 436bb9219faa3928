/* Speed of the 8-bit convolution kernels on layers of real networks, for each instruction set.
 *
 *     bench_q8 [substring of a layer's name]
 *
 * One thread, its own time, minimum of interleaved rounds; a multiply-add counts as two operations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "kernels/q8_conv.h"

#define ROUNDS 40

typedef struct layer {
    const char *name;
    int64_t ic, size, oc; /* square maps */
    int kernel, stride;
    bool depthwise;
} layer;

static const layer layers[] = {
    {"first 224 3-32 s2", 3, 224, 32, 3, 2, false},  {"1x1 112 16-96", 16, 112, 96, 1, 1, false},
    {"1x1 56 24-144", 24, 56, 144, 1, 1, false},     {"1x1 56 64-192", 64, 56, 192, 1, 1, false},
    {"1x1 28 192-32", 192, 28, 32, 1, 1, false},     {"1x1 14 96-576", 96, 14, 576, 1, 1, false},
    {"1x1 14 576-96", 576, 14, 96, 1, 1, false},     {"1x1 7 320-1280", 320, 7, 1280, 1, 1, false},
    {"1x1 14 1024-192", 1024, 14, 192, 1, 1, false}, {"3x3 56 64-64", 64, 56, 64, 3, 1, false},
    {"3x3 14 256-256", 256, 14, 256, 3, 1, false},   {"3x3 28 128-128 s2", 128, 28, 128, 3, 2, false},
    {"dw3 112 32", 32, 112, 32, 3, 1, true},         {"dw3 112 96 s2", 96, 112, 96, 3, 2, true},
    {"dw3 56 144", 144, 56, 144, 3, 1, true},        {"dw3 28 192", 192, 28, 192, 3, 1, true},
    {"dw3 14 576", 576, 14, 576, 3, 1, true},        {"dw3 7 960", 960, 7, 960, 3, 1, true},
    {"dw5 28 240", 240, 28, 240, 5, 1, true},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *memory(size_t n) {
    uint8_t *p = tn_alloc_aligned(n + 64, 64);
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    return p;
}

typedef struct candidate {
    tn_q8_isa isa;
    bool symmetric; /* int8 weights without zero point */
    void *packed, *workspace;
    tn_q8_args args;
    double best;
} candidate;

static void bench(const layer *l) {
    tn_q8_conv c = {.n = 1, .ic = l->ic, .ih = l->size, .iw = l->size, .oc = l->oc, .dh = 1, .dw = 1};
    c.groups = l->depthwise ? l->ic : 1;
    c.kh = c.kw = l->kernel, c.sh = c.sw = l->stride, c.pad_top = c.pad_left = l->kernel / 2;
    c.oh = c.ow = (l->size + 2 * (l->kernel / 2) - l->kernel) / l->stride + 1;
    c.x_block = l->ic <= 4 ? 4 : 16;
    void *x = memory((size_t)(tn_round_up(c.ic, c.x_block) * c.ih * c.iw));
    void *y = memory((size_t)(tn_round_up(c.oc, 16) * c.oh * c.ow));
    void *w = memory((size_t)(c.oc * (c.ic / c.groups) * c.kh * c.kw));
    float *scale = tn_alloc((size_t)c.oc * sizeof *scale);
    if (!scale) exit(1);
    for (int64_t i = 0; i < c.oc; i++) scale[i] = 1e-4f;
    candidate list[2 * TN_Q8_ISA_COUNT];
    int count = 0;
    for (int i = 0; i < 2 * TN_Q8_ISA_COUNT; i++) {
        candidate k = {.isa = i / 2, .symmetric = i & 1, .best = 1e9};
        if (!tn_q8_available(k.isa) || k.isa == TN_Q8_SCALAR) continue;
        const uint8_t zero = 120;
        c.w_signed = k.symmetric;
        k.packed = memory(tn_q8_conv_packed_bytes(k.isa, &c));
        k.workspace = memory(tn_q8_conv_workspace(k.isa, &c, 1));
        tn_q8_conv_pack(k.isa, &c, w, k.symmetric ? NULL : &zero, 1, k.packed);
        k.args = (tn_q8_args){.packed = k.packed, .x_zero = 3, .scale = scale, .y_zero = 100, .y_high = 255};
        list[count++] = k;
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < count; i++)
            for (int warm = 0; warm < 2; warm++) { /* the variant before has evicted the weights */
                double t = now();
                tn_q8_conv_run(list[i].isa, &c, &list[i].args, x, y, list[i].workspace, 1);
                if (warm) list[i].best = TN_MIN(list[i].best, now() - t);
            }
    double macs = (double)(c.oc * c.oh * c.ow * (c.ic / c.groups)) * c.kh * c.kw;
    for (int i = 0; i < count; i++) {
        printf("%-20s %-30s %-10s %8.4f ms %7.1f GOP/s\n", l->name, tn_q8_conv_name(list[i].isa, &c),
               list[i].symmetric ? "symmetric" : "zero point", list[i].best * 1e3, 2e-9 * macs / list[i].best);
        tn_free(list[i].packed);
        tn_free(list[i].workspace);
    }
    tn_free(x);
    tn_free(y);
    tn_free(w);
    tn_free(scale);
}

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < TN_COUNT(layers); i++)
        if (strstr(layers[i].name, only)) bench(&layers[i]);
    return 0;
}
