/* tern:Channels: channels picked from several maps. In blocked layout a block of the result takes lanes from a few
 * blocks of the inputs; which, is worked out when it is prepared. */
#include "kernels/conv.h"
#include "kernels/layout.h"
#include "ops/fused.h"
#include "thread/thread.h"

#define WIDEST_BLOCK 16

bool tn_op_find_channel(const tn_type *const *in, int n_in, int more, int64_t c, int *input, int64_t *channel) {
    for (int i = 0; i < n_in; i = i ? i + 1 : more) {
        int64_t channels = in[i]->shape.dims[1];
        if (c >= 0 && c < channels) {
            *input = i;
            *channel = c;
            return true;
        }
        c -= channels;
    }
    return false;
}

tern_status tn_op_picked_shape(tn_infer *c, int more, tn_shape *shape) {
    size_t count;
    const int64_t *map = tn_attr_ints(c->node, "map", &count);
    bool known = true;
    tn_shape out = {.rank = 4, .dims = {TN_DIM_UNKNOWN, (int64_t)count, TN_DIM_UNKNOWN, TN_DIM_UNKNOWN}};
    for (int i = 0; i < c->node->n_in; i = i ? i + 1 : more) {
        const tn_type *x = c->in[i];
        TN_TRY(tn_infer_want(c, i, TN_T(FLOAT)));
        if (!x || !x->ranked) {
            known = false;
            continue;
        }
        if (x->shape.rank != 4)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d, not 4", i, x->shape.rank);
        known &= tn_dim_known(x->shape.dims[1]);
        for (int d = 0; d < 4; d++) {
            int64_t dim = x->shape.dims[d];
            if (d == 1 || dim == TN_DIM_UNKNOWN) continue;
            if (tn_dim_known(out.dims[d]) && tn_dim_known(dim) && out.dims[d] != dim)
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d of input %d is %lld, before it was %lld", d, i,
                                     (long long)dim, (long long)out.dims[d]);
            if (!tn_dim_known(out.dims[d])) out.dims[d] = dim;
        }
    }
    for (size_t k = 0; known && k < count; k++) {
        int input;
        int64_t channel;
        if (!tn_op_find_channel(c->in, c->node->n_in, more, map[k], &input, &channel))
            return tn_infer_fail(c, TERN_INVALID_MODEL, "map[%zu] is %lld: there is no such channel", k,
                                 (long long)map[k]);
    }
    *shape = out;
    return TERN_OK;
}

static tern_status channels_infer(tn_infer *c) {
    tn_shape out;
    TN_TRY(tn_op_picked_shape(c, 1, &out));
    tn_infer_out(c, 0, TERN_FLOAT, &out);
    return TERN_OK;
}

static bool channels_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value,
                                int block) {
    (void)value;
    for (int i = 0; i < node->n_in; i++)
        if (in[i]->dtype != TERN_FLOAT || in[i]->shape.rank != 4) return false;
    return block <= WIDEST_BLOCK;
}

/* ---- prepare --------------------------------------------------------------------------------------------------- */

typedef struct source {
    int input;
    int64_t block; /* plain: channel */
    int32_t lane[WIDEST_BLOCK];
} source;

typedef struct channels_state {
    source *sources;
    int64_t *first; /* by block (plain: channel) of the result: its first source; units + 1 numbers */
    int64_t units;
} channels_state;

static void add_lane(channels_state *s, int64_t unit, int64_t *count, int input, int64_t channel, int block, int lane) {
    int64_t b = block ? channel / block : channel;
    int64_t i = s->first[unit];
    while (i < *count && (s->sources[i].input != input || s->sources[i].block != b)) i++;
    if (i == *count) {
        s->sources[i] = (source){.input = input, .block = b};
        for (int l = 0; l < WIDEST_BLOCK; l++) s->sources[i].lane[l] = -1;
        (*count)++;
    }
    s->sources[i].lane[lane] = block ? (int32_t)(channel % block) : 0;
}

static tern_status channels_prepare(tn_prepare *c) {
    size_t n;
    const int64_t *map = tn_attr_ints(c->node, "map", &n);
    int block = c->out_block[0];
    channels_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    s->units = block ? tn_ceil_div((int64_t)n, block) : (int64_t)n;
    s->sources = tn_arena_array(c->arena, n + 1, sizeof *s->sources);
    s->first = tn_arena_array(c->arena, (size_t)s->units + 1, sizeof *s->first);
    if (!s->sources || !s->first) return tn_fail_oom(c->err, n * sizeof *s->sources);
    int64_t count = 0;
    for (size_t k = 0; k < n; k++) {
        int64_t unit = block ? (int64_t)k / block : (int64_t)k, channel;
        int lane = block ? (int)(k % (size_t)block) : 0, input;
        if (!tn_op_find_channel(c->in, c->node->n_in, 1, map[k], &input, &channel))
            return tn_fail(c->err, TERN_INVALID_MODEL, "map[%zu] is %lld: there is no such channel", k,
                           (long long)map[k]);
        if (lane == 0) s->first[unit] = count;
        add_lane(s, unit, &count, input, channel, block, lane);
    }
    s->first[s->units] = count;
    return TERN_OK;
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

typedef struct channels_job {
    const channels_state *s;
    const tn_run *c;
    int64_t hw;
    int block;
} channels_job;

static const float *source_data(const channels_job *j, const source *s, int64_t sample) {
    const tern_tensor *x = j->c->in[s->input];
    int64_t lanes = j->block ? j->block : 1, units = tn_ceil_div(x->shape.dims[1], lanes);
    return (const float *)x->data + (sample * units + s->block) * j->hw * lanes;
}

/* A task is one block (plain: one channel) of one sample. */
static void channels_task(void *context, int64_t begin, int64_t end, int worker) {
    const channels_job *j = context;
    (void)worker;
    for (int64_t task = begin; task < end; task++) {
        int64_t unit = task % j->s->units, sample = task / j->s->units, lanes = j->block ? j->block : 1;
        float *y = (float *)j->c->out[0]->data + task * j->hw * lanes;
        const source *first = &j->s->sources[j->s->first[unit]];
        int count = (int)(j->s->first[unit + 1] - j->s->first[unit]);
        if (!j->block) {
            memcpy(y, source_data(j, first, sample), (size_t)j->hw * sizeof *y);
            continue;
        }
        tn_channel_source sources[WIDEST_BLOCK];
        for (int k = 0; k < count; k++) {
            sources[k].x = source_data(j, &first[k], sample);
            memcpy(sources[k].lane, first[k].lane, sizeof sources[k].lane);
        }
        tn_layout_channels_f32(j->c->tier, sources, count, y, j->hw);
    }
}

static tern_status channels_run(tn_run *c) {
    const tern_tensor *y = c->out[0];
    if (!y || tn_shape_count(&y->shape) == 0) return TERN_OK;
    channels_job j = {.s = c->state, .c = c, .hw = tn_shape_count_range(&y->shape, 2, 4), .block = y->block};
    if (j.block && j.block != tn_conv_block(c->tier))
        return tn_run_fail(c, TERN_INTERNAL, "Channels in blocks of %d", j.block);
    tn_parallel_for(c->threads, y->shape.dims[0] * j.s->units, channels_task, &j);
    return TERN_OK;
}

const tn_op tn_op_channels = {.infer = channels_infer,
                              .prepare = channels_prepare,
                              .run = channels_run,
                              .min_in = 1,
                              .max_in = -1,
                              .min_out = 1,
                              .max_out = 1,
                              .flags = TN_OP_BLOCKED,
                              .blocked_ok = channels_blocked_ok};
