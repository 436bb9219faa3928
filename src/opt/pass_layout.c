#include "opt/match.h"

#include "kernels/conv.h"
#include "kernels/q8.h"
#include "ops/fused.h"

/* Blocked layout. Convolutions write it; operators that can (TN_OP_BLOCKED) keep it; a Reorder stands at the border of
 * such a region and nowhere inside. A value may end up in both forms: the plain one keeps its name. 8-bit regions have
 * blocks of their own (kernels/q8.h); a QuantizeLinear before such a region writes them itself. In precision bf16 all
 * blocked floats are bfloat16 (a Reorder rounds and widens, too), and products with constant matrices round what they
 * multiply. */

tern_status tn_pass_layout(tn_opt *o);

typedef struct layout {
    tn_opt *o;
    int block;
    int n_values;       /* ids below this had a place before the pass */
    tn_value **blocked; /* by id: the blocked form, NULL when there is none yet */
    bool *plain;        /* by id: the plain form exists */
    tn_node **list;     /* the new node order */
    size_t count, cap;
} layout;

static tern_status emit(layout *l, tn_node *n) {
    if (!tn_grow(&l->list, &l->cap, l->count + 1, sizeof(tn_node *))) return tn_fail_oom(l->o->err, sizeof(tn_node *));
    l->list[l->count++] = n;
    return TERN_OK;
}

static tern_status reorder(layout *l, tn_value *from, tn_value *to) {
    tn_graph *g = l->o->graph;
    tn_node *n = tn_graph_add_node(g, "tern", "Reorder", 1, 1, 1);
    if (!n) return tn_fail_oom(l->o->err, sizeof *n);
    g->n_nodes--; /* it goes to the new list */
    n->in[0] = from;
    n->out[0] = to;
    to->producer = n;
    TN_TRY(tn_opt_set_i(l->o, n, "block", to->block));
    if (from->type.dtype != to->type.dtype) TN_TRY(tn_opt_set_i(l->o, n, "to", to->type.dtype));
    return emit(l, n);
}

static tn_value *new_blocked(layout *l, const tn_value *v, int block) {
    tn_value *b = tn_graph_new_value(l->o->graph, v->name);
    if (!b) {
        tn_fail_oom(l->o->err, sizeof *b);
        return NULL;
    }
    b->type = v->type;
    if (l->o->bf16 && v->type.dtype == TERN_FLOAT) b->type.dtype = TERN_BFLOAT16;
    b->block = block;
    b->blocked_of = v->name;
    return b;
}

static tern_status want_plain(layout *l, tn_value *v) {
    if (!v || v->id >= l->n_values || l->plain[v->id]) return TERN_OK;
    l->plain[v->id] = true;
    return reorder(l, l->blocked[v->id], v);
}

static tern_status want_blocked(layout *l, tn_value **input, int block) {
    tn_value *v = *input, *b = l->blocked[v->id];
    if (!b || b->block != block) {
        TN_TRY(want_plain(l, v));
        b = new_blocked(l, v, block);
        if (!b) return TERN_OUT_OF_MEMORY;
        TN_TRY(reorder(l, v, b));
        if (!l->blocked[v->id]) l->blocked[v->id] = b;
    }
    *input = b;
    return TERN_OK;
}

static tern_status block_output(layout *l, tn_node *n, int i, int block) {
    tn_value *v = n->out[i], *b = new_blocked(l, v, block);
    if (!b) return TERN_OUT_OF_MEMORY;
    l->blocked[v->id] = b;
    l->plain[v->id] = false;
    v->producer = NULL;
    n->out[i] = b;
    b->producer = n;
    return TERN_OK;
}

static bool is_map(const tn_value *v) { /* float32 (n, c, spatial) with a known number of channels */
    int rank = v->type.ranked ? v->type.shape.rank : 0;
    return v->type.kind == TERN_KIND_TENSOR && v->type.dtype == TERN_FLOAT && rank >= 3 && rank <= 5 &&
           tn_dim_known(v->type.shape.dims[1]) && v->type.shape.dims[1] > 0;
}

/* The first layer reads the picture as it is. */
static bool reads_plain(const layout *l, const tn_node *conv) {
    const tn_value *x = conv->in[0];
    return !l->blocked[x->id] && x->type.shape.dims[1] <= 4 &&
           tn_op_conv_blocked_ok(conv, l->o->tier, true, l->o->bf16);
}

static bool is_blocked_conv(const layout *l, const tn_node *n) {
    if (tn_opt_is(n, "tern", "ConvTranspose")) return true; /* made by pass_conv.c where it can be */
    return tn_opt_is(n, "tern", "Conv") && is_map(n->in[0]) && is_map(n->out[0]) &&
           (reads_plain(l, n) || tn_op_conv_blocked_ok(n, l->o->tier, false, l->o->bf16));
}

