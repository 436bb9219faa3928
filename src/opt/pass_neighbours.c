#include <stdlib.h>

#include "opt/match.h"

#include "ops/fused.h"

/* What blocked convolutions take over from their neighbours, once the layout is settled: channels picked from several
 * maps (1x1 kernels read them where they are), a factor for each channel (goes into the weights of a 1x1 kernel), the
 * means over the map of a depthwise one's result (these two are squeeze-and-excitation), and the maxima of 2 x 2
 * outputs of a 3x3 one, whose map is then never written. */

tern_status tn_pass_neighbours(tn_opt *o);

enum { SCALE = 4, MORE_MAPS = 5 }; /* inputs of tern:Conv: ops/fused.h */

static tern_status grow_inputs(tn_opt *o, tn_node *n, int n_in) {
    tn_value **in = tn_arena_array(&o->model->arena, (size_t)n_in, sizeof *in);
    if (!in) return tn_fail_oom(o->err, (size_t)n_in * sizeof *in);
    memcpy(in, n->in, (size_t)TN_MIN(n->n_in, n_in) * sizeof *in);
    n->in = in;
    n->n_in = n_in;
    return TERN_OK;
}

/* A blocked 1x1 convolution of one group that reads nothing more yet. */
static bool is_pointwise(const tn_node *n) {
    return tn_opt_is(n, "tern", "Conv") && n->n_in <= SCALE && n->in[0]->block && n->in[0]->type.shape.rank == 4 &&
           n->out[0] && n->in[0]->block == n->out[0]->block && tn_attr_i(n, "group", 1) == 1 &&
           tn_opt_all_are(n, "kernel_shape", 1) && tn_opt_all_are(n, "pads", 0);
}

/* ---- picked channels ------------------------------------------------------------------------------------------- */

static bool is_pick(const tn_node *n, int block) {
    return n && tn_opt_is(n, "tern", "Channels") && n->out[0] && n->out[0]->block == block && block;
}

/* Channels of Channels become Channels of what those read. */
typedef struct flat_pick {
    tn_value *in[TN_CONV_MAPS];
    int64_t before[TN_CONV_MAPS]; /* channels of the inputs before this one */
    int n_in;
    int64_t channels; /* of all */
} flat_pick;

static int64_t channels_of(const tn_value *v) { return v->type.shape.dims[1]; }

/* Where the channels of v begin among those of f. False: there is no room for it. */
static bool add_map(flat_pick *f, tn_value *v, int64_t *before) {
    for (int i = 0; i < f->n_in; i++) {
        if (f->in[i] != v) continue;
        *before = f->before[i];
        return true;
    }
    if (f->n_in == TN_CONV_MAPS || !v->type.ranked || v->type.shape.rank != 4 || !tn_dim_known(channels_of(v)))
        return false;
    *before = f->channels;
    f->before[f->n_in] = f->channels;
    f->in[f->n_in++] = v;
    f->channels += channels_of(v);
    return true;
}

/* The map of n over the inputs of f; false: too many inputs. */
static bool flatten(const tn_node *n, flat_pick *f, int64_t *map) {
    size_t count, inner_count;
    const int64_t *given = tn_attr_ints(n, "map", &count);
    for (size_t k = 0; k < count; k++) {
        int64_t c = given[k], before;
        int i = 0;
        while (i < n->n_in && c >= channels_of(n->in[i])) c -= channels_of(n->in[i++]);
        if (i == n->n_in || c < 0) return false;
        tn_value *v = n->in[i];
        /* Inner ones are flat already: nodes come in order. */
        for (const tn_node *inner = v->producer; is_pick(inner, v->block); inner = v->producer) {
            const int64_t *m = tn_attr_ints(inner, "map", &inner_count);
            if (c >= (int64_t)inner_count) return false;
            c = m[c];
            for (i = 0; i < inner->n_in && c >= channels_of(inner->in[i]); i++) c -= channels_of(inner->in[i]);
            if (i == inner->n_in || c < 0) return false;
            v = inner->in[i];
        }
        if (!add_map(f, v, &before)) return false;
        map[k] = before + c;
    }
    return true;
}

static tern_status flatten_picks(tn_opt *o, tn_node *n) {
    bool nested = false;
    for (int i = 0; i < n->n_in; i++) nested |= is_pick(n->in[i]->producer, n->in[i]->block);
    if (!nested || !is_pick(n, n->out[0] ? n->out[0]->block : 0)) return TERN_OK;
    size_t count;
    tn_attr_ints(n, "map", &count);
    int64_t *map = tn_arena_array(&o->scratch, count + 1, sizeof *map);
    flat_pick *f = tn_arena_array(&o->scratch, 1, sizeof *f);
    if (!map || !f) return tn_fail_oom(o->err, count * sizeof *map);
    if (!flatten(n, f, map)) return TERN_OK;
    TN_TRY(grow_inputs(o, n, f->n_in));
    memcpy(n->in, f->in, (size_t)f->n_in * sizeof *n->in);
    return tn_opt_set_ints(o, n, "map", map, count);
}

