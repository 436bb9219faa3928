#include "opt/opt.h"

/* Channel shuffle (Zhang et al., ShuffleNet, 2018): Reshape (n, g, c/g, h, w), Transpose of dims 1 and 2, Reshape back.
 * It, the Concat before it and the Split or Slices behind it do nothing but pick channels: together they become one
 * tern:Channels for each of their results, which reads the Concat's inputs and works on blocked layout. */

tern_status tn_pass_channels(tn_opt *o);

static bool is_map(const tn_value *v) { /* float32 (n, c, h, w), c known */
    return v && v->type.kind == TERN_KIND_TENSOR && v->type.dtype == TERN_FLOAT && v->type.ranked &&
           v->type.shape.rank == 4 && tn_dim_known(v->type.shape.dims[1]) && v->type.shape.dims[1] > 0;
}

/* Dims that are known or at least the same unknown one. */
static bool same_dim(int64_t a, int64_t b) { return a == b && a != TN_DIM_UNKNOWN; }

/* The last Reshape of a shuffle: the value that is shuffled, and the number of groups. */
static tn_value *shuffled(const tn_node *last, int64_t *groups) {
    if (!tn_opt_is(last, "", "Reshape") || !is_map(last->out[0]) || !last->in[0] || last->in[0]->n_uses != 1)
        return NULL;
    const tn_node *t = last->in[0]->producer;
    if (!tn_opt_is(t, "", "Transpose") || !t->in[0] || t->in[0]->n_uses != 1) return NULL;
    size_t count;
    const int64_t *perm = tn_attr_ints(t, "perm", &count);
    static const int64_t want[5] = {0, 2, 1, 3, 4};
    if (count != 5 || memcmp(perm, want, sizeof want) != 0) return NULL;
    const tn_node *first = t->in[0]->producer;
    if (!tn_opt_is(first, "", "Reshape") || !is_map(first->in[0])) return NULL;
    const tn_type *split = &t->in[0]->type, *x = &first->in[0]->type, *y = &last->out[0]->type;
    if (!split->ranked || split->shape.rank != 5) return NULL;
    const int64_t *s = split->shape.dims, *a = x->shape.dims, *b = y->shape.dims;
    if (!same_dim(s[0], a[0]) || !same_dim(b[0], a[0]) || a[1] != b[1] || s[1] < 1 || s[2] < 1 || s[1] > a[1] ||
        a[1] % s[1] || s[2] != a[1] / s[1])
        return NULL;
    for (int d = 2; d < 4; d++)
        if (!same_dim(s[d + 1], a[d]) || !same_dim(b[d], a[d])) return NULL;
    *groups = s[1];
    return first->in[0];
}

/* The operands of a Concat along channels that only the shuffle reads; else the value itself. */
static int operands(tn_value **v, tn_value ***list) {
    tn_node *n = (*v)->producer;
    *list = v;
    if (!tn_opt_is(n, "", "Concat") || (*v)->n_uses != 1 || n->since < 4) return 1;
    int64_t axis = tn_attr_i(n, "axis", 1);
    if (axis != 1 && axis != -3) return 1;
    for (int i = 0; i < n->n_in; i++)
        if (!is_map(n->in[i])) return 1;
    *list = n->in;
    return n->n_in;
}

static tern_status emit(tn_opt *o, tn_node *n, tn_value **in, int n_in, const int64_t *map, int64_t count,
                        tn_value *out) {
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    n->out[0] = out;
    out->producer = n;
    return tn_opt_set_ints(o, n, "map", map, (size_t)count);
}

/* ---- readers --------------------------------------------------------------------------------------------------- */

static bool constant_ints(const tn_value *v, int64_t only) {
    const tern_tensor *t = tn_opt_const(v);
    if (!t || tn_shape_count(&t->shape) != 1) return false;
    return t->dtype == TERN_INT64   ? ((const int64_t *)t->data)[0] == only
           : t->dtype == TERN_INT32 ? ((const int32_t *)t->data)[0] == only
                                    : false;
}

/* A Slice that takes a range of channels and nothing else: where it begins. */
static bool slice_begin(const tn_node *n, int64_t channels, int64_t *begin) {
    if (!tn_opt_is(n, "", "Slice") || n->since < 10 || n->n_in < 4 || !is_map(n->out[0])) return false;
    if (!constant_ints(n->in[3], 1) && !constant_ints(n->in[3], -3)) return false;
    if (n->n_in > 4 && n->in[4] && !constant_ints(n->in[4], 1)) return false;
    const tern_tensor *t = tn_opt_const(n->in[1]);
    if (!t || tn_shape_count(&t->shape) != 1 || (t->dtype != TERN_INT64 && t->dtype != TERN_INT32)) return false;
    *begin = t->dtype == TERN_INT64 ? ((const int64_t *)t->data)[0] : ((const int32_t *)t->data)[0];
    if (*begin < 0 && *begin >= -channels) *begin += channels;
    return *begin >= 0 && *begin <= channels - n->out[0]->type.shape.dims[1];
}

