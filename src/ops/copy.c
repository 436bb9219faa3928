#include "ops/copy.h"

#include "thread/thread.h"

/* Below this many bytes a second thread costs more than it brings. */
#define PARALLEL_BYTES ((int64_t)1 << 17)
#define TASK_BYTES     ((int64_t)1 << 16)
#define TILE           32

void tn_copy_init(tn_copy *c, size_t element_bytes) {
    c->rank = 0;
    c->unit = element_bytes;
}

void tn_copy_dim(tn_copy *c, int64_t n, int64_t src_stride, int64_t dst_stride) {
    int64_t unit = (int64_t)c->unit;
    c->dims[c->rank] = n;
    c->src[c->rank] = src_stride * unit;
    c->dst[c->rank] = dst_stride * unit;
    c->rank++;
}

void tn_copy_strides(const tn_shape *s, int64_t *strides) {
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= s->dims[i];
    }
}

void tn_copy_fill(void *dst, const void *element, size_t element_bytes, int64_t n) {
    char *d = dst;
    size_t bytes = (size_t)n * element_bytes, done = element_bytes;
    if (n <= 0) return;
    memcpy(d, element, element_bytes);
    while (done < bytes) {
        size_t more = TN_MIN(TN_MIN(done, bytes - done), (size_t)1 << 16);
        memcpy(d + done, d, more);
        done += more;
    }
}

/* ---- contiguous ranges ------------------------------------------------------------------------------------- */

typedef struct range {
    const char *src;
    char *dst;
    size_t bytes;
} range;

static void range_task(void *context, int64_t begin, int64_t end, int worker) {
    const range *r = context;
    (void)worker;
    size_t from = (size_t)(begin * TASK_BYTES), to = TN_MIN(r->bytes, (size_t)(end * TASK_BYTES));
    memcpy(r->dst + from, r->src + from, to - from);
}

void tn_copy_bytes(const void *src, void *dst, size_t bytes, int threads) {
    if (bytes == 0) return;
    if (bytes < (size_t)PARALLEL_BYTES || threads <= 1) {
        memcpy(dst, src, bytes);
        return;
    }
    range r = {src, dst, bytes};
    tn_parallel_for(threads, tn_ceil_div((int64_t)bytes, TASK_BYTES), range_task, &r);
}

/* ---- two dims ---------------------------------------------------------------------------------------------- */

/* Rows [0, n0) of n1 elements. */
typedef struct plane {
    int64_t n0, n1, s0, s1, d0, d1;
    size_t unit;
} plane;

#define ROW(UNIT) \
    for (int64_t j = 0; j < n; j++, s += s1, d += d1) memcpy(d, s, UNIT)

static void copy_row(const char *s, char *d, int64_t n, int64_t s1, int64_t d1, size_t unit) {
    switch (unit) {
    case 1:
        ROW(1);
        break;
    case 2:
        ROW(2);
        break;
    case 4:
        if (d1 == 4) {
            for (int64_t j = 0; j < n; j++, s += s1) memcpy(d + 4 * j, s, 4);
        } else {
            ROW(4);
        }
        break;
    case 8:
        ROW(8);
        break;
    case 16:
        ROW(16);
        break;
    case 64:
        ROW(64);
        break;
    default:
        ROW(unit);
        break;
    }
}

static bool is_flat(const plane *p) { return p->s1 == (int64_t)p->unit || p->s1 == 0 || p->n0 < 4 || p->n1 < 4; }

/* In tiles, so that both the lines read and the lines written stay in the first-level cache. */
static void copy_plane(const plane *p, const char *src, char *dst) {
    if (is_flat(p)) {
        for (int64_t i = 0; i < p->n0; i++) copy_row(src + i * p->s0, dst + i * p->d0, p->n1, p->s1, p->d1, p->unit);
        return;
    }
    for (int64_t i0 = 0; i0 < p->n0; i0 += TILE) {
        int64_t i1 = TN_MIN(i0 + TILE, p->n0);
        for (int64_t j0 = 0; j0 < p->n1; j0 += TILE) {
            int64_t m = TN_MIN((int64_t)TILE, p->n1 - j0);
            for (int64_t i = i0; i < i1; i++)
                copy_row(src + i * p->s0 + j0 * p->s1, dst + i * p->d0 + j0 * p->d1, m, p->s1, p->d1, p->unit);
        }
    }
}

/* ---- all dims ---------------------------------------------------------------------------------------------- */

/* Drops dims of 1, merges dims that are one run in both; false when there is nothing to copy. */
static bool merge_dims(tn_copy *c) {
    int r = 0;
    for (int i = 0; i < c->rank; i++) {
        if (c->dims[i] == 0) return false;
        if (c->dims[i] == 1) continue;
        if (r > 0 && c->src[r - 1] == c->dims[i] * c->src[i] && c->dst[r - 1] == c->dims[i] * c->dst[i]) {
            c->dims[r - 1] *= c->dims[i];
            c->src[r - 1] = c->src[i];
            c->dst[r - 1] = c->dst[i];
            continue;
        }
        c->dims[r] = c->dims[i];
        c->src[r] = c->src[i];
        c->dst[r] = c->dst[i];
        r++;
    }
    c->rank = r;
    /* A contiguous innermost dim becomes part of the element. */
    if (r > 0 && c->src[r - 1] == (int64_t)c->unit && c->dst[r - 1] == (int64_t)c->unit) {
        c->unit *= (size_t)c->dims[r - 1];
        c->rank--;
    }
    return true;
}

