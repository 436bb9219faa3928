/* Attention over the register tile: scores transposed, so that softmax needs no sums across lanes and its result is at
 * once what the product with the values reads.
 *
 * For each block of keys: K is packed as rows of A for the tile, (size, width) for each `tile_m` keys, and V as panels
 * of two vectors, (keys, 2 * width). For each two vectors of queries: scores (keys, width) = K q^T; softmax goes over
 * the keys with a maximum and a sum for each lane; values (queries, v_size) continue by the product of the weights,
 * which lie as (keys, width), with V. */
#include "kernels/attention.h"

#include "kernels/kernels_internal.h"

#include <math.h>

/* Scores of two vectors of queries and one block of keys stay in L1. */
#define BLOCK 256

static const ptrdiff_t no_offset[1] = {0};

/* Parts of the workspace; two vectors of queries are a band. */
typedef struct space {
    int64_t bands, tiles;
    int64_t v_width;                         /* v_size, rounded up to vectors */
    float *q, *k, *v, *s, *y, *state, *more; /* state: (bands, 2, 3, width) of top, sum, factor */
} space;

int tn_attention_f32_width(tern_cpu_tier tier) { return tn_kernels_get(tier)->width; }

int64_t tn_attention_f32_block(int64_t keys) {
    int64_t blocks = tn_ceil_div(TN_MAX(keys, 1), BLOCK);
    return tn_ceil_div(TN_MAX(keys, 1), blocks);
}

/* `*at` grows by so many floats, rounded up to a line. */
static bool take(size_t *at, int64_t a, int64_t b, size_t *where) {
    size_t n;
    *where = *at;
    return tn_mul_size((size_t)a, (size_t)b, &n) && n <= SIZE_MAX / 16 &&
           tn_add_size(*at, (size_t)tn_round_up((int64_t)n, 16), at) && *at <= SIZE_MAX / 16;
}

static bool layout(const tn_kernels *kn, const tn_attention_f32 *a, size_t where[7], size_t *total, space *sp) {
    int64_t w = kn->width, vectors = tn_ceil_div(a->rows, w);
    *total = 0;
    if (a->v_size > INT64_MAX - w || a->block > INT64_MAX / 64) return false;
    sp->bands = tn_ceil_div(vectors, 2);
    sp->tiles = tn_ceil_div(a->block, kn->tile_m);
    sp->v_width = tn_round_up(a->v_size, w);
    bool scores = !a->given, values = a->y != NULL, hooks = a->adjust || a->after;
    return take(total, scores ? a->size : 0, sp->bands * 2 * w, &where[0]) &&
           take(total, scores ? a->size : 0, sp->tiles * w, &where[1]) &&
           take(total, values ? sp->v_width : 0, a->block, &where[2]) && take(total, a->block, 2 * w, &where[3]) &&
           take(total, values ? sp->v_width : 0, sp->bands * 2 * w, &where[4]) &&
           take(total, sp->bands, 6 * w, &where[5]) && take(total, hooks ? a->block : 0, 2 * w, &where[6]);
}

size_t tn_attention_f32_workspace(tern_cpu_tier tier, const tn_attention_f32 *a) {
    size_t where[7], total;
    space sp;
    return layout(tn_kernels_get(tier), a, where, &total, &sp) ? total * sizeof(float) : SIZE_MAX;
}

/* One call. */
typedef struct job {
    const tn_kernels *kn;
    const tn_attention_f32 *a;
    space sp;
    int64_t k0, keys; /* the block */
} job;

/* Where a row lies, given steps from head to head and from row to row. */
static int64_t row_at(const tn_attention_f32 *a, int64_t row, int64_t head_step, int64_t row_step) {
    return (a->first + row) / a->q_len * head_step + (a->first + row) % a->q_len * row_step;
}

/* Queries as panels (size, 2 * width), times the scale. */
static void pack_queries(const job *j) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width;
    float *panel = j->sp.q;
    for (int64_t row = 0; row < j->sp.bands * 2 * w; row += w) {
        float *dst = panel + row / (2 * w) * (2 * w) * a->size + row % (2 * w);
        int64_t n = TN_MAX(TN_MIN(w, a->rows - row), (int64_t)0);
        if (n > 0 && (a->first + row) % a->q_len + n <= a->q_len) {
            j->kn->layout_block_f32(a->q + row_at(a, row, a->q_head, a->q_row), a->q_row, dst, 2 * w, n, a->size);
            continue;
        }
        for (int64_t l = 0; l < w; l++) {
            const float *q = a->q + (l < n ? row_at(a, row + l, a->q_head, a->q_row) : 0);
            for (int64_t i = 0; i < a->size; i++) dst[i * 2 * w + l] = l < n ? q[i] : 0.0f;
        }
    }
    if (a->scale != 1.0f)
        j->kn->bin_f32(TN_BIN_MUL, panel, 1, &a->scale, 0, panel, (size_t)(j->sp.bands * 2 * w * a->size));
}

