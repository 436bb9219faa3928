/* Large batches in pieces.
 *
 * Layer by layer, a batch writes and reads maps that no longer fit into the caches, while its weights are read once for
 * all samples. Where every sample's outputs come from that sample alone, the batch may be run a few samples at a time
 * instead, and threads may take pieces of their own. The bits are the same: no kernel mixes samples. */
#include "runtime/runtime.h"

/* ---- whether samples are independent --------------------------------------------------------------------------- */

typedef enum rule {
    EACH,        /* element by element, with broadcasting; pools, normalisation over channels and the like */
    CONVOLUTION, /* inputs 1 and 2 are weights and bias; all others are maps */
    PRODUCT,     /* input 0 has a row for each sample; inputs 1 and 2 are weights, 3 a map like the output */
    AXIS,        /* along attribute axis, which must not be 0 */
    FLATTEN,
    RESHAPE,   /* dim 0 stays, and so does the number of elements of a sample */
    TRANSPOSE, /* dim 0 stays */
    RESIZE,    /* by constant factors, along other dims */
    ROWS       /* input 0 along attribute axis, which must not be 0, the others are weights */
} rule;

static const struct {
    const char *op;
    rule rule;
} rules[] = {
    {"Abs", EACH},
    {"Add", EACH},
    {"AveragePool", EACH},
    {"BatchNormalization", EACH},
    {"Cast", EACH},
    {"Channels", EACH},
    {"Clip", EACH},
    {"Concat", AXIS},
    {"Conv", CONVOLUTION},
    {"ConvTranspose", CONVOLUTION},
    {"Div", EACH},
    {"Elu", EACH},
    {"Exp", EACH},
    {"Flatten", FLATTEN},
    {"Gelu", EACH},
    {"Gemm", PRODUCT},
    {"GlobalAveragePool", EACH},
    {"GlobalMaxPool", EACH},
    {"HardSigmoid", EACH},
    {"HardSwish", EACH},
    {"Identity", EACH},
    {"LeakyRelu", EACH},
    {"LRN", EACH},
    {"LayerNormalization", ROWS},
    {"MatMul", PRODUCT},
    {"MaxPool", EACH},
    {"Mish", EACH},
    {"Mul", EACH},
    {"Neg", EACH},
    {"PRelu", EACH},
    {"Relu", EACH},
    {"Reorder", EACH},
    {"Reshape", RESHAPE},
    {"Resize", RESIZE},
    {"ScaleShift", CONVOLUTION},
    {"Sigmoid", EACH},
    {"Silu", EACH},
    {"Softmax", AXIS},
    {"Softplus", EACH},
    {"Sqrt", EACH},
    {"Sub", EACH},
    {"Tanh", EACH},
    {"Transpose", TRANSPOSE},
};

static bool varies(const tn_value *v) { return v && !v->constant; }

/* The rank of a value whose first dim counts samples; 0: not known. */
static int rank_of(const tn_value *v) {
    return v->type.kind == TERN_KIND_TENSOR && v->type.ranked ? v->type.shape.rank : 0;
}

/* Every map has the output's rank, every constant is the same for all samples. */
static bool broadcasts(const tn_node *n) {
    int rank = rank_of(n->out[0]);
    for (int i = 0; i < n->n_in; i++) {
        const tn_value *v = n->in[i];
        if (varies(v) && rank_of(v) != rank) return false;
        if (v && v->constant && v->constant->shape.rank >= rank && v->constant->shape.dims[0] != 1) return false;
    }
    return true;
}

/* Inputs [from, to) are constants. */
static bool constants(const tn_node *n, int from, int to) {
    for (int i = from; i < TN_MIN(to, n->n_in); i++)
        if (varies(n->in[i])) return false;
    return true;
}

static bool axis_is_free(const tn_node *n) {
    bool old_softmax = strcmp(n->op_type, "Softmax") == 0 && n->since < 13;
    int rank = rank_of(n->out[0]);
    int64_t axis = tn_attr_i(n, "axis", old_softmax ? 1 : -1);
    if (axis < 0) axis += rank;
    for (int i = 0; i < n->n_in; i++)
        if (!varies(n->in[i]) || rank_of(n->in[i]) != rank) return false;
    return axis > 0;
}