static void move_last(tn_copy *c, int from) {
    int64_t n = c->dims[from], s = c->src[from], d = c->dst[from];
    for (int i = from; i + 1 < c->rank; i++) {
        c->dims[i] = c->dims[i + 1];
        c->src[i] = c->src[i + 1];
        c->dst[i] = c->dst[i + 1];
    }
    c->dims[c->rank - 1] = n;
    c->src[c->rank - 1] = s;
    c->dst[c->rank - 1] = d;
}

/* Innermost: the dim whose elements are nearest in dst; before it the one whose elements are nearest in src. */
static void order_dims(tn_copy *c) {
    int a = 0, b = -1;
    for (int i = 1; i < c->rank; i++)
        if (c->dst[i] < c->dst[a]) a = i;
    for (int i = 0; i < c->rank; i++) {
        int64_t step = c->src[i] < 0 ? -c->src[i] : c->src[i];
        if (step == 0) continue;
        if (b < 0 || step < (c->src[b] < 0 ? -c->src[b] : c->src[b])) b = i;
    }
    if (b >= 0 && b != a) {
        move_last(c, b);
        if (a > b) a--;
    }
    move_last(c, a);
}

typedef struct job {
    const tn_copy *c;
    const char *src;
    char *dst;
    int outer;           /* dims before the plane */
    int64_t rows, parts; /* rows of the plane per task, tasks per plane */
    plane p;
} job;

static void job_task(void *context, int64_t begin, int64_t end, int worker) {
    const job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t part = t % j->parts, rest = t / j->parts;
        plane p = j->p;
        int64_t row = part * j->rows;
        const char *s = j->src + row * p.s0;
        char *d = j->dst + row * p.d0;
        p.n0 = TN_MIN(j->rows, p.n0 - row);
        for (int i = j->outer - 1; i >= 0; i--) {
            int64_t k = rest % j->c->dims[i];
            rest /= j->c->dims[i];
            s += k * j->c->src[i];
            d += k * j->c->dst[i];
        }
        copy_plane(&p, s, d);
    }
}

void tn_copy_run(tn_copy *c, const void *src, void *dst, int threads) {
    if (!merge_dims(c)) return;
    if (c->rank == 0) {
        tn_copy_bytes(src, dst, c->unit, threads);
        return;
    }
    order_dims(c);
    int r = c->rank;
    job j = {.c = c, .src = src, .dst = dst, .outer = TN_MAX(r - 2, 0)};
    j.p = (plane){1, c->dims[r - 1], 0, c->src[r - 1], 0, c->dst[r - 1], c->unit};
    if (r >= 2) {
        j.p.n0 = c->dims[r - 2];
        j.p.s0 = c->src[r - 2];
        j.p.d0 = c->dst[r - 2];
    }
    int64_t planes = 1;
    for (int i = 0; i < j.outer; i++) planes *= c->dims[i];
    int64_t row_bytes = j.p.n1 * (int64_t)c->unit;
    j.rows = TN_MAX(TASK_BYTES / row_bytes, 1);
    j.rows = TN_MIN(j.p.n0, is_flat(&j.p) ? j.rows : tn_round_up(j.rows, TILE));
    j.parts = tn_ceil_div(j.p.n0, j.rows);
    bool small = planes * j.p.n0 * row_bytes < PARALLEL_BYTES;
    tn_parallel_for(small ? 1 : threads, planes * j.parts, job_task, &j);
}

/* ---- blocked channels -------------------------------------------------------------------------------------- */

void tn_copy_blocked(const tn_copy_channels *c, const void *src, void *dst, int threads) {
    int64_t b = c->block, src_image = tn_ceil_div(c->src_channels, b) * b * c->hw;
    int64_t dst_image = tn_ceil_div(c->dst_channels, b) * b * c->hw;
    const char *s = src;
    char *d = dst;
    for (int64_t k = 0; k < c->count;) {
        int64_t sc = c->src_c + k, dc = c->dst_c + k, left = c->count - k;
        bool whole = sc % b == 0 && dc % b == 0 && left >= b;
        int64_t blocks = whole ? left / b : 1;
        int64_t lanes = whole ? b : TN_MIN(left, TN_MIN(b - sc % b, b - dc % b));
        tn_copy n;
        tn_copy_init(&n, c->unit);
        tn_copy_dim(&n, c->n, src_image, dst_image);
        tn_copy_dim(&n, blocks, b * c->hw, b * c->hw);
        tn_copy_dim(&n, c->hw, b, b);
        tn_copy_dim(&n, lanes, 1, 1);
        tn_copy_run(&n, s + (size_t)(sc / b * b * c->hw + sc % b) * c->unit,
                    d + (size_t)(dc / b * b * c->hw + dc % b) * c->unit, threads);
        k += blocks * lanes;
    }
}

void tn_copy_clear_tail(void *data, int64_t n, int64_t channels, int64_t hw, int block, size_t unit) {
    int64_t used = channels % block, blocks = tn_ceil_div(channels, block);
    if (used == 0) return;
    for (int64_t i = 0; i < n; i++) {
        char *last = (char *)data + (size_t)((i + 1) * blocks - 1) * (size_t)(hw * block) * unit;
        for (int64_t k = 0; k < hw; k++)
            memset(last + (size_t)(k * block + used) * unit, 0, (size_t)(block - used) * unit);
    }
}
