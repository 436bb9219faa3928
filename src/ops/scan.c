/* Scan, of opset 8 (a batch of sequences) and since 9 (one sequence, any axes).
 *
 * Both are a body run over slices: a scan input gives one slice per iteration, a scan output takes one. The number of
 * iterations is a dim of the inputs, so results are allocated as soon as the first slice tells their shape. */
#include "ops/control_internal.h"

/* One input that is cut up or one output that is put together: (outer, length, inner) with slices (outer, inner). */
typedef struct track {
    tern_tensor *t;
    int axis;
    bool backward;
} track;

typedef struct scan {
    tn_body_run body;
    int states, inputs, outputs; /* scan inputs; scan outputs */
    track *in, *out;             /* inputs, outputs */
    int64_t length;
} scan;

static int64_t list_value(const int64_t *list, size_t n, int k) { return (size_t)k < n ? list[k] : 0; }

/* ---- types ----------------------------------------------------------------------------------------------------- */

static tern_status check_list(tn_infer *c, const char *name, int64_t want, bool directions) {
    size_t n;
    const int64_t *v = tn_attr_ints(c->node, name, &n);
    if (v && (int64_t)n != want)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' has %zu values where %lld are needed", name, n,
                             (long long)want);
    for (size_t i = 0; directions && i < n; i++)
        if (v[i] != 0 && v[i] != 1)
            return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' has the value %lld; 0 and 1 are possible", name,
                                 (long long)v[i]);
    return TERN_OK;
}

/* first: the input before the states and scan inputs. */
static tern_status check_scan(tn_infer *c, int first, tn_graph **g, int *states, int *inputs) {
    int64_t n = tn_attr_i(c->node, "num_scan_inputs", 0);
    int total = c->node->n_in - first;
    *g = tn_control_graph(c->node, "body");
    if (!*g) return tn_infer_fail(c, TERN_INVALID_MODEL, "the subgraph 'body' is missing");
    if (n < 1 || n > total)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "num_scan_inputs is %lld; the node has %d inputs", (long long)n,
                             total);
    *inputs = (int)n;
    *states = total - *inputs;
    if ((*g)->n_inputs != total || (*g)->n_outputs < *states || (*g)->n_outputs < c->node->n_out)
        return tn_infer_fail(c, TERN_INVALID_MODEL,
                             "the body '%s' has %d inputs and %d outputs; %d states, %d scan inputs and %d outputs of "
                             "the node do not fit",
                             (*g)->name, (*g)->n_inputs, (*g)->n_outputs, *states, *inputs, c->node->n_out);
    for (int i = first; i < c->node->n_in; i++) {
        if (!tn_args_has(c, i)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", i);
        if (i >= first + *states) TN_TRY(tn_args_need(c, i, TN_TYPES_ALL));
    }
    return TERN_OK;
}

/* The type without dims [at, at + 1). */
static tn_type drop_dim(const tn_type *t, int at) {
    tn_type out = *t;
    if (!t->ranked) return out;
    out.shape.rank--;
    for (int i = at; i < out.shape.rank; i++) out.shape.dims[i] = t->shape.dims[i + 1];
    return out;
}

static tern_status merge_length(tn_infer *c, int i, int64_t dim, int64_t *length) {
    if (!tn_dim_known(*length))
        *length = dim;
    else if (tn_dim_known(dim) && dim != *length)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "scan input %d is %lld long, others %lld", i, (long long)dim,
                             (long long)*length);
    return TERN_OK;
}

