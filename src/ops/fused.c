#include "ops/fused.h"

#include "kernels/bf16.h"
#include "kernels/conv.h"
#include "kernels/layout.h"
#include "kernels/q8_eltwise.h"

static const char *const act_names[] = {"none",      "relu", "clip", "leaky",     "sigmoid", "silu", "hardsigmoid",
                                        "hardswish", "tanh", "gelu", "gelu_tanh", "mish",    "elu",  "softplus",
                                        "exp",       "erf",  "log",  "sqrt",      "floor",   "ceil", "round",
                                        "sin",       "cos",  "tan",  "asin",      "acos",    "atan"};
_Static_assert(TN_COUNT(act_names) == TN_ACT_COUNT, "a name for every activation");

const char *tn_op_act_name(tn_act_kind kind) { return act_names[kind]; }

bool tn_op_act(const tn_node *node, tn_act *out) {
    tn_str name = tn_attr_s(node, "act", "none");
    *out = (tn_act){TN_ACT_NONE, tn_attr_f(node, "act_alpha", 0), tn_attr_f(node, "act_beta", 0)};
    if (name.len == 0) return true;
    for (size_t i = 0; i < TN_COUNT(act_names); i++) {
        if (!tn_str_eq(name, tn_str_c(act_names[i]))) continue;
        out->kind = (tn_act_kind)i;
        return true;
    }
    return false;
}

/* ---- Reorder ------------------------------------------------------------------------------------------------- */

static tern_status reorder_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_T(FLOAT) | TN_T(BFLOAT16) | TN_T(INT32) | TN_T(INT8) | TN_T(UINT8)));
    int64_t block = tn_attr_i(c->node, "block", 0);
    if (block != 0 && block != 4 && block != 8 && block != 16)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'block' is %lld, not 0, 4, 8 or 16", (long long)block);
    if (c->in[0] && c->in[0]->ranked && (c->in[0]->shape.rank < 3 || c->in[0]->shape.rank > 5))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has rank %d, not 3 to 5", c->in[0]->shape.rank);
    tn_infer_out_like(c, 0, 0);
    int64_t to = tn_attr_i(c->node, "to", 0);
    if (to != 0 && to != TERN_FLOAT && to != TERN_BFLOAT16)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'to' is %lld, not float32 or bfloat16", (long long)to);
    if (to) c->out[0].dtype = (tern_dtype)to;
    return TERN_OK;
}

/* Float32 and bfloat16 have one pair of layouts: plain and blocked. */
static tern_status reorder_convert(tn_run *c, int64_t n, int64_t channels, int64_t hw) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int block = tn_conv_block(c->tier);
    if (x->dtype == TERN_FLOAT && x->block == 0 && y->block == block)
        tn_bf16_block(c->tier, x->data, y->data, n, channels, hw, c->threads);
    else if (y->dtype == TERN_FLOAT && y->block == 0 && x->block == block)
        tn_bf16_unblock(c->tier, x->data, y->data, n, channels, hw, c->threads);
    else
        return tn_run_fail(c, TERN_INTERNAL, "Reorder from %s in blocks of %d to %s in blocks of %d",
                           tern_dtype_name(x->dtype), x->block, tern_dtype_name(y->dtype), y->block);
    return TERN_OK;
}

static tern_status reorder_run(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    if (!y || tn_shape_count(&y->shape) == 0) return TERN_OK;
    int64_t n = x->shape.dims[0], channels = x->shape.dims[1], hw = tn_shape_count_range(&x->shape, 2, x->shape.rank);
    bool bytes = x->dtype == TERN_INT8 || x->dtype == TERN_UINT8;
    if (x->dtype != y->dtype) return reorder_convert(c, n, channels, hw);
    if (x->block == y->block)
        memcpy(y->data, x->data, tn_tensor_bytes(x));
    else if (bytes && x->block == 0)
        tn_q8_block(x->data, y->data, n, channels, hw, y->block, c->threads);
    else if (bytes && y->block == 0)
        tn_q8_unblock(x->data, y->data, n, channels, hw, x->block, c->threads);
    else if (x->block == 0 && x->dtype != TERN_BFLOAT16)
        tn_layout_block_f32(c->tier, x->data, y->data, n, channels, hw, y->block, c->threads);
    else if (y->block == 0 && x->dtype != TERN_BFLOAT16)
        tn_layout_unblock_f32(c->tier, x->data, y->data, n, channels, hw, x->block, c->threads);
    else
        return tn_run_fail(c, TERN_INTERNAL, "Reorder from blocks of %d to blocks of %d", x->block, y->block);
    return TERN_OK;
}

const tn_op tn_op_reorder = {
    .infer = reorder_infer, .run = reorder_run, .min_in = 1, .max_in = 1, .min_out = 1, .max_out = 1};
