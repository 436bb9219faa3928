/* mmcv's deformable convolutions: DeformConv of the standard under other names.
 *
 * MMCVDeformConv2d (X, offset, W) and MMCVModulatedDeformConv2d (X, offset, mask, W, bias): the node is shown to
 * DeformConv with its inputs in that one's order and its attributes by that one's names. */
#include "ops/args.h"

#include <stdio.h>

extern const tn_op tn_op_deform_conv;

enum { N_ATTRS = 5, N_IN = 5 };

typedef struct mapped {
    tn_node node;
    tn_attr attrs[N_ATTRS];
    int64_t pads[4];
    tn_value *in[N_IN];
    int from[N_IN]; /* input of the real node; -1: absent */
} mapped;

static int64_t first_of(const tn_node *n, const char *a, const char *b, const char *c) {
    const char *const names[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        if (names[i] && tn_attr_find(n, names[i])) return tn_attr_i(n, names[i], 1);
    return 1;
}

static void put_ints(mapped *m, const char *name, const int64_t *v, size_t count) {
    tn_attr *a = &m->attrs[m->node.n_attrs++];
    *a = (tn_attr){.name = name, .type = TN_ATTR_INTS, .count = count};
    a->ints = v;
}

static void put_int(mapped *m, const char *name, int64_t v) {
    tn_attr *a = &m->attrs[m->node.n_attrs++];
    *a = (tn_attr){.name = name, .type = TN_ATTR_INT, .count = 1};
    a->i = v;
}

/* Padding is (h, w), or (h, h, w, w) as mmdeploy writes it. */
static tern_status map_padding(mapped *m, const tn_node *n, tern_error *err) {
    size_t count;
    const int64_t *v = tn_attr_ints(n, "padding", &count);
    if (count != 0 && count != 2 && count != 4)
        return tn_fail(err, TERN_INVALID_MODEL, "padding has %zu elements instead of 2", count);
    for (int i = 0; i < 4; i++) m->pads[i] = count ? v[i % 2 * (count == 4 ? 2 : 1)] : 0;
    put_ints(m, "pads", m->pads, 4);
    return TERN_OK;
}

static tern_status map_node(mapped *m, const tn_node *n, tern_error *err) {
    static const int plain[N_IN] = {0, 2, 1, -1, -1}, modulated[N_IN] = {0, 3, 1, 4, 2};
    memset(m, 0, sizeof *m);
    m->node = *n;
    m->node.attrs = m->attrs;
    m->node.n_attrs = 0;
    m->node.in = m->in;
    m->node.n_in = N_IN;
    m->node.since = 22;
    memcpy(m->from, strcmp(n->op_type, "MMCVDeformConv2d") == 0 ? plain : modulated, sizeof plain);
    for (int i = 0; i < N_IN; i++) {
        if (m->from[i] >= n->n_in) m->from[i] = -1;
        m->in[i] = m->from[i] < 0 ? NULL : n->in[m->from[i]];
    }
    size_t count;
    const int64_t *v = tn_attr_ints(n, "stride", &count);
    if (count) put_ints(m, "strides", v, count);
    v = tn_attr_ints(n, "dilation", &count);
    if (count) put_ints(m, "dilations", v, count);
    put_int(m, "group", first_of(n, "groups", "group", NULL));
    put_int(m, "offset_group", first_of(n, "deform_groups", "deformable_groups", "deformable_group"));
    return map_padding(m, n, err);
}

static tern_status infer_conv(tn_infer *c) {
    mapped m;
    tn_shape w;
    TN_TRY(map_node(&m, c->node, c->err));
    const tn_type *in[N_IN] = {0};
    const tern_tensor *value[N_IN] = {0};
    const int64_t *partial[N_IN] = {0};
    for (int i = 0; i < N_IN; i++) {
        if (m.from[i] < 0) continue;
        in[i] = c->in[m.from[i]];
        value[i] = c->value[m.from[i]];
        partial[i] = c->partial[m.from[i]];
    }
    tn_infer inner = *c;
    inner.node = &m.node;
    inner.in = in;
    inner.value = value;
    inner.partial = partial;
    if (tn_args_shape(&inner, 1, &w) && w.rank != 4)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the weights have rank %d instead of 4", w.rank);
    return tn_op_deform_conv.infer(&inner);
}

static tern_status run_conv(tn_run *c) {
    mapped m;
    TN_TRY(map_node(&m, c->node, c->err));
    tern_tensor *in[N_IN] = {0};
    for (int i = 0; i < N_IN; i++)
        if (m.from[i] >= 0) in[i] = c->in[m.from[i]];
    tn_run inner = *c;
    inner.node = &m.node;
    inner.in = in;
    return tn_op_deform_conv.run(&inner);
}

const tn_op tn_op_mmcv_deform_conv = TN_ARGS_OP(infer_conv, run_conv, 3, 3, 1, 1, 0);
const tn_op tn_op_mmcv_modulated_deform_conv = TN_ARGS_OP(infer_conv, run_conv, 4, 5, 1, 1, 0);