static tern_status infer_scan(tn_infer *c) {
    tn_graph *g;
    tn_body_types t;
    int states, inputs;
    size_t n_in_axes, n_out_axes;
    int64_t length = TN_DIM_UNKNOWN;
    TN_TRY(check_scan(c, 0, &g, &states, &inputs));
    TN_TRY(check_list(c, "scan_input_axes", inputs, false));
    TN_TRY(check_list(c, "scan_input_directions", inputs, true));
    TN_TRY(check_list(c, "scan_output_axes", g->n_outputs - states, false));
    TN_TRY(check_list(c, "scan_output_directions", g->n_outputs - states, true));
    const int64_t *in_axes = tn_attr_ints(c->node, "scan_input_axes", &n_in_axes);
    const int64_t *out_axes = tn_attr_ints(c->node, "scan_output_axes", &n_out_axes);
    TN_TRY(tn_body_types_init(c, g, &t));
    t.n_states = states;
    for (int k = 0; k < states; k++) t.in[k] = *c->in[k];
    for (int k = 0; k < inputs; k++) {
        const tn_type *x = c->in[states + k];
        int axis = 0;
        t.in[states + k] = *x;
        if (!x->ranked) continue;
        TN_TRY(tn_infer_axis(c, list_value(in_axes, n_in_axes, k), x->shape.rank, &axis, "the scan input's axis"));
        TN_TRY(merge_length(c, k, x->shape.dims[axis], &length));
        t.in[states + k] = drop_dim(x, axis);
    }
    TN_TRY(tn_body_types_settle(c, &t));
    for (int o = 0; o < c->node->n_out; o++)
        c->out[o] =
            o < states ? t.in[o] : tn_type_stacked(&t.out[o], list_value(out_axes, n_out_axes, o - states), length);
    return TERN_OK;
}

/* ---- slices ---------------------------------------------------------------------------------------------------- */

/* Copies slice i between a track's tensor and the dense slice. */
static void copy_slice(const track *k, int64_t i, int64_t length, void *slice, bool to_track) {
    const tn_shape *s = &k->t->shape;
    int64_t at = k->backward ? length - 1 - i : i, outer = tn_shape_count_range(s, 0, k->axis);
    size_t inner = (size_t)tn_shape_count_range(s, k->axis + 1, s->rank) * tn_dtype_size(k->t->dtype);
    for (int64_t o = 0; inner && o < outer; o++) {
        char *there = (char *)k->t->data + (size_t)(o * s->dims[k->axis] + at) * inner;
        char *here = (char *)slice + (size_t)o * inner;
        if (to_track)
            memcpy(there, here, inner);
        else
            memcpy(here, there, inner);
    }
}

/* Input `to` of the body becomes slice i. */
static tern_status cut(scan *s, const track *k, int64_t i, int to) {
    tn_run *c = s->body.c;
    tn_shape shape = k->t->shape;
    shape.rank--;
    for (int d = k->axis; d < shape.rank; d++) shape.dims[d] = k->t->shape.dims[d + 1];
    tern_tensor *slice;
    TN_TRY(c->exec->alloc(c->exec, k->t->dtype, &shape, &slice, c->err));
    tn_run_drop(c, s->body.in[to]);
    s->body.in[to] = slice;
    copy_slice(k, i, s->length, slice->data, false);
    return TERN_OK;
}

static tern_status start_output(tn_run *c, track *k, tern_dtype dtype, const tn_shape *item, int64_t axis,
                                int64_t length) {
    tn_shape shape = *item;
    if (item->rank >= TERN_MAX_RANK) return tn_run_fail(c, TERN_UNSUPPORTED, "a scan output of rank %d", item->rank);
    shape.rank++;
    TN_TRY(tn_args_axis(axis, shape.rank, &k->axis, c->err));
    for (int d = item->rank; d > k->axis; d--) shape.dims[d] = item->dims[d - 1];
    shape.dims[k->axis] = length;
    return c->exec->alloc(c->exec, dtype, &shape, &k->t, c->err);
}

/* Slice i of a scan output; the first one tells its shape. */
static tern_status paste(tn_run *c, track *k, int64_t i, int64_t length, int64_t axis, const tern_tensor *slice) {
    if (slice->kind != TERN_KIND_TENSOR) return tn_run_fail(c, TERN_UNSUPPORTED, "a scan output is not a tensor");
    if (!k->t) TN_TRY(start_output(c, k, slice->dtype, &slice->shape, axis, length));
    const tn_shape *want = &k->t->shape;
    bool fits = slice->dtype == k->t->dtype && slice->shape.rank + 1 == want->rank;
    for (int d = 0; fits && d < slice->shape.rank; d++) fits = slice->shape.dims[d] == want->dims[d + (d >= k->axis)];
    if (!fits) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "iteration %lld gives a slice %s[%s] of a scan output %s[%s]",
                           (long long)i, tern_dtype_name(slice->dtype), tn_shape_text(&slice->shape, a, sizeof a),
                           tern_dtype_name(k->t->dtype), tn_shape_text(want, b, sizeof b));
    }
    copy_slice(k, i, length, slice->data, true);
    return TERN_OK;
}

