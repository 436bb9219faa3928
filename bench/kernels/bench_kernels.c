/* Speed of the convolution and matrix kernels on layers of real networks, beside the FMA peak probed in the same round.
 *
 *     bench_kernels [scalar|avx2|avx512] [threads] [substring of a layer's name]
 *
 * Rounds are interleaved and the minimum counts; GFLOP/s are of direct convolution, whatever the algorithm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "cpu/cpu.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/probe.h"

#define ROUNDS 25

typedef struct layer {
    const char *name;
    int64_t ic, size, oc; /* square maps: input and output channels, input height */
    int kernel, stride, groups;
} layer;

/* groups: 0 means one for each channel */
static const layer layers[] = {
    {"resnet50 first", 3, 224, 64, 7, 2, 1},
    {"resnet50 1x1 56 64-256", 64, 56, 256, 1, 1, 1},
    {"resnet50 1x1 56 256-64", 256, 56, 64, 1, 1, 1},
    {"resnet50 3x3 56 64", 64, 56, 64, 3, 1, 1},
    {"resnet50 1x1 28 512-128", 512, 28, 128, 1, 1, 1},
    {"resnet50 3x3 28 128", 128, 28, 128, 3, 1, 1},
    {"resnet50 3x3 s2 56 128", 128, 56, 128, 3, 2, 1},
    {"resnet50 1x1 14 256-1024", 256, 14, 1024, 1, 1, 1},
    {"resnet50 1x1 14 1024-256", 1024, 14, 256, 1, 1, 1},
    {"resnet50 3x3 14 256", 256, 14, 256, 3, 1, 1},
    {"resnet50 1x1 s2 28 512-1024", 512, 28, 1024, 1, 2, 1},
    {"resnet50 3x3 s2 14 512", 512, 14, 512, 3, 2, 1},
    {"resnet50 1x1 7 512-2048", 512, 7, 2048, 1, 1, 1},
    {"resnet50 1x1 7 2048-512", 2048, 7, 512, 1, 1, 1},
    {"resnet50 3x3 7 512", 512, 7, 512, 3, 1, 1},
    {"mobilenet_v2 first", 3, 224, 32, 3, 2, 1},
    {"mobilenet_v2 1x1 112 16-96", 16, 112, 96, 1, 1, 1},
    {"mobilenet_v2 dw 112 96 s2", 96, 112, 96, 3, 2, 0},
    {"mobilenet_v2 1x1 56 24-144", 24, 56, 144, 1, 1, 1},
    {"mobilenet_v2 dw 56 144", 144, 56, 144, 3, 1, 0},
    {"mobilenet_v2 1x1 14 96-576", 96, 14, 576, 1, 1, 1},
    {"mobilenet_v2 dw 14 576", 576, 14, 576, 3, 1, 0},
    {"mobilenet_v2 1x1 7 160-960", 160, 7, 960, 1, 1, 1},
    {"mobilenet_v2 dw 7 960", 960, 7, 960, 3, 1, 0},
    {"mobilenet_v2 1x1 7 320-1280", 320, 7, 1280, 1, 1, 1},
    {"yolov5s 3x3 40 128", 128, 40, 128, 3, 1, 1},
    {"yolov5s 3x3 s2 160 64-128", 64, 160, 128, 3, 2, 1},
    {"efficientnet dw5 28 240", 240, 28, 240, 5, 1, 0},
    {"squeeze 1x1 1 960-240", 960, 1, 240, 1, 1, 1},
};

/* With one thread, the thread's own time: what else the machine does would count otherwise. */
static bool own_time;