/* The factor of dim 0, a float constant or an attribute, is 1. */
static bool keeps_samples(const tn_node *n) {
    const tn_value *scales = n->n_in > 2 ? n->in[2] : n->n_in > 1 ? n->in[1] : NULL;
    if (!constants(n, 1, n->n_in) || n->n_in > 3 || tn_attr_find(n, "axes")) return false;
    if (tn_attr_is(n, "coordinate_transformation_mode", "", "tf_crop_and_resize")) return false;
    const tern_tensor *t = scales ? scales->constant : NULL;
    return t && t->dtype == TERN_FLOAT && !t->unaligned && t->shape.rank == 1 &&
           t->shape.dims[0] == rank_of(n->in[0]) && ((const float *)t->data)[0] == 1;
}

/* The elements of a sample; 0: not known. */
static int64_t sample_elements(const tn_value *v) {
    tn_shape s = v->type.shape;
    int64_t count = 0;
    s.dims[0] = 1;
    return tn_shape_count_checked(&s, &count) ? count : 0;
}

static bool is_batch_major(const tn_value *from, const tn_value *to) {
    return from->type.shape.dims[0] == to->type.shape.dims[0] && tn_dim_is_symbol(to->type.shape.dims[0]) &&
           sample_elements(from) && sample_elements(from) == sample_elements(to);
}

static bool follows(const tn_node *n, rule r) {
    size_t count;
    const int64_t *perm;
    switch (r) {
    case EACH:
        return n->n_in == 1 || strcmp(n->op_type, "BatchNormalization") == 0 ? constants(n, 1, n->n_in) : broadcasts(n);
    case CONVOLUTION:
        if (!constants(n, 1, 3)) return false;
        for (int i = 3; i < n->n_in; i++)
            if (n->in[i] && n->in[i]->constant) return false;
        return true;
    case PRODUCT:
        if (n->n_in > 2 && n->in[2] && n->in[2]->constant && n->in[2]->constant->shape.rank > 1 &&
            n->in[2]->constant->shape.dims[0] != 1)
            return false;
        if (n->n_in > 1 && n->in[1]->constant && n->in[1]->constant->shape.rank > 2) return false;
        for (int i = 3; i < n->n_in; i++) /* a residual sum */
            if (n->in[i] && (!varies(n->in[i]) || rank_of(n->in[i]) != rank_of(n->out[0]))) return false;
        return constants(n, 1, 3) && tn_attr_i(n, "transA", 0) == 0 && rank_of(n->in[0]) > 1;
    case AXIS:
        return axis_is_free(n);
    case FLATTEN:
        return tn_attr_i(n, "axis", 1) == 1;
    case RESHAPE:
        return constants(n, 1, n->n_in) && is_batch_major(n->in[0], n->out[0]);
    case TRANSPOSE:
        perm = tn_attr_ints(n, "perm", &count);
        return perm && count > 0 && perm[0] == 0;
    case RESIZE:
        return keeps_samples(n);
    case ROWS:
        return constants(n, 1, n->n_in) &&
               (tn_attr_i(n, "axis", -1) > 0 || tn_attr_i(n, "axis", -1) + rank_of(n->in[0]) > 0);
    }
    return false;
}

static bool separates(const tn_node *n) {
    bool known = !*n->domain || strcmp(n->domain, "ai.onnx") == 0 || strcmp(n->domain, "tern") == 0;
    if (!known || n->n_captures || !varies(n->in[0]) || !rank_of(n->in[0])) return false;
    if (!n->out[0] || !rank_of(n->out[0])) return false;
    /* Indices of MaxPool count from the first sample; statistics of BatchNormalization are of all samples. Those of a
     * convolution are means over the map. */
    bool means = strcmp(n->op_type, "Conv") == 0;
    for (int i = 1; i < n->n_out && !means; i++)
        if (n->out[i]) return false;
    if (tn_attr_i(n, "training_mode", 0)) return false;
    if (tn_attr_find(n, "broadcast")) return false; /* before opset 7 a row of the second operand may lie along dim 0 */
    for (size_t i = 0; i < TN_COUNT(rules); i++)
        if (strcmp(rules[i].op, n->op_type) == 0) return follows(n, rules[i].rule);
    return false;
}