static int64_t tile_begin(const job *j, int64_t t, int64_t tiles) { return t * j->keys / tiles; }

static void pack_keys(const job *j) {
    const tn_attention_f32 *a = j->a;
    int64_t tiles = tn_ceil_div(j->keys, j->kn->tile_m), w = j->kn->width;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t at = tile_begin(j, t, tiles), n = tile_begin(j, t + 1, tiles) - at;
        j->kn->layout_block_f32(a->k + (j->k0 + at) * a->k_row, a->k_row, j->sp.k + t * w * a->size, w, n, a->size);
    }
}

/* Columns from c on are read in place: one band would not use a copy more than once. */
static bool in_place(const job *j, int64_t c) {
    int64_t w = j->kn->width, left = j->a->v_size - c;
    return j->sp.bands == 1 && (left >= 2 * w || left == w);
}

static void pack_values(const job *j) {
    const tn_attention_f32 *a = j->a;
    int64_t w = 2 * j->kn->width;
    for (int64_t c = 0; c < a->v_size; c += w) {
        int64_t n = TN_MIN(w, a->v_size - c), width = TN_MIN(w, j->sp.v_width - c);
        if (in_place(j, c)) continue;
        float *dst = j->sp.v + c * j->keys;
        for (int64_t i = 0; i < j->keys; i++, dst += width) {
            memcpy(dst, a->v + (j->k0 + i) * a->v_row + c, (size_t)n * sizeof *dst);
            if (n < width) memset(dst + n, 0, (size_t)(width - n) * sizeof *dst);
        }
    }
}

/* Scores of `vectors` vectors of queries. */
static void scores(const job *j, int64_t band, int64_t vectors) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width, tiles = tn_ceil_div(j->keys, j->kn->tile_m);
    tn_tile t = {.tap = no_offset,
                 .taps = 1,
                 .lanes = a->size,
                 .lane_step = w,
                 .w = j->sp.q + band * 2 * w * a->size,
                 .w_step = 2 * w,
                 .y_pixel = w,
                 .y_vec = a->block * w,
                 .valid = w,
                 .lo = -INFINITY,
                 .hi = INFINITY};
    for (int64_t i = 0; i < tiles; i++) {
        int64_t at = tile_begin(j, i, tiles), m = tile_begin(j, i + 1, tiles) - at;
        t.x = j->sp.k + i * w * a->size;
        t.y = j->sp.s + at * w;
        j->kn->tile_f32(TN_TILE_PRODUCT, (int)m, (int)vectors)(&t);
    }
}

/* Values of `rows` queries in the lanes of `s`: `y` (rows, v_width) continues, or begins. */
static void values(const job *j, const float *s, int64_t rows, bool resume, float *y) {
    int64_t w = j->kn->width, tiles = tn_ceil_div(rows, j->kn->tile_m), vw = j->sp.v_width;
    tn_tile t = {.tap = no_offset,
                 .taps = 1,
                 .lanes = j->keys,
                 .lane_step = w,
                 .y_pixel = vw,
                 .y_vec = w,
                 .valid = w,
                 .resume = resume,
                 .lo = -INFINITY,
                 .hi = INFINITY};
    for (int64_t c = 0; c < vw; c += 2 * w) {
        int64_t nv = TN_MIN(2 * w, vw - c) / w;
        bool direct = in_place(j, c);
        t.w = direct ? j->a->v + j->k0 * j->a->v_row + c : j->sp.v + c * j->keys;
        t.w_step = direct ? j->a->v_row : nv * w;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t at = i * rows / tiles, m = (i + 1) * rows / tiles - at;
            t.x = s + at;
            t.y = y + at * vw + c;
            j->kn->tile_f32(TN_TILE_PRODUCT, (int)m, (int)nv)(&t);
        }
    }
}

/* 1 / sum for each lane; what a query that saw nothing gets. */
static void inverse(const job *j, const float *sum, float *factor) {
    for (int l = 0; l < j->kn->width; l++) factor[l] = sum[l] == 0 && j->a->zero_masked ? 0.0f : 1.0f / sum[l];
}