static double now(void) {
    if (!own_time) return (double)tn_clock_ns() * 1e-9;
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* GFLOP/s of multiply-adds that touch registers only. */
static double peak(tern_cpu_tier tier) {
    float sink;
    double t0 = now();
    double flops = (double)tn_probe_flops(tier, 20000, &sink);
    return tier == TERN_CPU_SCALAR ? 0 : flops / (now() - t0) * 1e-9; /* of portable C it says little */
}

static float *array(size_t n) {
    float *p = tn_alloc_aligned(n * sizeof(float) + 64, 64);
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = (float)(i * 2654435761u % 1000) / 1000.0f - 0.5f;
    return p;
}

static void report(const char *name, const char *algo, double best, double flops, double top) {
    double rate = flops / best * 1e-9;
    printf("%-28s %-28s %8.3f ms %7.1f GFLOP/s", name, algo, best * 1e3, rate);
    if (top > 0) printf(" %5.1f %%", 100 * rate / top);
    printf("\n");
}

static void bench_conv(tern_cpu_tier tier, const layer *l, int threads) {
    int b = tn_conv_block(tier), pad = l->kernel / 2;
    tn_conv c = {
        .n = 1, .ic = l->ic, .ih = l->size, .iw = l->size, .oc = l->oc, .groups = l->groups ? l->groups : l->ic};
    c.kh = c.kw = l->kernel, c.sh = c.sw = l->stride, c.dh = c.dw = 1, c.pad_top = c.pad_left = pad;
    c.oh = c.ow = (l->size + 2 * pad - l->kernel) / l->stride + 1;
    c.in_plain = l->ic <= 4;
    c.act.kind = TN_ACT_RELU;
    float *x = array((size_t)(tn_round_up(c.ic, b) * c.ih * c.iw)),
          *y = array((size_t)(tn_round_up(c.oc, b) * c.oh * c.ow));
    float *w = array((size_t)(c.oc * (c.ic / c.groups) * c.kh * c.kw)), *bias = array((size_t)c.oc);
    double flops = 2.0 * (double)(c.oc * c.oh * c.ow * (c.ic / c.groups)) * c.kh * c.kw;
    const tn_conv_algo *algos[8];
    int count = tn_conv_candidates(tier, &c, algos, 8);
    float *packed[8], *ws[8];
    double best[8], top = 0;
    for (int i = 0; i < count; i++) {
        packed[i] = array(algos[i]->packed_bytes(&c) / 4);
        ws[i] = array(algos[i]->workspace(&c, threads) / 4);
        best[i] = 1e9;
        algos[i]->pack(&c, w, packed[i]);
    }
    for (int r = 0; r < ROUNDS; r++) {
        top = TN_MAX(top, peak(tier) * threads);
        for (int i = 0; i < count; i++) {
            /* Once to warm up: the algorithm before has evicted the weights. */
            algos[i]->run(&c, x, packed[i], bias, NULL, y, ws[i], threads);
            double t0 = now();
            algos[i]->run(&c, x, packed[i], bias, NULL, y, ws[i], threads);
            best[i] = TN_MIN(best[i], now() - t0);
        }
    }
    for (int i = 0; i < count; i++) {
        report(l->name, algos[i]->name, best[i], flops, top);
        tn_free(packed[i]);
        tn_free(ws[i]);
    }
    tn_free(x);
    tn_free(y);
    tn_free(w);
    tn_free(bias);
}

static void bench_gemm(tern_cpu_tier tier, int64_t m, int64_t n, int64_t k, bool pre, int threads) {
    tn_gemm_f32 g = {.m = m, .n = n, .k = k, .a_rs = k, .a_cs = 1, .b_rs = n, .b_cs = 1, .ldc = n, .alpha = 1};
    float *a = array((size_t)(m * k)), *b = array((size_t)(k * n)), *c = array((size_t)(m * n));
    float *packed = array(tn_gemm_f32_packed_bytes(tier, &g) / 4),
          *ws = array(tn_gemm_f32_workspace(tier, &g, pre, threads) / 4);
    tn_gemm_f32_pack(tier, &g, b, packed);
    double best = 1e9, top = 0;
    for (int r = 0; r < ROUNDS; r++) {
        top = TN_MAX(top, peak(tier) * threads);
        double t0 = now();
        tn_gemm_f32_run(tier, &g, a, pre ? NULL : b, pre ? packed : NULL, NULL, c, ws, threads);
        best = TN_MIN(best, now() - t0);
    }
    char name[64];
    snprintf(name, sizeof name, "gemm %dx%dx%d", (int)m, (int)n, (int)k);
    report(name, pre ? "gemm_f32 (B packed before)" : "gemm_f32", best, 2.0 * (double)m * (double)n * (double)k, top);
    tn_free(a);
    tn_free(b);
    tn_free(c);
    tn_free(packed);
    tn_free(ws);
}

int main(int argc, char **argv) {
    tern_cpu_tier tier = tn_cpu_tier();
    static const char *const tiers[] = {"scalar", "avx2", "avx512"};
    for (int t = 0; argc > 1 && t <= (int)tn_cpu_get_info()->tier; t++)
        if (strcmp(argv[1], tiers[t]) == 0) tier = t;
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;
    own_time = threads == 1;
    const char *only = argc > 3 ? argv[3] : "";
    for (size_t i = 0; i < TN_COUNT(layers); i++)
        if (strstr(layers[i].name, only)) bench_conv(tier, &layers[i], threads);
    if (!strstr("gemm", only)) return 0;
    static const int64_t shapes[][3] = {{1, 1000, 2048}, {1, 4096, 4096},  {14, 1000, 2048},
                                        {197, 768, 768}, {197, 3072, 768}, {512, 512, 512}};
    for (size_t i = 0; i < TN_COUNT(shapes); i++)
        for (int pre = 1; pre >= 0; pre--) bench_gemm(tier, shapes[i][0], shapes[i][1], shapes[i][2], pre, threads);
    return 0;
}