static tern_status place_conv(layout *l, tn_node *n) {
    if (tn_opt_is(n, "tern", "ConvTranspose") || !reads_plain(l, n)) TN_TRY(want_blocked(l, &n->in[0], l->block));
    if (n->in[3]) TN_TRY(want_blocked(l, &n->in[3], l->block));
    if (l->o->bf16) TN_TRY(tn_opt_set_i(l->o, n, "bf16", 1));
    TN_TRY(emit(l, n));
    return block_output(l, n, 0, l->block);
}

/* ---- 8 bits ---------------------------------------------------------------------------------------------------- */

static bool is_q8_map(const tn_value *v) { /* (n, c, h, w) of bytes with a known number of channels */
    return v && v->type.kind == TERN_KIND_TENSOR && (v->type.dtype == TERN_INT8 || v->type.dtype == TERN_UINT8) &&
           v->type.ranked && v->type.shape.rank == 4 && tn_dim_known(v->type.shape.dims[1]) &&
           v->type.shape.dims[1] > 0;
}

static bool is_q8_conv(const tn_node *n) {
    return (tn_opt_is(n, "", "QLinearConv") || tn_opt_is(n, "", "ConvInteger") || tn_opt_is(n, "tern", "QConv")) &&
           is_q8_map(n->in[0]) && tn_op_q8_conv_ok(n, TN_Q8_BLOCK);
}

static bool is_q8_eltwise(const tn_node *n) {
    return (tn_opt_is(n, "tern", "QAdd") || tn_opt_is(n, "tern", "QGlobalAveragePool")) && tn_op_q8_eltwise_ok(n);
}

/* Blocks in which an 8-bit convolution takes its input: few channels come in small ones, unless they are in large ones
 * already. */
static int q8_input_block(const layout *l, const tn_node *conv) {
    const tn_value *x = conv->in[0];
    const tn_value *b = x->id < l->n_values ? l->blocked[x->id] : x;
    bool small = (!b || b->block != TN_Q8_BLOCK) && x->type.shape.dims[1] <= 4 && tn_op_q8_conv_ok(conv, 4);
    return small ? 4 : TN_Q8_BLOCK;
}

/* Table look-ups stay in the layout that they find. */
static bool keeps_q8(const layout *l, const tn_node *n) {
    if (!tn_opt_is(n, "tern", "QLookup") || !is_q8_map(n->in[0]) || !is_q8_map(n->out[0])) return false;
    const tn_value *b = n->in[0]->id < l->n_values ? l->blocked[n->in[0]->id] : NULL;
    return b && b->block == TN_Q8_BLOCK;
}

static tern_status place_q8(layout *l, tn_node *n, bool conv) {
    int first = conv ? q8_input_block(l, n) : TN_Q8_BLOCK, z = conv ? 9 : 3;
    for (int i = 0; i < n->n_in; i++) {
        if (i == 0 || (i == z && is_q8_map(n->in[i])))
            TN_TRY(want_blocked(l, &n->in[i], i == 0 ? first : TN_Q8_BLOCK));
        else
            TN_TRY(want_plain(l, n->in[i]));
    }
    TN_TRY(emit(l, n));
    return block_output(l, n, 0, TN_Q8_BLOCK);
}

/* The blocks in which a QuantizeLinear had better write its result; 0: plain. */
static int quantize_block(const layout *l, const tn_node *n) {
    if (!tn_opt_is(n, "", "QuantizeLinear") || !is_map(n->in[0]) || n->in[0]->type.shape.rank != 4 ||
        !is_q8_map(n->out[0]))
        return 0;
    const tern_tensor *scale = tn_opt_const(n->in[1]);
    const tn_node *user = n->out[0]->n_uses == 1 ? l->o->sole_user[n->out[0]->id] : NULL;
    if (!scale || scale->dtype != TERN_FLOAT || tn_shape_count(&scale->shape) != 1 || tn_attr_find(n, "precision"))
        return 0;
    return user && user->in[0] == n->out[0] && is_q8_conv(user) ? q8_input_block(l, user) : 0;
}

/* ---------------------------------------------------------------------------------------------------------------- */

/* Operators that work on blocked bfloat16 as on blocked float32, when all their float inputs are maps. */
static bool takes_bf16(const tn_node *n) {
    static const char *const names[] = {"Concat",        "Split",       "MaxPool",   "AveragePool", "GlobalAveragePool",
                                        "GlobalMaxPool", "Resize",      "Upsample",  "Add",         "Sub",
                                        "Mul",           "Div",         "Relu",      "Sigmoid",     "Tanh",
                                        "LeakyRelu",     "HardSigmoid", "HardSwish", "Elu",         "Identity"};
    for (size_t i = 0; i < TN_COUNT(names); i++)
        if (tn_opt_is(n, "", names[i])) return true;
    return false;
}