bool tn_batch_separates(const tn_graph *g) {
    if (!g->n_inputs || !g->n_nodes) return false;
    for (int i = 0; i < g->n_inputs; i++)
        if (!rank_of(g->inputs[i]) || tn_dim_known(g->inputs[i]->type.shape.dims[0])) return false;
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i]->constant || !g->outputs[i]->producer || !rank_of(g->outputs[i])) return false;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->n_in < 1 || !separates(g->nodes[i])) return false;
    return true;
}

/* ---- how many at a time ---------------------------------------------------------------------------------------- */

/* Bytes of constants among a step's inputs. */
static double constant_bytes(const tn_step *step) {
    double sum = 0;
    for (int i = 0; i < step->node->n_in; i++)
        if (step->node->in[i] && step->node->in[i]->constant)
            sum += (double)tn_tensor_bytes(step->node->in[i]->constant);
    return sum;
}

/* Nanoseconds that a sample costs beside the arithmetic when `count` run together: moving maps and weights, by where
 * they fit, and starting the steps. The rates are those of one core, in bytes per nanosecond. */
static double overhead(const tn_plan *one, double weights, int64_t count, int threads) {
    const double l3_rate = 80, memory_rate = 25, weight_l3_rate = 90, weight_rate = 35,
                 start = threads > 1 ? 2500 : 300;
    const tn_cpu_info *cpu = tn_cpu_get_info();
    double l2 = (double)cpu->l2 / 2, l3 = (double)tn_cpu_get_system()->l3 / 4, n = (double)count, maps = 0;
    for (int i = 0; i < one->n_steps; i++) {
        double bytes = (double)one->steps[i].bytes - constant_bytes(&one->steps[i]);
        if (bytes * n > l2) maps += bytes / (bytes * n > l3 ? memory_rate : l3_rate);
    }
    double reading = weights <= l2 ? 0 : weights / (weights > 2 * l3 ? weight_rate : weight_l3_rate);
    return maps + (reading + start * one->n_steps) / n;
}

static int64_t best_count(const tn_plan *one, int64_t batch, int threads) {
    double weights = 0, least = 0;
    int64_t best = batch;
    for (int i = 0; i < one->n_steps; i++) {
        if (one->steps[i].dynamic) return batch;
        weights += constant_bytes(&one->steps[i]);
    }
    least = overhead(one, weights, batch, threads);
    for (int64_t n = batch / 2; n >= 1; n--) {
        if (batch % n) continue;
        double cost = overhead(one, weights, n, threads);
        if (cost >= least) continue;
        least = cost;
        best = n;
    }
    return best;
}

tern_status tn_batch_count(tern_session *s, tern_tensor *const *given, int64_t *count, tern_error *err) {
    enum { MOST_INPUTS = 16, MOST_SAMPLES = 4096 };
    const tn_graph *g = s->model->graph;
    tern_tensor one[MOST_INPUTS], *list[MOST_INPUTS];
    *count = 0;
    if (!s->separates || g->n_inputs > MOST_INPUTS || g->n_outputs > MOST_INPUTS) return TERN_OK;
    int64_t batch = given[0]->shape.dims[0];
    for (int i = 0; i < g->n_inputs; i++) {
        if (given[i]->dtype == TERN_STRING || given[i]->block || given[i]->shape.dims[0] != batch) return TERN_OK;
        one[i] = *given[i];
        one[i].shape.dims[0] = 1;
        list[i] = &one[i];
    }
    if (batch < 2 || batch > MOST_SAMPLES) return TERN_OK;
    if (s->batch_count) {
        *count = batch % s->batch_count ? 0 : s->batch_count;
        return TERN_OK;
    }
    tn_cached_plan *c;
    TN_TRY(tn_session_plan(s, g, list, g->n_inputs, &c, err));
    *count = best_count(c->plan, batch, s->options.threads);
    tn_session_release_plan(s, c, NULL);
    return TERN_OK;
}