static tern_status alloc_tracks(tn_run *c, scan *s) {
    s->in = tn_calloc((size_t)(s->inputs + s->outputs) + 1, sizeof *s->in);
    if (!s->in) return tn_fail_oom(c->err, (size_t)s->inputs * sizeof *s->in);
    s->out = s->in + s->inputs;
    return TERN_OK;
}

static void release_tracks(tn_run *c, scan *s) {
    for (int k = 0; s->in && k < s->outputs; k++) tn_run_drop(c, s->out[k].t);
    tn_free(s->in);
}

/* ---- since opset 9 --------------------------------------------------------------------------------------------- */

static tern_status open_inputs(tn_run *c, scan *s) {
    size_t n_axes, n_dirs;
    const int64_t *axes = tn_attr_ints(c->node, "scan_input_axes", &n_axes);
    const int64_t *dirs = tn_attr_ints(c->node, "scan_input_directions", &n_dirs);
    for (int k = 0; k < s->inputs; k++) {
        tern_tensor *x = c->in[s->states + k];
        s->in[k] = (track){.t = x, .backward = list_value(dirs, n_dirs, k) != 0};
        TN_TRY(tn_args_axis(list_value(axes, n_axes, k), x->shape.rank, &s->in[k].axis, c->err));
        int64_t n = x->shape.dims[s->in[k].axis];
        if (k == 0) s->length = n;
        if (n != s->length)
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "scan input %d is %lld long, the first one %lld", k,
                               (long long)n, (long long)s->length);
    }
    return TERN_OK;
}

static tern_status iterate(scan *s, int64_t i, const int64_t *axes, size_t n_axes) {
    tn_body_run *b = &s->body;
    for (int k = 0; k < s->inputs; k++) TN_TRY(cut(s, &s->in[k], i, s->states + k));
    TN_TRY(tn_body_run_step(b, i, 0, 0, s->states));
    for (int k = 0; k < s->outputs; k++)
        if (b->c->node->out[s->states + k])
            TN_TRY(paste(b->c, &s->out[k], i, s->length, list_value(axes, n_axes, k), b->out[s->states + k]));
    tn_body_run_drop_outputs(b);
    return TERN_OK;
}

static tern_status run_slices(scan *s) {
    tn_run *c = s->body.c;
    size_t n_axes, n_dirs;
    const int64_t *axes = tn_attr_ints(c->node, "scan_output_axes", &n_axes);
    const int64_t *dirs = tn_attr_ints(c->node, "scan_output_directions", &n_dirs);
    TN_TRY(open_inputs(c, s));
    for (int k = 0; k < s->outputs; k++) s->out[k].backward = list_value(dirs, n_dirs, k) != 0;
    for (int k = 0; k < s->states; k++) tn_body_run_set(&s->body, k, c->in[k]);
    for (int64_t i = 0; i < s->length; i++) TN_TRY(iterate(s, i, axes, n_axes));
    for (int k = 0; k < TN_MIN(s->states, c->node->n_out); k++) TN_TRY(tn_run_share(c, k, s->body.in[k]));
    for (int k = 0; k < s->outputs; k++) {
        if (!c->node->out[s->states + k]) continue;
        if (!s->out[k].t) { /* no iteration */
            tern_dtype dtype;
            tn_shape item;
            TN_TRY(tn_body_empty_shape(c, s->body.graph, s->states + k, &dtype, &item));
            TN_TRY(start_output(c, &s->out[k], dtype, &item, list_value(axes, n_axes, k), 0));
        }
        TN_TRY(tn_run_share(c, s->states + k, s->out[k].t));
    }
    return TERN_OK;
}

static tern_status run_scan(tn_run *c) {
    tn_graph *g = tn_control_graph(c->node, "body");
    scan s = {.inputs = (int)tn_attr_i(c->node, "num_scan_inputs", 0)};
    s.states = c->node->n_in - s.inputs;
    s.outputs = TN_MAX(c->node->n_out - s.states, 0);
    TN_TRY(alloc_tracks(c, &s));
    tern_status status = tn_body_run_init(c, g, g->n_outputs, &s.body);
    if (status == TERN_OK) status = run_slices(&s);
    tn_body_run_release(&s.body);
    release_tracks(c, &s);
    return status;
}

const tn_op tn_op_scan = TN_ARGS_OP(infer_scan, run_scan, 1, -1, 1, -1, TN_OP_NO_FOLD | TN_OP_ALLOC);