/* A Split along channels with outputs of known sizes. */
static bool is_split(const tn_node *n, int64_t channels) {
    int64_t axis = tn_attr_i(n, "axis", 0), sum = 0;
    if (!tn_opt_is(n, "", "Split") || (axis != 1 && axis != -3)) return false;
    for (int i = 0; i < n->n_out; i++) {
        if (!n->out[i] || !is_map(n->out[i])) return false;
        sum += n->out[i]->type.shape.dims[1];
    }
    return sum == channels;
}

static tern_status replace_reader(tn_opt *o, int at, tn_value **in, int n_in, const int64_t *map, int64_t channels) {
    tn_node *n = o->graph->nodes[at];
    int64_t begin = 0;
    if (slice_begin(n, channels, &begin)) {
        tn_value *out = n->out[0];
        tn_node *pick = tn_opt_replace(o, at, "tern", "Channels", 1, n_in, n);
        if (!pick) return TERN_OUT_OF_MEMORY;
        TN_TRY(tn_opt_note(o, pick, "channel shuffle, Slice"));
        return emit(o, pick, in, n_in, map + begin, out->type.shape.dims[1], out);
    }
    for (int i = 0; i < n->n_out; i++) {
        tn_value *out = n->out[i];
        tn_node *pick = tn_graph_add_node(o->graph, "tern", "Channels", 1, n_in, 1);
        if (!pick) return tn_fail_oom(o->err, sizeof *pick);
        pick->name = n->name;
        TN_TRY(tn_opt_note(o, pick, "channel shuffle, Split"));
        TN_TRY(emit(o, pick, in, n_in, map + begin, out->type.shape.dims[1], out));
        begin += out->type.shape.dims[1];
        n->out[i] = NULL;
    }
    tn_opt_remove(n);
    return TERN_OK;
}

/* ---- the pass -------------------------------------------------------------------------------------------------- */

/* Positions of the nodes that read each value, for values that shuffles write. */
typedef struct readers {
    int first[2], count;
    bool others; /* or more than two, or something that is no Slice or Split, or a subgraph, or an output */
} readers;

static void note_readers(tn_opt *o, readers *r) {
    tn_graph *g = o->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_captures; k++) r[n->captures[k]->id].others = true;
        for (int k = 0; k < n->n_in; k++) {
            tn_value *v = n->in[k];
            if (!v) continue;
            readers *at = &r[v->id];
            int64_t begin, channels = is_map(v) ? v->type.shape.dims[1] : 0;
            if (k || !channels || at->count == 2 || (!slice_begin(n, channels, &begin) && !is_split(n, channels)))
                at->others = true;
            else
                at->first[at->count++] = i;
        }
    }
    for (int i = 0; i < g->n_outputs; i++) r[g->outputs[i]->id].others = true;
}

static tern_status replace_shuffle(tn_opt *o, int at, const readers *r) {
    tn_node *last = o->graph->nodes[at];
    int64_t groups;
    tn_value *x = shuffled(last, &groups), **in, *out = last->out[0];
    if (!x) return TERN_OK;
    int64_t channels = x->type.shape.dims[1], part = channels / groups;
    int64_t *map = tn_arena_array(&o->scratch, (size_t)channels, sizeof *map);
    if (!map) return tn_fail_oom(o->err, (size_t)channels * sizeof *map);
    for (int64_t c = 0; c < channels; c++) map[c] = c % groups * part + c / groups;
    int n_in = operands(&x, &in);
    if (!r[out->id].others && r[out->id].count) {
        for (int k = 0; k < r[out->id].count; k++)
            TN_TRY(replace_reader(o, r[out->id].first[k], in, n_in, map, channels));
        return TERN_OK; /* the shuffle itself is dead */
    }
    tn_node *pick = tn_opt_replace(o, at, "tern", "Channels", 1, n_in, last);
    if (!pick) return TERN_OUT_OF_MEMORY;
    TN_TRY(tn_opt_note(o, pick, "channel shuffle"));
    return emit(o, pick, in, n_in, map, channels, out);
}

tern_status tn_pass_channels(tn_opt *o) {
    int n = o->graph->n_nodes;
    readers *r = tn_arena_array(&o->scratch, (size_t)o->graph->n_values + 1, sizeof *r);
    if (!r) return tn_fail_oom(o->err, (size_t)o->graph->n_values * sizeof *r);
    note_readers(o, r);
    for (int i = 0; i < n; i++) TN_TRY(replace_shuffle(o, i, r));
    return TERN_OK;
}
