/* Which algorithm for which shape, and the algorithms' tables, one entry for each tier. */
#include "kernels/conv.h"

#include "kernels/conv_internal.h"

/* Among methods of equal cost the first one is used. */
#define CONV_METHODS(X) \
    X(scaled)           \
    X(depthwise)        \
    X(first)            \
    X(1x1)              \
    X(winograd4)        \
    X(winograd2)        \
    X(winograd4s2)      \
    X(winograd2s2)      \
    X(direct)

#if defined(__x86_64__)
#define CONV_TIERS(X, method) \
    X(method, scalar, TERN_CPU_SCALAR) X(method, avx2, TERN_CPU_AVX2) X(method, avx512, TERN_CPU_AVX512)
#else
#define CONV_TIERS(X, method) X(method, scalar, TERN_CPU_SCALAR)
#endif

#define CONV_WRAP(method, tier, id)                                                                            \
    static size_t packed_bytes_##method##_##tier(const tn_conv *c) {                                           \
        return tn_conv_##method.packed_bytes(tn_kernels_get(id), c);                                           \
    }                                                                                                          \
    static void pack_##method##_##tier(const tn_conv *c, const float *w, void *dst) {                          \
        tn_conv_##method.pack(tn_kernels_get(id), c, w, dst);                                                  \
    }                                                                                                          \
    static size_t workspace_##method##_##tier(const tn_conv *c, int threads) {                                 \
        return tn_conv_##method.workspace(tn_kernels_get(id), c, threads);                                     \
    }                                                                                                          \
    static void run_##method##_##tier(const tn_conv *c, const float *x, const void *packed, const float *bias, \
                                      const float *residual, float *y, void *workspace, int threads) {         \
        tn_conv_##method.run(tn_kernels_get(id), c, x, packed, bias, residual, y, workspace, threads);         \
    }
#define CONV_WRAP_TIERS(method) CONV_TIERS(CONV_WRAP, method)
CONV_METHODS(CONV_WRAP_TIERS)

typedef struct conv_entry {
    const tn_conv_method *method;
    tern_cpu_tier tier;
    tn_conv_algo algo;
} conv_entry;