/* Whether the node may work on blocked tensors, and whether it would gain: one of its inputs is blocked already. */
static tern_status keeps_blocked(layout *l, const tn_node *n, bool *keeps, int *block) {
    *keeps = false;
    *block = l->block;
    if (!(n->op->flags & TN_OP_BLOCKED) || n->n_captures || !n->n_in) return TERN_OK;
    int64_t channels = -1;
    int rank = 0;
    bool any = false, concat = tn_opt_is(n, "", "Concat") || tn_opt_is(n, "tern", "Channels");
    bool resize = n->op->blocked_ok != NULL && !concat;
    const tn_type **types = tn_arena_array(&l->o->scratch, (size_t)n->n_in, sizeof *types);
    const tern_tensor **values = tn_arena_array(&l->o->scratch, (size_t)n->n_in, sizeof *values);
    if (!types || !values) return tn_fail_oom(l->o->err, (size_t)n->n_in * sizeof *types);
    bool bytes = concat && is_q8_map(n->in[0]), bf16 = l->o->bf16 && !bytes;
    if (bytes) *block = TN_Q8_BLOCK;
    if (bf16 && !takes_bf16(n)) return TERN_OK;
    for (int i = 0; i < n->n_in; i++) {
        const tn_value *v = n->in[i];
        if (!v) continue;
        types[i] = &v->type;
        values[i] = tn_opt_const(v);
        if (bytes ? is_q8_map(v) : is_map(v)) {
            if (v->id < l->n_values && l->blocked[v->id] && l->blocked[v->id]->block == *block) any = true;
            if (channels >= 0 && channels != v->type.shape.dims[1] && !concat) return TERN_OK;
            if (rank && v->type.shape.rank != rank) return TERN_OK;
            channels = v->type.shape.dims[1];
            rank = v->type.shape.rank;
        } else if ((bf16 || !(values[i] && tn_shape_count(&values[i]->shape) == 1)) && !(resize && i > 0)) {
            return TERN_OK;
        }
    }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] && (!(bytes ? is_q8_map(n->out[i]) : is_map(n->out[i])) || n->out[i]->type.shape.rank != rank))
            return TERN_OK;
    if (bf16 && rank != 4) return TERN_OK;
    *keeps = any && (!n->op->blocked_ok || n->op->blocked_ok(n, types, values, *block));
    return TERN_OK;
}

/* Products with a constant matrix, whose numbers may be rounded to bfloat16. */
static bool is_bf16_product(const layout *l, const tn_node *n) {
    if (!l->o->bf16 || !(tn_opt_is(n, "", "Gemm") || tn_opt_is(n, "tern", "Gemm") || tn_opt_is(n, "", "MatMul")))
        return false;
    const tern_tensor *b = tn_opt_const(n->in[1]);
    return b && b->dtype == TERN_FLOAT && b->shape.rank == 2;
}

static tern_status place(layout *l, tn_node *n) {
    if (is_blocked_conv(l, n)) return place_conv(l, n);
    bool keeps, q8_conv = is_q8_conv(n);
    int block, quantized = quantize_block(l, n);
    if (q8_conv || is_q8_eltwise(n) || keeps_q8(l, n)) return place_q8(l, n, q8_conv);
    TN_TRY(keeps_blocked(l, n, &keeps, &block));
    if (keeps) {
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i] && (is_map(n->in[i]) || is_q8_map(n->in[i]))) TN_TRY(want_blocked(l, &n->in[i], block));
        TN_TRY(emit(l, n));
        for (int i = 0; i < n->n_out; i++)
            if (n->out[i]) TN_TRY(block_output(l, n, i, block));
        return TERN_OK;
    }
    for (int i = 0; i < n->n_in; i++) TN_TRY(want_plain(l, n->in[i]));
    for (int i = 0; i < n->n_captures; i++) TN_TRY(want_plain(l, n->captures[i]));
    if (is_bf16_product(l, n)) TN_TRY(tn_opt_set_i(l->o, n, "bf16", 1));
    TN_TRY(emit(l, n));
    return quantized ? block_output(l, n, 0, quantized) : TERN_OK;
}

static tern_status place_all(layout *l) {
    tn_graph *g = l->o->graph;
    int n_nodes = g->n_nodes;
    for (int i = 0; i < n_nodes; i++) TN_TRY(place(l, g->nodes[i]));
    for (int i = 0; i < g->n_outputs; i++) TN_TRY(want_plain(l, g->outputs[i]));
    if (!tn_grow(&g->nodes, &g->cap_nodes, l->count, sizeof(tn_node *))) return tn_fail_oom(l->o->err, l->count);
    if (l->count) memcpy(g->nodes, l->list, l->count * sizeof(tn_node *));
    g->n_nodes = (int)l->count;
    return TERN_OK;
}

tern_status tn_pass_layout(tn_opt *o) {
    layout l = {.o = o, .block = tn_conv_block(o->tier), .n_values = o->graph->n_values};
    l.blocked = tn_arena_array(&o->scratch, (size_t)l.n_values + 1, sizeof(tn_value *));
    l.plain = tn_arena_array(&o->scratch, (size_t)l.n_values + 1, sizeof(bool));
    if (!l.blocked || !l.plain) return tn_fail_oom(o->err, (size_t)l.n_values * sizeof(tn_value *));
    for (int i = 0; i < l.n_values; i++) l.plain[i] = true;
    tern_status s = place_all(&l);
    tn_free(l.list);
    return s;
}