/* The weights with input channels in the order of `from`. */
static tn_value *permuted_weights(tn_opt *o, const tn_value *w, const int64_t *from) {
    const tern_tensor *t = tn_opt_const(w);
    tern_tensor *p = NULL;
    if (tn_tensor_new(&p, TERN_FLOAT, &t->shape, o->err) != TERN_OK) return NULL;
    int64_t oc = t->shape.dims[0], ic = t->shape.dims[1];
    const char *src = t->data; /* maybe unaligned */
    char *dst = p->data;
    for (int64_t i = 0; i < oc; i++, src += ic * (int64_t)sizeof(float))
        for (int64_t k = 0; k < ic; k++, dst += sizeof(float))
            memcpy(dst, src + from[k] * (int64_t)sizeof(float), sizeof(float));
    return tn_opt_new_const(o, w->name, p);
}

typedef struct picked {
    int64_t channel, k;
} picked;

static int by_channel(const void *a, const void *b) {
    const picked *x = a, *y = b;
    return x->channel != y->channel ? (x->channel > y->channel) - (x->channel < y->channel)
                                    : (x->k > y->k) - (x->k < y->k);
}

/* Neighbouring channels that one tap can take, on average, at least. */
#define CHANNELS_PER_TAP 4

/* Sorted by channel, so that neighbours stand together; *taps: how many runs there are. */
static picked *sort_map(tn_opt *o, const tn_node *pick, size_t count, int64_t *taps) {
    size_t n;
    const int64_t *map = tn_attr_ints(pick, "map", &n);
    picked *list = tn_arena_array(&o->scratch, count + 1, sizeof *list);
    if (!list || n != count) return NULL;
    for (size_t k = 0; k < count; k++) list[k] = (picked){map[k], (int64_t)k};
    qsort(list, count, sizeof *list, by_channel);
    *taps = 0;
    for (size_t k = 0; k < count; k++)
        *taps += k == 0 || list[k].channel != list[k - 1].channel + 1 || list[k].channel % pick->out[0]->block == 0;
    return list;
}

static tern_status take_picks(tn_opt *o, tn_node *conv) {
    const tn_node *pick = is_pointwise(conv) ? conv->in[0]->producer : NULL;
    if (!pick || !is_pick(pick, conv->in[0]->block) || pick->n_in < 2 || pick->n_in > TN_CONV_MAPS ||
        conv->in[0]->n_uses != 1 || !tn_opt_all_are(conv, "strides", 1))
        return TERN_OK;
    const tern_tensor *w = tn_opt_const(conv->in[1]);
    if (!w || w->dtype != TERN_FLOAT || w->shape.dims[1] != channels_of(conv->in[0])) return TERN_OK;
    size_t count = (size_t)w->shape.dims[1];
    int64_t taps = 0;
    picked *list = sort_map(o, pick, count, &taps);
    int64_t *channels = tn_arena_array(&o->scratch, count + 1, sizeof *channels);
    int64_t *from = tn_arena_array(&o->scratch, count + 1, sizeof *from);
    if (!list || !channels || !from) return tn_fail_oom(o->err, count * sizeof *list);
    if (taps * CHANNELS_PER_TAP > (int64_t)count + 4 * CHANNELS_PER_TAP) return TERN_OK;
    for (size_t k = 0; k < count; k++) {
        channels[k] = list[k].channel;
        from[k] = list[k].k;
    }
    tn_value *permuted = permuted_weights(o, conv->in[1], from);
    if (!permuted) return TERN_OUT_OF_MEMORY;
    TN_TRY(grow_inputs(o, conv, MORE_MAPS + pick->n_in - 1));
    conv->in[0] = pick->in[0];
    conv->in[1] = permuted;
    for (int i = 1; i < pick->n_in; i++) conv->in[MORE_MAPS + i - 1] = pick->in[i];
    TN_TRY(tn_opt_set_ints(o, conv, "map", channels, count));
    return tn_opt_note(o, conv, "Channels");
}

/* ---- squeeze and excitation ------------------------------------------------------------------------------------ */

static bool same_dim(int64_t a, int64_t b) { return a == b && a != TN_DIM_UNKNOWN; }

static bool is_factor_of(const tn_value *s, const tn_value *x) {
    if (!s || !x || s->block != x->block || !s->type.ranked || !x->type.ranked || s->type.shape.rank != 4 ||
        x->type.shape.rank != 4 || s->type.dtype != TERN_FLOAT || x->type.dtype != TERN_FLOAT)
        return false;
    const int64_t *a = s->type.shape.dims, *b = x->type.shape.dims;
    return same_dim(a[0], b[0]) && same_dim(a[1], b[1]) && a[2] == 1 && a[3] == 1;
}