/* One vector of queries against the block. */
static void attend(const job *j, int64_t row, int64_t rows, float *s, float *state, float *y) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width;
    float *top = state, *sum = state + w, *factor = state + 2 * w;
    tn_attention_part part = {a->first + row, rows, j->k0, j->keys, s};
    if (a->adjust) a->adjust(a->context, &part, j->sp.more);
    if (!a->no_softmax) {
        j->kn->attention_softmax_f32(s, j->keys, top, sum, factor);
        if (a->after) {
            inverse(j, sum, factor);
            j->kn->attention_scale_f32(s, j->keys, factor);
            a->after(a->context, &part, j->sp.more);
        }
    }
    if (!a->y) return;
    if (j->k0 > 0 && !a->no_softmax) j->kn->scale_rows_f32(y, factor, rows, j->sp.v_width, y);
    values(j, s, rows, j->k0 > 0, y);
}

/* Whether some of these rows see some of the block's keys. The first block always counts: it begins the sums. */
static bool sees(const job *j, int64_t row, int64_t rows) {
    int64_t low = 0, high = j->a->keys;
    if (j->a->range) j->a->range(j->a->context, j->a->first + row, rows, &low, &high);
    return j->k0 == 0 || (j->k0 < high && j->k0 + j->keys > low);
}

static void run_band(const job *j, int64_t band) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width, row = band * 2 * w, rows = TN_MIN(2 * w, a->rows - row);
    if (!sees(j, row, rows)) return;
    if (!a->given) scores(j, band, tn_ceil_div(rows, w));
    for (int v = 0; v * w < rows; v++)
        attend(j, row + v * w, TN_MIN(w, rows - v * w), j->sp.s + v * w * a->block,
               j->sp.state + (band * 2 + v) * 3 * w, j->sp.y + (row + v * w) * j->sp.v_width);
}

static void begin(const job *j) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width;
    for (int64_t row = 0; row < j->sp.bands * 2 * w; row++) {
        float *state = j->sp.state + row / w * 3 * w + row % w;
        float sink = a->sink && row < a->rows ? a->sink[(a->first + row) / a->q_len] : -INFINITY;
        state[0] = sink;
        state[w] = sink == -INFINITY ? 0.0f : 1.0f;
    }
}

static void finish(const job *j) {
    const tn_attention_f32 *a = j->a;
    int64_t w = j->kn->width;
    for (int64_t row = 0; row < a->rows; row++) {
        float *state = j->sp.state + row / w * 3 * w, one = 1.0f, *factor = state + 2 * w + row % w;
        if (row % w == 0 && !a->no_softmax && !a->after) inverse(j, state + w, state + 2 * w);
        if (a->no_softmax || a->after) factor = &one;
        float *y = a->y + row_at(a, row, a->y_head, a->y_row);
        j->kn->bin_f32(TN_BIN_MUL, j->sp.y + row * j->sp.v_width, 1, factor, 0, y, (size_t)a->v_size);
        if (*factor == 0.0f) memset(y, 0, (size_t)a->v_size * sizeof *y);
    }
}

void tn_attention_f32_run(tern_cpu_tier tier, const tn_attention_f32 *a, void *workspace) {
    job j = {.kn = tn_kernels_get(tier), .a = a};
    size_t where[7], total;
    float *base = workspace;
    if (!layout(j.kn, a, where, &total, &j.sp)) return;
    float **part[7] = {&j.sp.q, &j.sp.k, &j.sp.v, &j.sp.s, &j.sp.y, &j.sp.state, &j.sp.more};
    for (int i = 0; i < 7; i++) *part[i] = base + where[i];
    begin(&j);
    if (!a->given) pack_queries(&j);
    for (j.k0 = 0; j.k0 < a->keys; j.k0 += j.keys) {
        j.keys = TN_MIN(a->block, a->keys - j.k0);
        if (!sees(&j, 0, a->rows)) continue;
        if (!a->given) pack_keys(&j);
        if (a->y) pack_values(&j);
        for (int64_t b = 0; b < j.sp.bands; b++) run_band(&j, b);
    }
    if (!a->y) return;
    if (a->keys > 0) {
        finish(&j);
        return;
    }
    for (int64_t row = 0; row < a->rows; row++)
        memset(a->y + row_at(a, row, a->y_head, a->y_row), 0, (size_t)a->v_size * sizeof(float));
}

void tn_attention_f32_mask(tern_cpu_tier tier, const float *bias, float *s, size_t n) {
    tn_kernels_get(tier)->attention_mask_f32(bias, s, n);
}
