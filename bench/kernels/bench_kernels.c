/* Speed of the convolution and matrix kernels on layers of real networks, beside the FMA peak probed in the same round.
 *
 *     bench_kernels [--cpu scalar|avx2|avx512] [--threads N] [--only TEXT] [--rounds N] FILE...
 *
 * A line of a file of bench/shapes is a layer, and # begins a comment (square maps; groups 0: one for each channel):
 *
 *     conv NETWORK in_channels in_height out_channels kernel stride groups
 *     gemm NETWORK m n k
 *
 * Rounds are interleaved and the minimum counts; GFLOP/s are of direct convolution, whatever the algorithm. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "cpu/cpu.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/probe.h"

enum { MAX_ALGOS = 8, MAX_NUMBERS = 6 };

typedef struct settings {
    tern_cpu_tier tier;
    int threads, rounds;
    const char *only; /* a part of the names of the layers to time */
} settings;

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
    printf("%-40s %-28s %8.3f ms %7.1f GFLOP/s", name, algo, best * 1e3, rate);
    if (top > 0) printf(" %5.1f %%", 100 * rate / top);
    printf("\n");
}

/* What the layers of one kind share: the numbers of a line, and how a line is timed. */
typedef struct kind {
    const char *name;
    int count; /* of numbers in a line */
    void (*label)(const int64_t *v, char *text, size_t size);
    void (*bench)(const settings *s, const char *name, const int64_t *v);
} kind;

/* v: in_channels, in_height, out_channels, kernel, stride, groups */
static void label_conv(const int64_t *v, char *text, size_t size) {
    char stride[24] = "", groups[24] = "";
    if (v[4] > 1) snprintf(stride, sizeof stride, " s%" PRId64, v[4]);
    if (v[5] > 1) snprintf(groups, sizeof groups, " g%" PRId64, v[5]);
    snprintf(text, size, "%s%" PRId64 "x%" PRId64 "%s%s %" PRId64 " %" PRId64 "-%" PRId64, v[5] == 0 ? "dw " : "", v[3],
             v[3], stride, groups, v[1], v[0], v[2]);
}

static void bench_conv(const settings *s, const char *name, const int64_t *v) {
    int b = tn_conv_block(s->tier), threads = s->threads;
    int64_t pad = v[3] / 2;
    tn_conv c = {.n = 1, .ic = v[0], .ih = v[1], .iw = v[1], .oc = v[2], .groups = v[5] ? v[5] : v[0]};
    c.kh = c.kw = (int)v[3], c.sh = c.sw = (int)v[4], c.dh = c.dw = 1, c.pad_top = c.pad_left = (int)pad;
    c.oh = c.ow = (v[1] + 2 * pad - v[3]) / v[4] + 1;
    c.in_plain = c.ic <= 4;
    c.act.kind = TN_ACT_RELU;
    float *x = array((size_t)(tn_round_up(c.ic, b) * c.ih * c.iw)),
          *y = array((size_t)(tn_round_up(c.oc, b) * c.oh * c.ow));
    float *w = array((size_t)(c.oc * (c.ic / c.groups) * c.kh * c.kw)), *bias = array((size_t)c.oc);
    double flops = 2.0 * (double)(c.oc * c.oh * c.ow * (c.ic / c.groups)) * c.kh * c.kw;
    const tn_conv_algo *algos[MAX_ALGOS];
    int count = tn_conv_candidates(s->tier, &c, algos, MAX_ALGOS);
    if (count == 0) printf("%-40s no kernel takes it\n", name);
    float *packed[MAX_ALGOS], *ws[MAX_ALGOS];
    double best[MAX_ALGOS], top = 0;
    for (int i = 0; i < count; i++) {
        packed[i] = array(algos[i]->packed_bytes(&c) / 4);
        ws[i] = array(algos[i]->workspace(&c, threads) / 4);
        best[i] = 1e9;
        algos[i]->pack(&c, w, packed[i]);
    }
    for (int r = 0; r < s->rounds; r++) {
        top = TN_MAX(top, peak(s->tier) * threads);
        for (int i = 0; i < count; i++) {
            /* Once to warm up: the algorithm before has evicted the weights. */
            algos[i]->run(&c, x, packed[i], bias, NULL, y, ws[i], threads);
            double t0 = now();
            algos[i]->run(&c, x, packed[i], bias, NULL, y, ws[i], threads);
            best[i] = TN_MIN(best[i], now() - t0);
        }
    }
    for (int i = 0; i < count; i++) {
        report(name, algos[i]->name, best[i], flops, top);
        tn_free(packed[i]);
        tn_free(ws[i]);
    }
    tn_free(x);
    tn_free(y);
    tn_free(w);
    tn_free(bias);
}