/* ---- opset 8 --------------------------------------------------------------------------------------------------- */

/* Inputs: lengths (optional), states (batch, ...), scan inputs (batch, length, ...). */
static tern_status infer_scan8(tn_infer *c) {
    tn_graph *g;
    tn_body_types t;
    int states, inputs;
    int64_t batch = TN_DIM_UNKNOWN, length = TN_DIM_UNKNOWN;
    TN_TRY(check_scan(c, 1, &g, &states, &inputs));
    TN_TRY(check_list(c, "directions", inputs, true));
    if (tn_args_has(c, 0)) TN_TRY(tn_args_need(c, 0, TN_T(INT64)));
    TN_TRY(tn_body_types_init(c, g, &t));
    t.n_states = states;
    for (int k = 0; k < states + inputs; k++) {
        const tn_type *x = c->in[1 + k];
        TN_TRY(tn_args_need(c, 1 + k, TN_TYPES_ALL));
        t.in[k] = *x;
        if (!x->ranked) continue;
        if (x->shape.rank < 1 + (k >= states))
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d", 1 + k, x->shape.rank);
        TN_TRY(merge_length(c, 1 + k, x->shape.dims[0], &batch));
        if (k >= states) TN_TRY(merge_length(c, 1 + k, x->shape.dims[1], &length));
        t.in[k] = drop_dim(x, 0);
        if (k >= states) t.in[k] = drop_dim(&t.in[k], 0);
    }
    TN_TRY(tn_body_types_settle(c, &t));
    for (int o = 0; o < c->node->n_out; o++) {
        tn_type inner = o < states ? t.in[o] : tn_type_stacked(&t.out[o], 0, length);
        c->out[o] = tn_type_stacked(&inner, 0, batch);
    }
    return TERN_OK;
}

typedef struct scan8 {
    scan s;
    track *final;  /* states: (batch, ...) */
    track *result; /* outputs: (batch, length, ...) */
    int64_t batch;
} scan8;

/* Item n of a (batch, ...) tensor, copied. */
static tern_status batch_item(tn_run *c, tern_tensor *x, int64_t n, tern_tensor **out) {
    tn_shape shape = {.rank = x->shape.rank - 1};
    for (int d = 0; d < shape.rank; d++) shape.dims[d] = x->shape.dims[d + 1];
    TN_TRY(c->exec->alloc(c->exec, x->dtype, &shape, out, c->err));
    track k = {.t = x};
    copy_slice(&k, n, x->shape.dims[0], (*out)->data, false);
    return TERN_OK;
}

static tern_status batch_length(tn_run *c, int64_t n, int64_t most, int64_t *out) {
    const tern_tensor *lengths = tn_args_in(c, 0);
    *out = most;
    if (!lengths) return TERN_OK;
    if (n >= tn_shape_count(&lengths->shape))
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "sequence_lens has %lld values, fewer than the batch",
                           (long long)tn_shape_count(&lengths->shape));
    *out = tn_tensor_get_i64(lengths, n);
    if (*out < 0 || *out > most)
        return tn_run_fail(c, TERN_INVALID_ARGUMENT, "sequence_lens[%lld] is %lld, outside [0, %lld]", (long long)n,
                           (long long)*out, (long long)most);
    return TERN_OK;
}

/* A scan output of one sequence; shorter ones are filled up with zeros (an empty string each). */
static tern_status start_padded(tn_run *c, track *k, const tern_tensor *slice, int64_t length) {
    TN_TRY(start_output(c, k, slice->dtype, &slice->shape, 0, length));
    size_t bytes = tn_tensor_bytes(k->t);
    if (bytes) memset(k->t->data, 0, bytes);
    return TERN_OK;
}

static tern_status run_sequence(scan8 *v, int64_t n, int64_t most) {
    scan *s = &v->s;
    tn_run *c = s->body.c;
    TN_TRY(batch_length(c, n, most, &s->length));
    for (int64_t i = 0; i < s->length; i++) {
        for (int k = 0; k < s->inputs; k++) TN_TRY(cut(s, &s->in[k], i, s->states + k));
        TN_TRY(tn_body_run_step(&s->body, i, 0, 0, s->states));
        for (int k = 0; k < s->outputs; k++) {
            const tern_tensor *slice = s->body.out[s->states + k];
            if (!s->out[k].t && slice->kind == TERN_KIND_TENSOR) TN_TRY(start_padded(c, &s->out[k], slice, most));
            TN_TRY(paste(c, &s->out[k], i, most, 0, slice));
        }
        tn_body_run_drop_outputs(&s->body);
    }
    for (int k = 0; k < s->outputs; k++) {
        if (s->out[k].t) continue;
        tern_tensor empty = {.kind = TERN_KIND_TENSOR};
        TN_TRY(tn_body_empty_shape(c, s->body.graph, s->states + k, &empty.dtype, &empty.shape));
        TN_TRY(start_padded(c, &s->out[k], &empty, most));
    }
    return TERN_OK;
}