#define CONV_ENTRY(method_, tier_, id)                                                             \
    {&tn_conv_##method_,                                                                           \
     id,                                                                                           \
     {"conv_f32_" #method_ "_" #tier_, packed_bytes_##method_##_##tier_, pack_##method_##_##tier_, \
      workspace_##method_##_##tier_, run_##method_##_##tier_}},
#define CONV_ENTRY_TIERS(method) CONV_TIERS(CONV_ENTRY, method)
static const conv_entry entries[] = {CONV_METHODS(CONV_ENTRY_TIERS)};

bool tn_conv_is_sane(const tn_conv *c) {
    const int64_t limit = INT32_MAX;
    if (c->n < 0 || c->ic < 1 || c->oc < 1 || c->groups < 1 || c->ih < 0 || c->iw < 0 || c->oh < 0 || c->ow < 0)
        return false;
    if (c->n > limit || c->ic > limit || c->oc > limit || c->ih > limit || c->iw > limit || c->oh > limit ||
        c->ow > limit)
        return false;
    if (c->kh < 1 || c->kw < 1 || c->sh < 1 || c->sw < 1 || c->dh < 1 || c->dw < 1) return false;
    if (c->ic % c->groups || c->oc % c->groups) return false;
    /* A row of windows in the strip buffer: at most 256 Mi elements. */
    double row =
        ((double)c->ow + (double)(c->kw - 1) * c->dw + 1) * ((double)(c->kh - 1) * c->dh + 1) * (double)(c->ic + 15);
    if (c->slices > 1 && (c->slice0 < 0 || c->slice1 > c->slices || c->slice0 >= c->slice1)) return false;
    double slices = (double)conv_slices(c);
    return row * slices <= 0x1p28 && (double)(c->ic + 15) * (double)c->oc * c->kh * c->kw * slices <= 0x1p40;
}

/* What only one method can do, leaves only that one. */
static bool does_all(const tn_conv_method *m, const tn_conv *c) {
    return c->scaled == (m == &tn_conv_scaled) && (!c->n_picks || m == &tn_conv_1x1) &&
           (!c->means || m == &tn_conv_depthwise) && (!c->pooled || m == &tn_conv_winograd2 || m == &tn_conv_winograd4);
}

int tn_conv_candidates(tern_cpu_tier tier, const tn_conv *c, const tn_conv_algo **out, int max) {
    const tn_kernels *k = tn_kernels_get(tier);
    double costs[TN_COUNT(entries)];
    const tn_conv_algo *algos[TN_COUNT(entries)];
    int found = 0;
    if (!tn_conv_is_sane(c)) return 0;
    for (size_t i = 0; i < TN_COUNT(entries); i++) {
        const tn_conv_method *m = entries[i].method;
        if (tn_kernels_get(entries[i].tier) != k || !does_all(m, c) || !m->takes(k, c)) continue;
        double cost = m->cost ? m->cost(k, c) : 0;
        int at = found++;
        for (; at > 0 && cost < costs[at - 1]; at--) {
            costs[at] = costs[at - 1];
            algos[at] = algos[at - 1];
        }
        costs[at] = cost;
        algos[at] = &entries[i].algo;
    }
    found = TN_MIN(found, max);
    for (int i = 0; i < found; i++) out[i] = algos[i];
    return found;
}

const tn_conv_algo *tn_conv_select(tern_cpu_tier tier, const tn_conv *c) {
    const tn_conv_algo *algo = NULL;
    return tn_conv_candidates(tier, c, &algo, 1) ? algo : NULL;
}

int tn_conv_block(tern_cpu_tier tier) { return tn_kernels_get(tier)->width; }

void tn_conv_finish(const tn_kernels *k, const tn_act *act, float *y, int64_t count, int64_t lanes) {
    if (tn_act_is_clamp(act->kind)) return;
    k->act_f32(act, y, y, (size_t)(count * k->width));
    for (int64_t p = 0; p < count && lanes < k->width; p++)
        memset(y + p * k->width + lanes, 0, (size_t)(k->width - lanes) * sizeof(float));
}

/* One vector of outputs of a panel: rows of w become columns. w: its first output, of which `rows` exist. */
static void pack_vector(const tn_kernels *k, const float *w, int64_t ic, int64_t taps, int64_t lanes, int64_t rows,
                        float *dst, int64_t width) {
    if (taps == 1) {
        k->layout_block_f32(w, ic, dst, width, rows, ic);
        return;
    }
    for (int64_t i = 0; i < ic; i++) {
        int64_t i0 = i / lanes * lanes, here = TN_MIN(lanes, ic - i0);
        k->layout_block_f32(w + i * taps, ic * taps, dst + (i0 * taps + i - i0) * width, here * width, rows, taps);
    }
}

/* The same for slice z of several: rows of channels that do not exist are zeros. w: the panel's vector. */
static void pack_slice(const tn_kernels *k, const tn_conv *c, const float *w, int64_t z, int64_t lanes, int64_t rows,
                       float *dst, int64_t width) {
    int64_t taps = (int64_t)c->kh * c->kw, step = c->slices * taps, b = k->width;
    for (int64_t i = 0; i < conv_rows_of_slice(c, b); i++) {
        int64_t i0 = i / lanes * lanes;
        float *to = dst + (i0 * taps + i - i0) * width;
        if (i < c->ic)
            k->layout_block_f32(w + i * step + z * taps, c->ic * step, to, lanes * width, rows, taps);
        else
            for (int64_t t = 0; t < taps; t++) memset(to + t * lanes * width, 0, (size_t)b * sizeof(float));
    }
}

/* The same for joined groups, which have zeros between them. */
static void pack_joined(const tn_conv *c, int64_t join, int64_t lanes, int64_t first, int64_t width, int64_t left,
                        const float *w, float *dst) {
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups, taps = (int64_t)c->kh * c->kw, ic = icg * join;
    for (int64_t i0 = 0; i0 < ic; i0 += lanes) {
        for (int64_t t = 0; t < taps; t++) {
            for (int64_t i = i0; i < TN_MIN(i0 + lanes, ic); i++) {
                for (int64_t j = 0; j < width; j++) {
                    bool there = j < left && (first + j) / ocg == i / icg;
                    dst[j] = there ? w[((first + j) * icg + i % icg) * taps + t] : 0.0f;
                }
                dst += width;
            }
        }
    }
}

void tn_conv_pack_panels(const tn_kernels *k, const tn_conv *c, int64_t join, int64_t first, const float *w,
                         float *dst) {
    int64_t icg = c->ic / c->groups, taps = (int64_t)c->kh * c->kw, b = k->width, slices = conv_slices(c);
    int64_t lanes = c->in_plain ? 1 : b, ic = icg * join, oc = c->oc / c->groups * join;
    int64_t slice = (slices > 1 ? conv_rows_of_slice(c, b) : ic) * taps;
    w += first * icg * taps;
    for (int64_t o = 0; o < oc; o += 2 * b) {
        int64_t width = oc - o > b ? 2 * b : b, left = TN_MIN(oc, c->oc - first) - o;
        if (join > 1) pack_joined(c, join, lanes, o, width, left, w, dst);
        for (int64_t v = 0; v < width && slices > 1; v += b)
            for (int64_t z = 0; z < slices; z++)
                pack_slice(k, c, w + (o + v) * ic * slices * taps, z, lanes, TN_MAX(TN_MIN(left - v, b), 0),
                           dst + z * slice * width + v, width);
        for (int64_t v = 0; v < width && join == 1 && slices == 1; v += b)
            pack_vector(k, w + (o + v) * ic * taps, ic, taps, lanes, TN_MAX(TN_MIN(left - v, b), 0), dst + v, width);
        dst += slices * slice * width;
    }
}