static tern_status take_scale(tn_opt *o, tn_node *conv) {
    tn_node *mul = is_pointwise(conv) ? tn_opt_sole_producer(conv->in[0], "", "Mul") : NULL;
    if (!mul || mul->since < 7) return TERN_OK;
    int s = is_factor_of(mul->in[1], mul->in[0]) ? 1 : is_factor_of(mul->in[0], mul->in[1]) ? 0 : -1;
    if (s < 0 || conv->in[3] == conv->in[0]) return TERN_OK;
    TN_TRY(grow_inputs(o, conv, SCALE + 1));
    conv->in[0] = mul->in[1 - s];
    conv->in[SCALE] = mul->in[s];
    return tn_opt_note(o, conv, "Mul");
}

/* The means of a depthwise convolution's result, which something else reads, too. */
static tern_status give_means(tn_opt *o, tn_node *pool) {
    if (!tn_opt_is(pool, "", "GlobalAveragePool") || !pool->in[0]->block || !pool->out[0]) return TERN_OK;
    tn_node *conv = pool->in[0]->producer;
    if (!conv || !tn_opt_is(conv, "tern", "Conv") || conv->n_out != 1 || conv->in[0]->block != pool->in[0]->block ||
        pool->in[0]->n_uses < 2 || pool->out[0]->block != pool->in[0]->block)
        return TERN_OK;
    const tern_tensor *w = tn_opt_const(conv->in[1]);
    if (!w || w->shape.rank != 4 || w->shape.dims[1] != 1 || w->shape.dims[0] < 2 ||
        tn_attr_i(conv, "group", 1) != w->shape.dims[0])
        return TERN_OK;
    tn_value **out = tn_arena_array(&o->model->arena, 2, sizeof *out);
    if (!out) return tn_fail_oom(o->err, 2 * sizeof *out);
    out[0] = conv->out[0];
    out[1] = pool->out[0];
    out[1]->producer = conv;
    conv->out = out;
    conv->n_out = 2;
    pool->out[0] = NULL;
    tn_opt_remove(pool);
    return tn_opt_note(o, conv, "GlobalAveragePool");
}

/* ---- maxima ---------------------------------------------------------------------------------------------------- */

static bool all_given(const tn_node *n, const char *name, int64_t number) {
    size_t count;
    tn_attr_ints(n, name, &count);
    return count == 2 && tn_opt_all_are(n, name, number);
}

static bool halves(const tn_node *n) {
    return tn_opt_is(n, "", "MaxPool") && n->out[0] && (n->n_out < 2 || !n->out[1]) &&
           all_given(n, "kernel_shape", 2) && all_given(n, "strides", 2) && tn_opt_all_are(n, "pads", 0) &&
           tn_opt_all_are(n, "dilations", 1) && !tn_attr_i(n, "ceil_mode", 0) && n->in[0]->block &&
           n->out[0]->block == n->in[0]->block &&
           (tn_attr_is(n, "auto_pad", "NOTSET", "NOTSET") || tn_attr_is(n, "auto_pad", "NOTSET", "VALID"));
}

/* A 3x3 one that Winograd takes whatever its map, which has known dims. */
static bool gives_maxima(const tn_node *n) {
    const tern_tensor *w = tn_opt_const(n->in[1]);
    tn_act act;
    if (n->n_in > SCALE || (n->n_in > 3 && n->in[3]) || n->n_out != 1 || !n->in[0]->block || !tn_op_act(n, &act) ||
        !tn_act_is_clamp(act.kind) || tn_attr_i(n, "group", 1) != 1 || !w || w->shape.dims[0] < 8 ||
        w->shape.dims[1] < 8 || !all_given(n, "kernel_shape", 3) || !tn_opt_all_are(n, "strides", 1) ||
        !tn_opt_all_are(n, "dilations", 1))
        return false;
    const tn_shape *y = &n->out[0]->type.shape;
    return n->out[0]->type.ranked && y->rank == 4 && tn_dim_known(y->dims[2]) && tn_dim_known(y->dims[3]) &&
           y->dims[2] >= 2 && y->dims[3] >= 2;
}

static tern_status give_maxima(tn_opt *o, tn_node *pool) {
    tn_node *conv = halves(pool) ? tn_opt_sole_producer(pool->in[0], "tern", "Conv") : NULL;
    if (!conv || !gives_maxima(conv)) return TERN_OK;
    conv->out[0] = pool->out[0];
    conv->out[0]->producer = conv;
    pool->in[0]->producer = NULL;
    pool->out[0] = NULL;
    tn_opt_remove(pool);
    TN_TRY(tn_opt_set_i(o, conv, "pooled", 1));
    return tn_opt_note(o, conv, "MaxPool");
}

tern_status tn_pass_neighbours(tn_opt *o) {
    if (o->bf16) return TERN_OK; /* bfloat16 kernels do none of this */
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        if (tn_opt_is(n, "tern", "Channels")) TN_TRY(flatten_picks(o, n));
        TN_TRY(take_picks(o, n));
        TN_TRY(take_scale(o, n));
        TN_TRY(give_means(o, n));
        TN_TRY(give_maxima(o, n));
    }
    return TERN_OK;
}
