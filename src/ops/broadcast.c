#include "ops/broadcast.h"

/* Stored dims of an operand, aligned to the right of the output's `rank` stored dims, and their strides. */
static bool operand_strides(const tn_shape *out, int out_block, const tn_shape *in, int in_block, int rank,
                            const int64_t *out_dims, int64_t *strides) {
    int64_t dims[TN_BROADCAST_MAX_DIMS], n;
    if (!tn_shape_count_checked(in, &n) || in->rank > out->rank) return false;
    for (int i = 0; i < rank; i++) strides[i] = 0;
    if (in_block == 0 && n == 1) return true;
    if (in_block != out_block) return false;
    if (in_block > 0 && (in->rank != out->rank || in->rank < 3)) return false;
    int lanes = in_block > 0 ? 1 : 0, in_rank = in->rank + lanes, lead = rank - in_rank;
    for (int i = 0; i < in->rank; i++) dims[i] = in->dims[i];
    if (lanes) {
        dims[1] = tn_ceil_div(dims[1], in_block);
        dims[in->rank] = in_block;
    }
    int64_t stride = 1;
    for (int i = in_rank - 1; i >= 0; i--) {
        if (dims[i] != out_dims[lead + i] && dims[i] != 1) return false;
        strides[lead + i] = dims[i] == 1 ? 0 : stride;
        stride *= dims[i];
    }
    if (lanes && in->dims[1] != out->dims[1]) {
        if (in->dims[1] != 1) return false;
        strides[rank - 1] = 0; /* a single channel: lane 0 is the only one with a value */
    }
    return true;
}

/* Does one step of dim i equal a whole run of dim i + 1 for all operands? */
static bool mergeable(const tn_broadcast *b, int i, int64_t next_dim, const int64_t next[TN_BROADCAST_MAX_IN]) {
    for (int k = 0; k < b->n_in; k++)
        if (b->strides[k][i] != next[k] * next_dim) return false;
    return true;
}

/* Drops dims of one element and merges neighbours, in place. */
static void merge_dims(tn_broadcast *b) {
    int rank = 0;
    for (int i = 0; i < b->rank; i++) {
        if (b->dims[i] == 1) continue;
        int64_t next[TN_BROADCAST_MAX_IN] = {0};
        for (int k = 0; k < b->n_in; k++) next[k] = b->strides[k][i];
        if (rank > 0 && mergeable(b, rank - 1, b->dims[i], next)) {
            b->dims[rank - 1] *= b->dims[i];
        } else {
            b->dims[rank++] = b->dims[i];
        }
        for (int k = 0; k < b->n_in; k++) b->strides[k][rank - 1] = next[k];
    }
    if (rank == 0) {
        b->dims[rank++] = 1;
        for (int k = 0; k < b->n_in; k++) b->strides[k][0] = 0;
    }
    b->rank = rank;
}

bool tn_broadcast_init(tn_broadcast *b, const tn_shape *out, int out_block, int n_in, const tn_shape *const *in,
                       const int *in_block) {
    int64_t count;
    memset(b, 0, sizeof *b);
    if (!tn_shape_count_checked(out, &count)) return false;
    b->n_in = n_in;
    b->rank = out->rank;
    for (int i = 0; i < out->rank; i++) b->dims[i] = out->dims[i];
    if (out_block > 0) {
        if (out->rank < 3) return false;
        b->dims[1] = tn_ceil_div(out->dims[1], out_block);
        b->dims[b->rank++] = out_block;
    }
    for (int k = 0; k < n_in; k++)
        if (!operand_strides(out, out_block, in[k], in_block[k], b->rank, b->dims, b->strides[k])) return false;
    b->count = 1;
    for (int i = 0; i < b->rank; i++) b->count *= b->dims[i];
    if (b->count > 0) {
        merge_dims(b);
    } else {
        b->rank = 1;
        b->dims[0] = 0;
    }
    b->inner = b->dims[b->rank - 1];
    return true;
}

bool tn_broadcast_dense(const tn_broadcast *b, int k) {
    int64_t stride = 1;
    for (int i = b->rank - 1; i >= 0; i--) {
        if (b->dims[i] != 1 && b->strides[k][i] != stride) return false;
        stride *= b->dims[i];
    }
    return true;
}

bool tn_broadcast_scalar(const tn_broadcast *b, int k) {
    for (int i = 0; i < b->rank; i++)
        if (b->strides[k][i] != 0) return false;
    return true;
}

int64_t tn_broadcast_row(const tn_broadcast *b, int k, int64_t row) {
    int64_t offset = 0;
    for (int i = b->rank - 2; i >= 0; i--) {
        offset += row % b->dims[i] * b->strides[k][i];
        row /= b->dims[i];
    }
    return offset;
}

#define COPY_ROW(T)                                      \
    {                                                    \
        const T *s = src;                                \
        T *d = dst;                                      \
        if (step) {                                      \
            for (int64_t i = 0; i < n; i++) d[i] = s[i]; \
        } else {                                         \
            for (int64_t i = 0; i < n; i++) d[i] = s[0]; \
        }                                                \
        return;                                          \
    }

static void copy_row(const void *src, int64_t step, size_t size, int64_t n, void *dst) {
    typedef struct pair {
        uint64_t a, b;
    } pair;
    switch (size) {
    case 1:
        COPY_ROW(uint8_t)
    case 2:
        COPY_ROW(uint16_t)
    case 4:
        COPY_ROW(uint32_t)
    case 8:
        COPY_ROW(uint64_t)
    default:
        COPY_ROW(pair)
    }
}

void tn_broadcast_gather(const tn_broadcast *b, int k, const void *src, size_t size, int64_t begin, int64_t n,
                         void *dst) {
    int64_t index[TN_BROADCAST_MAX_DIMS], row = begin / b->inner, col = begin % b->inner;
    int64_t offset = tn_broadcast_row(b, k, row), step = b->strides[k][b->rank - 1];
    for (int i = b->rank - 2; i >= 0; i--) {
        index[i] = row % b->dims[i];
        row /= b->dims[i];
    }
    while (n > 0) {
        int64_t m = TN_MIN(n, b->inner - col);
        copy_row((const char *)src + (size_t)(offset + col * step) * size, step, size, m, dst);
        dst = (char *)dst + (size_t)m * size;
        n -= m;
        col = 0;
        for (int i = b->rank - 2; i >= 0; i--) {
            offset += b->strides[k][i];
            if (++index[i] < b->dims[i]) break;
            offset -= b->strides[k][i] * b->dims[i];
            index[i] = 0;
        }
    }
}