static void bench_product(const settings *s, const char *name, const int64_t *v, bool pre) {
    int64_t m = v[0], n = v[1], k = v[2];
    tn_gemm_f32 g = {.m = m, .n = n, .k = k, .a_rs = k, .a_cs = 1, .b_rs = n, .b_cs = 1, .ldc = n, .alpha = 1};
    float *a = array((size_t)(m * k)), *b = array((size_t)(k * n)), *c = array((size_t)(m * n));
    float *packed = array(tn_gemm_f32_packed_bytes(s->tier, &g) / 4),
          *ws = array(tn_gemm_f32_workspace(s->tier, &g, pre) / 4);
    tn_gemm_f32_pack(s->tier, &g, b, packed, 1);
    double best = 1e9, top = 0;
    for (int r = 0; r < s->rounds; r++) {
        top = TN_MAX(top, peak(s->tier) * s->threads);
        double t0 = now();
        tn_gemm_f32_run(s->tier, &g, a, pre ? NULL : b, pre ? packed : NULL, NULL, c, ws, s->threads);
        best = TN_MIN(best, now() - t0);
    }
    report(name, pre ? "gemm_f32 (B packed before)" : "gemm_f32", best, 2.0 * (double)m * (double)n * (double)k, top);
    tn_free(a);
    tn_free(b);
    tn_free(c);
    tn_free(packed);
    tn_free(ws);
}

/* v: m, n, k */
static void label_gemm(const int64_t *v, char *text, size_t size) {
    snprintf(text, size, "gemm %" PRId64 "x%" PRId64 "x%" PRId64, v[0], v[1], v[2]);
}

static void bench_gemm(const settings *s, const char *name, const int64_t *v) {
    bench_product(s, name, v, true);
    bench_product(s, name, v, false);
}

static const kind kinds[] = {
    {"conv", 6, label_conv, bench_conv},
    {"gemm", 3, label_gemm, bench_gemm},
};

/* ---- shape files ----------------------------------------------------------------------------------------------- */

/* Ends the next word of the text in place; NULL: there is none. */
static char *next_word(char **text) {
    char *word = *text + strspn(*text, " \t\r\n");
    if (*word == '\0' || *word == '#') return NULL;
    char *end = word + strcspn(word, " \t\r\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static const kind *find_kind(const char *name) {
    for (size_t i = 0; i < TN_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

/* False: not a layer. Sizes stay below 2^16, so that no product of them overflows. */
static bool parse_numbers(char *text, int count, int64_t *v) {
    char *end;
    for (int i = 0; i < count; i++) {
        char *word = next_word(&text);
        v[i] = word ? strtoll(word, &end, 10) : -1;
        bool groups = i == 5;
        if (!word || *end || v[i] < (groups ? 0 : 1) || v[i] > 65535) return false;
    }
    if (count == 6 && v[5] > 0 && (v[0] % v[5] || v[2] % v[5])) return false;
    if (count == 6 && v[5] == 0 && v[0] != v[2]) return false;
    return next_word(&text) == NULL;
}

/* Times the layer of one line; false: it is none. */
static bool bench_line(const settings *s, char *line) {
    int64_t v[MAX_NUMBERS];
    char label[64], name[160];
    char *word = next_word(&line);
    if (!word) return true; /* blank, or a comment */
    const kind *k = find_kind(word);
    const char *network = next_word(&line);
    if (!k || !network || !parse_numbers(line, k->count, v)) return false;
    k->label(v, label, sizeof label);
    snprintf(name, sizeof name, "%.80s %s", network, label);
    if (strstr(name, s->only)) k->bench(s, name, v);
    return true;
}

static int bench_file(const settings *s, const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "bench_kernels: %s can not be read\n", path);
        return 1;
    }
    char line[256];
    int number = 0, code = 0;
    while (code == 0 && fgets(line, sizeof line, f)) {
        number++;
        if (bench_line(s, line)) continue;
        fprintf(stderr, "bench_kernels: %s:%d: not a layer\n", path, number);
        code = 1;
    }
    fclose(f);
    return code;
}

/* ---- command line ---------------------------------------------------------------------------------------------- */

static int usage(void) {
    fprintf(stderr,
            "usage: bench_kernels [--cpu scalar|avx2|avx512] [--threads N] [--only TEXT] [--rounds N] FILE...\n");
    return 2;
}

static bool parse_count(const char *text, int *value) {
    char *end;
    long n = strtol(text, &end, 10);
    *value = (int)n;
    return *text && !*end && n >= 1 && n <= 1000;
}

int main(int argc, char **argv) {
    settings s = {.tier = tn_cpu_tier(), .threads = 1, .rounds = 25, .only = ""};
    static const struct option options[] = {{"cpu", required_argument, NULL, 'c'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {0}};
    bool good = true;
    for (int c; good && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'c')
            good = tn_cpu_tier_parse(optarg, &s.tier, NULL) == TERN_OK && s.tier <= tn_cpu_get_info()->tier;
        else if (c == 't')
            good = parse_count(optarg, &s.threads);
        else if (c == 'r')
            good = parse_count(optarg, &s.rounds);
        else if (c == 'o')
            s.only = optarg;
        else
            good = false;
    }
    if (!good || optind == argc) return usage();
    own_time = s.threads == 1;
    for (int i = optind; i < argc; i++)
        if (bench_file(&s, argv[i]) != 0) return 1;
    return 0;
}