static tern_status run_item(scan8 *v, int64_t n, int64_t most) {
    scan *s = &v->s;
    tn_run *c = s->body.c;
    size_t n_dirs;
    const int64_t *dirs = tn_attr_ints(c->node, "directions", &n_dirs);
    for (int k = 0; k < s->states; k++) {
        tern_tensor *item;
        TN_TRY(batch_item(c, c->in[1 + k], n, &item));
        tn_run_drop(c, s->body.in[k]);
        s->body.in[k] = item;
    }
    for (int k = 0; k < s->inputs; k++) {
        s->in[k].backward = list_value(dirs, n_dirs, k) != 0;
        tn_run_drop(c, s->in[k].t);
        s->in[k].t = NULL;
        TN_TRY(batch_item(c, c->in[1 + s->states + k], n, &s->in[k].t));
    }
    TN_TRY(run_sequence(v, n, most));
    for (int k = 0; k < s->states; k++) TN_TRY(paste(c, &v->final[k], n, v->batch, 0, s->body.in[k]));
    for (int k = 0; k < s->outputs; k++) {
        TN_TRY(paste(c, &v->result[k], n, v->batch, 0, s->out[k].t));
        tn_run_drop(c, s->out[k].t);
        s->out[k].t = NULL;
    }
    return TERN_OK;
}

static tern_status run_batch(scan8 *v) {
    scan *s = &v->s;
    tn_run *c = s->body.c;
    const tern_tensor *first = c->in[1 + s->states];
    v->batch = first->shape.dims[0];
    if (v->batch == 0) return tn_run_fail(c, TERN_UNSUPPORTED, "a batch of 0");
    for (int k = 1; k < c->node->n_in; k++) {
        const tn_shape *x = &c->in[k]->shape;
        if (x->dims[0] != v->batch || (k > s->states && x->dims[1] != first->shape.dims[1]))
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "input %d does not fit a batch of %lld sequences of length %lld",
                               k, (long long)v->batch, (long long)first->shape.dims[1]);
    }
    for (int64_t n = 0; n < v->batch; n++) TN_TRY(run_item(v, n, first->shape.dims[1]));
    for (int o = 0; o < c->node->n_out; o++)
        TN_TRY(tn_run_share(c, o, o < s->states ? v->final[o].t : v->result[o - s->states].t));
    return TERN_OK;
}

static tern_status run_scan8(tn_run *c) {
    tn_graph *g = tn_control_graph(c->node, "body");
    scan8 v = {.s = {.inputs = (int)tn_attr_i(c->node, "num_scan_inputs", 0)}};
    scan *s = &v.s;
    s->states = c->node->n_in - 1 - s->inputs;
    s->outputs = g->n_outputs - s->states;
    TN_TRY(alloc_tracks(c, s));
    v.final = tn_calloc((size_t)(s->states + s->outputs) + 1, sizeof *v.final);
    tern_status status = v.final ? TERN_OK : tn_fail_oom(c->err, (size_t)s->states * sizeof *v.final);
    v.result = v.final ? v.final + s->states : NULL;
    if (status == TERN_OK) status = tn_body_run_init(c, g, g->n_outputs, &s->body);
    if (status == TERN_OK) status = run_batch(&v);
    tn_body_run_release(&s->body);
    for (int k = 0; k < s->inputs; k++) tn_run_drop(c, s->in[k].t);
    for (int k = 0; v.final && k < s->states + s->outputs; k++) tn_run_drop(c, v.final[k].t);
    release_tracks(c, s);
    tn_free(v.final);
    return status;
}

const tn_op tn_op_scan8 = TN_ARGS_OP(infer_scan8, run_scan8, 0, -1, 1, -1, TN_OP_NO_FOLD | TN_OP_ALLOC);
