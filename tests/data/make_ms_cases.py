#!/usr/bin/python3
"""Test cases for ONNX Runtime's operators (com.microsoft), in ONNX's form: random inputs, outputs from ONNX Runtime.

    make_ms_cases.py OUT [--seed N] [--only TEXT]     writes OUT/<group>/<case>/{model.onnx,test_data_set_0/*.pb}
    make_ms_cases.py OUT --fuzz                       the smallest case of each operator, as fuzz/op_case.h has it (fuzz/corpus/op/ms-*)
    make_ms_cases.py OUT --optimise MODEL...          the models as ONNX Runtime's optimiser writes them

tests/data/ms_cases.tar.gz is `make_ms_cases.py OUT`, packed (tests/ops/test_ms_cases.sh). Needs python3-onnx, node and onnxruntime-node (NODE_PATH).
The groups differ in how exact they are; tests/ops/test_ms_cases.sh has the tolerances.
"""
import argparse
import json
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, mapping, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64", np.dtype(np.float16): "float16",
         np.dtype(np.int64): "int64", np.dtype(np.int32): "int32", np.dtype(np.uint32): "uint32", np.dtype(np.int16): "int16",
         np.dtype(np.uint16): "uint16", np.dtype(np.int8): "int8", np.dtype(np.uint8): "uint8", np.dtype(bool): "bool"}
TYPES = {v: k for k, v in NAMES.items()}
F, H = np.float32, np.float16
rng = None
cases = []


def real(*shape, dtype=F, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(dtype)


def u8(*shape, low=0, high=256):
    return rng.integers(low, high, shape).astype(np.uint8)


def i8(*shape, low=-128, high=128):
    return rng.integers(low, high, shape).astype(np.int8)


def of(values, dtype=F):
    return np.array(values, dtype)


def nibbles(number, dims, packed):
    """A 4-bit tensor; older python3-onnx does not know these types."""
    return TensorProto(data_type=number, dims=dims, raw_data=packed.tobytes())


class Const:
    """An input that is an initializer: an array, or a finished TensorProto (4-bit types)."""

    def __init__(self, value):
        self.value = value


def build(name, op, inputs, outputs, domain, opset, wanted, attrs):
    """The model and its feeds."""
    wanted = list(range(outputs)) if wanted is None else wanted
    names, graph_inputs, feeds, constants = [], [], [], []
    for i, v in enumerate(inputs):
        names.append("" if v is None else f"i{i}")
        if isinstance(v, Const):
            t = v.value if isinstance(v.value, TensorProto) else numpy_helper.from_array(v.value)
            t.name = f"i{i}"
            constants.append(t)
        elif v is not None:
            graph_inputs.append(helper.make_tensor_value_info(f"i{i}", mapping.NP_TYPE_TO_TENSOR_TYPE[v.dtype], v.shape))
            feeds.append((f"i{i}", v))
    outs = [f"o{i}" if i in wanted else "" for i in range(max(wanted) + 1)]
    infos = [onnx.ValueInfoProto(name=o) for o in outs if o]
    if op == "MultiHeadAttention" and len(outs) == 4:  # its type follows from no input
        infos[-1] = helper.make_tensor_value_info("o3", TensorProto.FLOAT, None)
    node = helper.make_node(op, names, outs, domain=domain, name=f"the_{op}", **attrs)
    graph = helper.make_graph([node], name, graph_inputs, infos, constants)
    model = helper.make_model(graph, ir_version=10, producer_name="tests", opset_imports=[
        helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    return model, feeds


def case(where, name, op, inputs, /, outputs=1, domain="com.microsoft", opset=17, wanted=None, twin=None, **attrs):
    """outputs: how many; wanted: the indices that are compared (others are left out of the node); twin: (inputs, other
    attributes[, operator]) of a node that does the same, for what ONNX Runtime has on other devices only."""
    model, feeds = build(name, op, inputs, outputs, domain, opset, wanted, attrs)
    other = build(name, (*twin, op)[2], twin[0], outputs, domain, opset, wanted, {**attrs, **twin[1]}) if twin else (model, feeds)
    cases.append((f"{where}/{op}_{name}", model, feeds, other))


# ---- float32 and float16: fused operators --------------------------------------------------------------------------

def fused(g, t):
    for act, params in (("Relu", []), ("LeakyRelu", [0.1]), ("Clip", [-0.5, 0.75]), ("HardSigmoid", [0.3, 0.4]), ("Tanh", []), ("Sigmoid", [])):
        if t == F:
            kw = {"activation_params": params} if params else {}
            case(g, act.lower(), "FusedConv", [real(2, 3, 7, 6), real(4, 3, 3, 3), real(4)], activation=act, pads=[1, 1, 1, 1], **kw)
    if t == F:
        case(g, "sum_group", "FusedConv", [real(1, 4, 6, 6), real(6, 2, 3, 3), real(6), real(1, 6, 4, 4)], activation="Relu", group=2, kernel_shape=[3, 3])
        case(g, "sum_strides", "FusedConv", [real(1, 2, 9, 8), real(3, 2, 3, 2), real(3), real(1, 3, 4, 4)], strides=[2, 2], activation="Relu")
        for act, kw in (("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Tanh", {}), ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.6})):
            case(g, act.lower(), "FusedGemm", [real(3, 5), real(5, 4), real(4)], activation=act, alpha=0.5, beta=2.0, **kw)
        case(g, "transposed", "FusedGemm", [real(5, 3), real(4, 5)], activation="Sigmoid", transA=1, transB=1)
        case(g, "double", "FusedMatMul", [real(2, 4, 3, dtype=np.float64), real(2, 5, 3, dtype=np.float64)], transB=1, alpha=0.25)
    if t == F:
        case(g, "plain", "FusedMatMul", [real(2, 3, 4), real(4, 5)], alpha=0.125)
        case(g, "a", "FusedMatMul", [real(2, 4, 3), real(2, 4, 5)], transA=1)
        case(g, "b", "FusedMatMul", [real(2, 3, 4, 6), real(2, 3, 5, 6)], transB=1, alpha=0.5)
        case(g, "ab_constant", "FusedMatMul", [real(4, 3), Const(real(5, 4))], transA=1, transB=1, alpha=2.0)
        case(g, "batch_a", "FusedMatMul", [real(3, 2, 4), real(2, 4, 5)], transBatchA=1)
        case(g, "batch_both", "FusedMatMul", [real(3, 2, 4, 5), real(5, 2, 4, 6)], transBatchA=1, transBatchB=1, alpha=3.0)
        case(g, "batch_ab_swapped", "FusedMatMul", [real(4, 2, 3), real(5, 2, 4)], transBatchA=1, transA=1, transBatchB=1, transB=1)
        case(g, "old", "TransposeMatMul", [real(2, 4, 3), real(2, 4, 5)], transA=1)
    case(g, "nd", "Gelu", [real(3, 4, 5, dtype=t, scale=2)])
    if t == F:
        case(g, "3d", "BiasGelu", [real(2, 3, 8), real(8)])
        case(g, "none", "FastGelu", [real(2, 3, 8, scale=2)])
        case(g, "bias", "FastGelu", [real(2, 3, 8), real(8)])
        case(g, "default", "QuickGelu", [real(4, 9, scale=3)])
        case(g, "alpha", "QuickGelu", [real(4, 9, scale=3)], alpha=1.0)
    if t == H:
        case(g, "bias", "FastGelu", [real(2, 3, 8, dtype=t), real(8, dtype=t)])


def norms(g, t):
    x, s, w = real(2, 3, 8, dtype=t), real(2, 3, 8, dtype=t), [real(8, dtype=t) for _ in range(3)]
    case(g, "all", "SkipLayerNormalization", [x, s, *w], outputs=4, wanted=[0, 3], epsilon=1e-5)
    case(g, "plain", "SkipLayerNormalization", [x, s, w[0]])
    case(g, "beta", "SkipLayerNormalization", [x, s, w[0], w[1]], epsilon=1e-3)
    case(g, "broadcast", "SkipLayerNormalization", [x, real(1, 3, 8, dtype=t), w[0], w[1], w[2]])
    case(g, "broadcast2", "SkipLayerNormalization", [x, real(3, 8, dtype=t), w[0], None, w[2]], outputs=4, wanted=[0, 3])
    case(g, "rows", "SkipLayerNormalization", [real(5, 8, dtype=t), real(5, 8, dtype=t), w[0], w[1]])
    case(g, "plain", "SkipSimplifiedLayerNormalization", [x, s, w[0]], epsilon=1e-6)
    case(g, "bias", "SkipSimplifiedLayerNormalization", [x, s, w[0], w[1]], outputs=4, wanted=[0, 3], epsilon=1e-6)
    case(g, "last", "SimplifiedLayerNormalization", [x, w[0]], domain="", epsilon=1e-6)
    case(g, "axis", "SimplifiedLayerNormalization", [x, real(3, 8, dtype=t)], domain="", axis=1)
    case(g, "old", "LayerNormalization", [x, w[0], w[1]], domain="", opset=12, epsilon=1e-4)
    if t == F:
        case(g, "outputs", "LayerNormalization", [x, w[0]], domain="", opset=11, outputs=3, axis=-1)
        case(g, "inverse", "SimplifiedLayerNormalization", [x, w[0]], domain="", outputs=2)
        ids, seg = rng.integers(0, 10, (2, 4)).astype(np.int32), rng.integers(0, 2, (2, 4)).astype(np.int32)
        tables = [real(10, 8), real(6, 8), real(2, 8)]
        mask = of([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
        case(g, "all", "EmbedLayerNormalization", [ids, seg, *tables, w[0], w[1], mask], outputs=3, epsilon=1e-5)
        case(g, "no_segments", "EmbedLayerNormalization", [ids, None, tables[0], tables[1], None, w[0], w[1], mask], outputs=2)
        case(g, "no_mask", "EmbedLayerNormalization", [ids, seg, *tables, w[0], w[1]], outputs=2)
        case(g, "positions", "EmbedLayerNormalization", [ids, seg, *tables, w[0], w[1], mask, of([[3, 2, 1, 0], [0, 1, 2, 5]], np.int32)], outputs=2)


# ---- attention -----------------------------------------------------------------------------------------------------

def rotary(g, t):
    for name, x, size, kw in (("rows", real(2, 3, 16, dtype=t), 8, {}), ("heads", real(2, 2, 3, 8, dtype=t), 8, {}),
                              ("interleaved", real(2, 3, 16, dtype=t), 8, {"interleaved": 1}),
                              ("partial", real(2, 3, 24, dtype=t), 4, {"rotary_embedding_dim": 4, "num_heads": 3})):
        angle = real(10, size // 2) * 2
        cos, sin = np.cos(angle).astype(t), np.sin(angle).astype(t)
        case(g, name + "_offset", "RotaryEmbedding", [x, of([4], np.int64), cos, sin], **kw)
        case(g, name + "_ids", "RotaryEmbedding", [x, of([[1, 5, 9], [0, 2, 4]], np.int64), cos, sin], **kw)


def attention(g):
    x, w, b = real(2, 4, 6), real(6, 24, scale=0.4), real(24)
    masks = {"lengths": of([4, 2], np.int32), "ends_starts": of([4, 3, 1, 0], np.int32), "raw": of([[1, 1, 1, 0], [0, 1, 1, 1]], np.int32),
             "rows": rng.integers(0, 2, (2, 4, 4)).astype(np.int32) | np.eye(4, dtype=np.int32)}
    case(g, "plain", "Attention", [x, w, b], num_heads=2)
    case(g, "no_bias", "Attention", [x, w], num_heads=4, scale=0.3, twin=([x, w, np.zeros(24, F)], {}))
    case(g, "causal", "Attention", [x, w, b], num_heads=2, unidirectional=1)
    for name, mask in masks.items():
        case(g, "mask_" + name, "Attention", [x, w, b, mask], num_heads=2)
    case(g, "mask_causal", "Attention", [x, w, b, masks["raw"]], num_heads=2, unidirectional=1, mask_filter_value=-5000.0)
    case(g, "masked_out", "Attention", [x, w, b, of([[0, 0, 0, 0], [1, 0, 1, 1]], np.int32)], num_heads=2)
    case(g, "bias", "Attention", [x, w, b, None, None, real(2, 2, 4, 4)], num_heads=2)
    case(g, "bias_mask", "Attention", [x, w, b, masks["raw"], None, real(1, 2, 4, 4)], num_heads=2)
    case(g, "sizes", "Attention", [x, real(6, 20, scale=0.4), real(20)], num_heads=2, qkv_hidden_sizes=[6, 6, 8])
    past = real(2, 2, 2, 3, 4)
    case(g, "past", "Attention", [x, w, b, None, past], outputs=2, num_heads=2, unidirectional=1)
    case(g, "past_mask", "Attention", [x, w, b, of([[1] * 7, [0] * 2 + [1] * 5], np.int32), past], outputs=2, num_heads=2)
    square = np.tril(np.ones((2, 1, 9, 9), np.int32))
    case(g, "past_square", "Attention", [x, w, b, square, past], outputs=2, num_heads=2,
         twin=([x, w, b, square[:, 0, 3:7, :7].copy(), past], {}))
    case(g, "present", "Attention", [x, w, b], outputs=2, num_heads=2)
    q, k, v = real(2, 3, 8), real(2, 5, 8), real(2, 5, 6)
    op = "MultiHeadAttention"
    case(g, "plain", op, [q, k, v], num_heads=2)
    case(g, "bias", op, [q, k, v, real(22)], num_heads=2, scale=0.5)
    case(g, "lengths", op, [q, k, v, None, of([5, 2], np.int32)], num_heads=2)
    case(g, "mask", op, [q, k, v, None, of([[1, 0, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)], num_heads=2)
    case(g, "mask_rows", op, [q, k, v, None, rng.integers(0, 2, (2, 3, 5)).astype(np.int32)], num_heads=2)
    case(g, "attention_bias", op, [q, k, v, None, None, real(1, 2, 3, 5)], num_heads=2)
    case(g, "attention_bias1", op, [q, k, v, None, of([[1, 0, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32), real(2, 1, 3, 5)], num_heads=2)
    qkv, pair = real(2, 3, 2, 3, 4), real(2, 5, 2, 2, 4)
    part = lambda packed, i: np.ascontiguousarray(packed[:, :, :, i]).reshape(2, -1, 8)
    case(g, "packed", op, [qkv], num_heads=2, twin=([part(qkv, 0), part(qkv, 1), part(qkv, 2)], {}))
    case(g, "packed_kv", op, [q, pair], num_heads=2, twin=([q, part(pair, 0), part(pair, 1)], {}))
    case(g, "cross", op, [q, real(2, 2, 5, 4), real(2, 2, 5, 4)], num_heads=2)
    case(g, "causal", op, [q, q * 0.5, real(2, 3, 8)], num_heads=2, unidirectional=1)
    kv = [real(2, 3, 8), real(2, 3, 8)]
    past = [real(2, 2, 4, 4), real(2, 2, 4, 4)]
    case(g, "past", op, [q, *kv, None, None, None, *past], outputs=3, num_heads=2, unidirectional=1)
    case(g, "past_mask", op, [q, *kv, real(24), of([[1] * 7, [0] * 3 + [1] * 4], np.int32), None, *past], outputs=3, num_heads=2)
    case(g, "present", op, [q, *kv], outputs=3, num_heads=2)
    case(g, "scores", op, [q, *kv], outputs=4, wanted=[0, 3], num_heads=2)
    case(g, "scores_causal", op, [q, *kv], outputs=4, wanted=[0, 3], num_heads=2, unidirectional=1)
    case(g, "mask_parts", op, [q, *kv, None, of([3, 2, 0, 3, 5, 0, 3, 5], np.int32)], num_heads=2)
    heads = [real(2, 2, 5, 4), real(2, 2, 5, 4)]
    case(g, "cross_bias", op, [q, *heads, real(24)], num_heads=2)
    case(g, "cross_mask", op, [q, *heads, None, of([[1, 0, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32), real(1, 1, 3, 5)], outputs=4, wanted=[0, 3], num_heads=2)
    case(g, "mask_column", "Attention", [x, w, b, of([[1], [0]], np.int32)], num_heads=2)
    case(g, "mask_nothing", "Attention", [x, w, b, of([[0]], np.int32)], num_heads=2)
    decoder, one, buffer = "DecoderMaskedMultiHeadAttention", [real(2, 1, 8) for _ in range(3)], [real(2, 2, 9, 4), real(2, 2, 9, 4)]
    case(g, "cross", decoder, [one[0], *heads], num_heads=2)
    case(g, "cross_bias", decoder, [one[0], *heads, *[None] * 7, real(24)], num_heads=2)
    mask = of([[1] * 5, [0] * 3 + [1] * 2], np.int32)
    shared = [*one, mask, None, *buffer, of([4], np.int32)]
    case(g, "buffer", decoder, [*shared, None, None, real(24)], outputs=3, num_heads=2, past_present_share_buffer=1)
    case(g, "buffer", op, [*one, None, mask, None, *buffer, of([4], np.int32)], outputs=3, num_heads=2,
         twin=(shared, {"past_present_share_buffer": 1}, decoder))


def group_query(g, t):
    op = "GroupQueryAttention"

    def make(name, batch, rows, past, total, lengths, heads=4, kv=2, size=16, buffer=None, packed=False, rot=0, extra=(), outputs=3, half=None, **kw):
        q, k, v = (real(batch, rows, n * size, dtype=t) for n in (heads, kv, kv))
        if packed:
            q, k, v = np.concatenate([q, k, v], 2), None, None
        cache = [real(batch, kv, buffer or past, size, dtype=t) for _ in range(2)] if past or buffer else [None, None]
        angle = real(32, half or size // 2) * 2
        tables = [np.cos(angle).astype(t), np.sin(angle).astype(t)] if rot else [None, None]
        inputs = [q, k, v, *cache, of(lengths, np.int32), Const(of([total], np.int32)), *tables, *extra]
        case(g, name, op, inputs, outputs=outputs, num_heads=heads, kv_num_heads=kv, **({"do_rotary": 1} if rot else {}), **kw)

    make("prompt", 2, 5, 0, 5, [4, 4])
    make("packed", 1, 5, 0, 5, [4], packed=True)
    make("rotary", 2, 5, 0, 5, [4, 4], rot=1)
    make("interleaved", 1, 5, 0, 5, [4], rot=1, packed=True, rotary_interleaved=1)
    make("token", 2, 1, 6, 7, [6, 6], rot=1)
    make("ragged", 2, 1, 6, 7, [6, 3], rot=1, buffer=7)
    make("packed_token", 2, 1, 6, 7, [6, 6], rot=1, packed=True)
    make("chunk", 1, 3, 6, 9, [8], rot=1)
    make("buffer", 2, 1, 6, 7, [6, 6], buffer=12, rot=1)
    make("window", 2, 6, 0, 6, [5, 5], local_window_size=2)
    make("window_token", 2, 1, 6, 7, [6, 6], local_window_size=3, rot=1)
    make("softcap", 2, 5, 0, 5, [4, 4], softcap=1.5, scale=0.7)
    make("smooth", 2, 5, 0, 5, [4, 4], smooth_softmax=1)
    for kind in (1, 2):
        make(f"scores{kind}", 2, 5, 0, 5, [4, 2], qk_output=kind, outputs=4, softcap=1.5)
        make(f"scores{kind}_token", 2, 1, 6, 7, [6, 3], qk_output=kind, outputs=4)
    if t == F:
        make("scores_bias", 2, 4, 0, 4, [3, 3], qk_output=1, outputs=4, extra=[None, real(1, 4, 4, 4)])
        make("partial", 2, 5, 0, 5, [4, 2], size=32, rot=1, half=8)
        make("both_ways", 2, 4, 0, 4, [3, 1], causal=0)
        make("sink", 2, 5, 0, 5, [4, 4], extra=[None, None, real(4)])
        make("bias", 2, 4, 0, 4, [3, 3], extra=[None, real(1, 4, 4, 4)])
        make("positions", 1, 3, 6, 9, [8], rot=1, extra=[of([[7, 9, 11]], np.int64)])
        make("one_head", 1, 4, 0, 4, [3], heads=3, kv=3)


def n_bits(g, t):
    op = "MatMulNBits"
    for bits, block, k, n, zero, a_shape, bias in ((4, 16, 32, 5, None, (2, 3, 32), False), (4, 32, 80, 67, "packed", (3, 80), True),
                                                   (4, 16, 48, 8, "float", (1, 48), False), (8, 32, 64, 6, None, (4, 64), False),
                                                   (8, 16, 40, 4, "packed", (2, 40), True), (2, 32, 96, 5, "packed", (3, 96), False), (4, 64, 50, 3, "packed", (1, 1, 50), False)):
        blocks = -(-k // block)
        blob = block * bits // 8
        zeros = None
        if zero == "packed":
            zeros = Const(u8(n * -(-blocks * bits // 8)))
        elif zero == "float":
            zeros = Const((rng.integers(0, 64, n * blocks) / 4).astype(t))
        inputs = [real(*a_shape, dtype=t), Const(u8(n, blocks, blob)), Const((rng.random(n * blocks) * 0.1 + 0.02).astype(t)), zeros]
        if bias:
            inputs += [None, Const(real(n, dtype=t))]
        case(g, f"{bits}_{block}_{k}x{n}_{zero or 'half'}", op, inputs, K=k, N=n, bits=bits, block_size=block)


# ---- 8 bits --------------------------------------------------------------------------------------------------------

def quantised(g):
    z, sc = lambda d, v: of(v, d), lambda v: of(v, F)
    for d, make in ((np.uint8, u8), (np.int8, i8)):
        n = np.dtype(d).name
        zx, zy = (120, 131) if d == np.uint8 else (-8, 5)
        for op in ("QLinearAdd", "QLinearMul"):
            case(g, n, op, [make(2, 3, 4), sc(0.02), z(d, zx), make(2, 3, 4), sc(0.03), z(d, zy), sc(0.05), z(d, zx)])
            case(g, n + "_broadcast", op, [make(2, 3, 4), sc(0.02), z(d, zx), make(3, 1), sc(0.03), z(d, zy), sc(0.05), z(d, zx)])
            case(g, n + "_constant", op, [make(2, 5), sc(0.02), z(d, zx), Const(make(5)), sc(0.03), z(d, zy), sc(0.04), z(d, zx)])
        case(g, n, "QLinearSigmoid", [make(5, 6), sc(0.04), z(d, zx), sc(1 / 256), z(d, 0 if d == np.uint8 else -128)])
        case(g, n, "QLinearLeakyRelu", [make(5, 6), sc(0.04), z(d, zx), sc(0.03), z(d, zy)], alpha=0.1)
        for opset in (12, 13):
            case(g, f"{n}_{opset}", "QLinearSoftmax", [make(2, 3, 6), sc(0.02), z(d, zx), sc(1 / 256), z(d, 0 if d == np.uint8 else -128)], opset=17,
                 axis=1 if opset == 12 else -1)
            cases[-1][1].graph.node[0].attribute.append(helper.make_attribute("opset", opset))
        case(g, n, "QLinearConcat", [sc(0.03), z(d, zy), make(2, 3), sc(0.03), z(d, zy), make(2, 4), sc(0.01), z(d, zx)], axis=1)
        case(g, n, "QLinearAveragePool", [make(1, 3, 7, 6), sc(0.03), z(d, zx), sc(0.02), z(d, zy)], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
        case(g, n + "_counted", "QLinearAveragePool", [make(1, 2, 6, 6), sc(0.03), z(d, zx), sc(0.02), z(d, zy)], kernel_shape=[3, 3],
             pads=[1, 1, 1, 1], count_include_pad=1)
        case(g, n + "_last", "QLinearAveragePool", [make(1, 7, 6, 4), sc(0.03), z(d, zx), sc(0.02), z(d, zy)], kernel_shape=[2, 2], strides=[2, 2],
             channels_last=1, ceil_mode=1)
        case(g, n, "QLinearGlobalAveragePool", [make(2, 3, 5, 4), sc(0.03), z(d, zx), sc(0.01), z(d, zy)], channels_last=0)
        case(g, n + "_last", "QLinearGlobalAveragePool", [make(2, 5, 4, 3), sc(0.03), z(d, zx), sc(0.01), z(d, zy)], channels_last=1)
        case(g, n + "_last3", "QLinearGlobalAveragePool", [make(2, 5, 3), sc(0.03), z(d, zx), sc(0.01), z(d, zy)], channels_last=1)
        case(g, n, "QLinearWhere", [rng.integers(0, 2, (2, 4)).astype(bool), make(2, 4), sc(0.03), z(d, zx), make(4), sc(0.02), z(d, zy), sc(0.05), z(d, zx)])
        case(g, n, "NhwcMaxPool", [make(1, 7, 6, 4)], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
        case(g, n + "_dilated", "NhwcMaxPool", [make(2, 9, 8, 3)], kernel_shape=[2, 2], dilations=[2, 2], ceil_mode=1, strides=[2, 2])
    wide = Const(i8(4, 3, 3, 3))
    case(g, "first", "QLinearConv", [u8(1, 3, 7, 6), sc(0.02), z(np.uint8, 120), wide, sc(0.01), z(np.int8, 0), sc(0.1), z(np.uint8, 128), rng.integers(-500, 500, 4).astype(np.int32)],
         pads=[1, 1, 1, 1], channels_last=0)
    case(g, "last", "QLinearConv", [u8(1, 7, 6, 3), sc(0.02), z(np.uint8, 120), wide, sc(0.01), z(np.int8, 0), sc(0.1), z(np.uint8, 128), Const(rng.integers(-500, 500, 4).astype(np.int32))],
         pads=[1, 1, 1, 1], channels_last=1)
    case(g, "last_channel", "QLinearConv", [u8(1, 7, 6, 4), sc(0.02), z(np.uint8, 120), Const(i8(4, 1, 3, 3)), Const(of([0.01, 0.02, 0.03, 0.04])), Const(np.zeros(4, np.int8)), sc(0.1), z(np.uint8, 128)],
         strides=[2, 2], group=4, kernel_shape=[3, 3], channels_last=1)
    a, b, c = u8(3, 5), i8(5, 4), rng.integers(-2000, 2000, 4).astype(np.int32)
    case(g, "u8i8", "QGemm", [a, sc(0.02), z(np.uint8, 120), b, sc(0.03), z(np.int8, 3), c, sc(0.5), z(np.uint8, 100)], alpha=1.5)
    case(g, "transposed_float", "QGemm", [a.T.copy(), sc(0.02), z(np.uint8, 120), Const(b.T.copy()), Const(of([.01, .02, .03, .04])), Const(of([1, -2, 3, 0], np.int8)), c], transA=1, transB=1)
    case(g, "no_zero", "QGemm", [a, sc(0.02), z(np.uint8, 120), b, sc(0.03), z(np.int8, 3), c, sc(0.5)])
    case(g, "i8_no_c", "QGemm", [i8(3, 5), sc(0.02), z(np.int8, 12), b, sc(0.03), z(np.int8, 3), None, sc(0.5), z(np.int8, 10)])


def products(g):
    sc = lambda v: of(v, F)
    a, b = u8(2, 3, 8), i8(8, 5)
    op = "MatMulIntegerToFloat"
    case(g, "plain", op, [a, b, sc(0.02), sc(0.03)])
    case(g, "zeros_bias", op, [a, b, sc(0.02), sc(0.03), of(120, np.uint8), of(-3, np.int8), real(5)])
    case(g, "columns", op, [i8(3, 8), Const(b), sc(0.02), Const(of([.01, .02, .03, .04, .05])), of(7, np.int8), Const(of([0, 1, 2, -3, 4], np.int8))])
    case(g, "u8", op, [a, u8(8, 5), sc(0.02), sc(0.03), of(120, np.uint8), of(130, np.uint8)])
    op = "DynamicQuantizeMatMul"
    case(g, "plain", op, [real(2, 3, 8), Const(b), sc(0.03)])
    case(g, "all", op, [real(3, 8), Const(b), Const(of([.01, .02, .03, .04, .05])), Const(of([0, 1, 2, -3, 4], np.int8)), real(5)])
    case(g, "u8", op, [real(3, 8), Const(u8(8, 5)), sc(0.03), of(128, np.uint8)])
    x, w, bias = u8(2, 4, 6), i8(6, 24), real(24)
    op = "QAttention"
    case(g, "plain", op, [x, Const(w), bias, sc(0.02), sc(0.01), None, of(120, np.uint8), of(0, np.int8)], num_heads=2)
    case(g, "mask", op, [x, Const(w), bias, sc(0.02), sc(0.01), of([4, 2], np.int32), of(120, np.uint8), of(0, np.int8)], num_heads=2)
    case(g, "past", op, [x, Const(w), bias, sc(0.02), sc(0.01), None, of(120, np.uint8), of(0, np.int8), real(2, 2, 2, 3, 4)], outputs=2,
         num_heads=2, unidirectional=1)
    for d in (np.int8, np.uint8, np.int16, np.uint16, np.int32):
        lo, hi = max(np.iinfo(d).min, -30000), min(np.iinfo(d).max, 30000)
        v = rng.integers(lo, hi, (3, 4)).astype(d)
        zero = None if d == np.int32 else of(7, d)
        case(g, np.dtype(d).name, "DequantizeLinear", [v, sc(0.02), zero])
    case(g, "axis", "DequantizeLinear", [u8(2, 3, 4), of([.1, .2, .3]), of([1, 2, 3], np.uint8)], axis=1)
    for number, name in ((22, "int4"), (21, "uint4")):
        case(g, name, "DequantizeLinear", [Const(nibbles(number, [3, 5], u8(8))), sc(0.25), Const(nibbles(number, [], of([3], np.uint8)))], opset=21)


def dynamic_lstm(g):
    """ONNX Runtime quantises X and the state as well, so that this is the coarsest group."""
    op, t, b, n, h = "DynamicQuantizeLSTM", 4, 2, 6, 5
    for name, d, per_column, kw in (("forward", 1, False, {}), ("both", 2, False, {"direction": "bidirectional"}),
                                    ("columns", 1, True, {"direction": "reverse"})):
        scale = lambda: Const((rng.random((d, 4 * h) if per_column else d) * 0.002 + 0.002).astype(F))
        zero = lambda: Const(np.zeros((d, 4 * h) if per_column else d, np.int8))
        inputs = [real(t, b, n), Const(i8(d, n, 4 * h)), Const(i8(d, h, 4 * h)), Const(real(d, 8 * h, scale=0.2)), None,
                  real(d, b, h, scale=0.5), real(d, b, h, scale=0.5), None, scale(), zero(), scale(), zero()]
        case(g, name, op, inputs, outputs=3, hidden_size=h, **kw)


def quantise(g):
    for d in (np.int8, np.uint8, np.int16, np.uint16):
        case(g, np.dtype(d).name, "QuantizeLinear", [real(3, 7, scale=3), of(0.02 if np.iinfo(d).bits == 8 else 1e-4, F), of(5, d)])
    case(g, "axis", "QuantizeLinear", [real(2, 3, 4), of([.1, .02, .3]), of([1, -2, 3], np.int8)], axis=1)


def others(g):
    case(g, "lower", "Trilu", [real(2, 4, 5), of(1, np.int64)], upper=0)
    case(g, "int32", "GatherND", [real(3, 4), of([[0, 1], [2, 3]], np.int32)])
    case(g, "bilinear", "GridSample", [real(1, 2, 5, 4), (rng.random((1, 3, 3, 2)) * 2 - 1).astype(F)], align_corners=1, padding_mode="border")
    case(g, "bicubic", "GridSample", [real(1, 2, 5, 4), (rng.random((1, 3, 3, 2)) * 2 - 1).astype(F)], mode="bicubic")
    case(g, "step", "Range", [of(1.5), of(6.0), of(0.75)])
    case(g, "default", "Range", [of(2, np.int32), of(7, np.int32)])
    case(g, "axis", "ExpandDims", [real(2, 3), of(-2, np.int32)])
    case(g, "constant", "Pad", [real(2, 3), of([1, 0, 2, 1], np.int64), of([9.0])])
    case(g, "reflect", "Pad", [real(2, 4), of([[0, 2, 1, 1]], np.int64)], mode="reflect")
    case(g, "values", "Unique", [of([3, 1, 3, 2, 1, 3])], outputs=3)
    op, at = "GatherBlockQuantized", of([[0, 3], [2, 3]], np.int64)
    scale = lambda *s: Const((rng.random(s) * 0.1 + 0.02).astype(F))
    for number, name in ((22, "int4"), (21, "uint4")):
        case(g, name, op, [Const(nibbles(number, [4, 40], u8(80))), at, scale(4, 3), Const(nibbles(number, [4, 3], u8(6)))],
             opset=21, block_size=16, gather_axis=0, quantize_axis=1)
        case(g, name + "_axis", op, [Const(nibbles(number, [32, 6], u8(96))), of([5, 1], np.int32), scale(2, 6)],
             opset=21, block_size=16, gather_axis=1, quantize_axis=0)
    case(g, "bytes4", op, [Const(u8(4, 24)), at, scale(4, 3), Const(u8(4, 2))], block_size=16, bits=4)
    case(g, "bytes4_middle", op, [Const(u8(4, 24)), at, scale(4, 3)], block_size=16, bits=4)
    case(g, "bytes8", op, [Const(u8(4, 40)), at, scale(4, 3), Const(u8(4, 3))], block_size=16, bits=8)
    case(g, "squared", "CDist", [real(4, 5), real(6, 5)], metric="sqeuclidean")
    case(g, "root", "CDist", [real(4, 5), real(6, 5)], metric="euclidean")


# ---- graphs that ONNX Runtime's optimiser fuses --------------------------------------------------------------------

class Graph:
    """A graph as exporters write it: standard operators only."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def __call__(self, op, *inputs, outputs=1, **attrs):
        names = []
        for v in inputs:
            if not isinstance(v, str):
                self.count += 1
                t = numpy_helper.from_array(np.asarray(v), f"c{self.count}")
                self.constants.append(t)
                v = t.name
            names.append(v)
        self.count += 1
        outs = [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, outs, name=f"{op}_{self.count}", **attrs))
        return outs[0] if outputs == 1 else outs

    def layer_norm(self, x, size):
        mean = self("ReduceMean", x, axes=[-1])
        d = self("Sub", x, mean)
        var = self("ReduceMean", self("Pow", d, of(2.0)), axes=[-1])
        y = self("Div", d, self("Sqrt", self("Add", var, of(1e-5))))
        return self("Add", self("Mul", y, real(size)), real(size))

    def linear(self, x, n_in, n_out):
        return self("Add", self("MatMul", x, real(n_in, n_out, scale=n_in ** -0.5)), real(n_out, scale=0.1))

    def gelu(self, x):
        e = self("Erf", self("Div", x, of(2 ** 0.5)))
        return self("Mul", self("Mul", x, self("Add", e, of(1.0))), of(0.5))

    def tanh_gelu(self, x):
        cube = self("Mul", self("Mul", x, self("Mul", x, x)), of(0.044715))
        t = self("Tanh", self("Mul", self("Add", x, cube), of((2 / np.pi) ** 0.5)))
        return self("Mul", self("Mul", x, self("Add", t, of(1.0))), of(0.5))

    def heads(self, x, batch, length, heads, size, perm):
        shaped = self("Reshape", x, of([batch, length, heads, size], np.int64))
        return self("Transpose", shaped, perm=perm)

    def attention(self, x, batch, length, heads, size, bias):
        hidden = heads * size
        q = self.heads(self.linear(x, hidden, hidden), batch, length, heads, size, [0, 2, 1, 3])
        k = self.heads(self.linear(x, hidden, hidden), batch, length, heads, size, [0, 2, 3, 1])
        v = self.heads(self.linear(x, hidden, hidden), batch, length, heads, size, [0, 2, 1, 3])
        scores = self("Div", self("MatMul", q, k), of(size ** 0.5))
        if bias:
            scores = self("Add", scores, bias)
        y = self("Transpose", self("MatMul", self("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        return self.linear(self("Reshape", y, of([batch, length, hidden], np.int64)), hidden, hidden)


def encoder(path, gelu):
    """Two layers of a BERT with embeddings and a mask. Returns the feeds."""
    b, n, h, size, words = 2, 6, 2, 8, 20
    hidden, g = h * size, Graph()
    mask = g("Cast", g("Unsqueeze", "mask", of([1, 2], np.int64)), to=TensorProto.FLOAT)
    bias = g("Mul", g("Sub", of(1.0), mask), of(-10000.0))
    x = g("Add", g("Gather", real(words, hidden), "ids"), g("Gather", real(2, hidden), "segments"))
    x = g.layer_norm(g("Add", x, g("Gather", real(10, hidden), of(np.arange(n)[None], np.int64))), hidden)
    for _ in range(2):
        x = g.layer_norm(g("Add", g.attention(x, b, n, h, size, bias), x), hidden)
        inner = getattr(g, gelu)(g.linear(x, hidden, 2 * hidden))
        x = g.layer_norm(g("Add", g.linear(inner, 2 * hidden, hidden), x), hidden)
    write_graph(path, g, [("ids", "INT64", [b, n]), ("segments", "INT64", [b, n]), ("mask", "INT64", [b, n])], x)
    m = (np.arange(n)[None] < of([[6], [4]], np.int64)).astype(np.int64)
    return [("ids", rng.integers(0, words, (b, n))), ("segments", rng.integers(0, 2, (b, n))), ("mask", m)]


def convolutions(path):
    g = Graph()
    x = g("Relu", g("Conv", "x", real(4, 3, 3, 3, scale=0.3), real(4), pads=[1, 1, 1, 1]))
    y = g("Conv", x, real(4, 4, 3, 3, scale=0.2), real(4), pads=[1, 1, 1, 1])
    x = g("LeakyRelu", g("Add", y, x), alpha=0.1)
    x = g("Clip", g("Conv", x, real(4, 1, 3, 3, scale=0.4), real(4), group=4), of(0.0), of(6.0))
    x = g("Flatten", g("HardSigmoid", g("Conv", x, real(2, 4, 1, 1), real(2)), alpha=0.25, beta=0.5))
    x = g("Relu", g("Gemm", x, real(5, 32), real(5), transB=1))
    y = g("MatMul", g("Transpose", g("Mul", x, of(0.3)), perm=[1, 0]), x)
    y = g("Mul", y, g("Sigmoid", g("Mul", y, of(1.702))))
    write_graph(path, g, [("x", "FLOAT", [2, 3, 6, 6])], y)
    return [("x", real(2, 3, 6, 6))]


def dynamic(path):
    """As the quantiser leaves linear layers: weights of 8 bits, inputs quantised when the model runs."""
    g = Graph()
    a, scale, zero = g("DynamicQuantizeLinear", "x", outputs=3)
    y = g("Cast", g("MatMulInteger", a, i8(8, 6), zero, of(3, np.int8)), to=TensorProto.FLOAT)
    y = g("Add", g("Mul", y, g("Mul", scale, of(0.01))), real(6))
    write_graph(path, g, [("x", "FLOAT", [3, 8])], g.gelu(y))
    return [("x", real(3, 8))]


def branch(path, taken):
    """Such operators in the branches of an If, reading a value from outside."""
    def side(name, op, *inputs, **attrs):
        node = helper.make_node(op, inputs, [name], domain="com.microsoft", **attrs)
        return helper.make_graph([node], name, [], [onnx.ValueInfoProto(name=name)])
    nodes = [helper.make_node("Relu", ["x"], ["r"]),
             helper.make_node("If", ["c"], ["y"], then_branch=side("a", "FusedMatMul", "r", "r", transB=1, alpha=0.5),
                              else_branch=side("b", "FastGelu", "r"))]
    infos = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])]
    graph = helper.make_graph(nodes, "graph", infos, [onnx.ValueInfoProto(name="y")])
    onnx.save(helper.make_model(graph, ir_version=8, producer_name="tests", opset_imports=[
        helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]), path)
    return [("c", of(bool(taken), bool)), ("x", real(4, 4))]


def write_graph(path, g, inputs, output):
    infos = [helper.make_tensor_value_info(n, getattr(TensorProto, t), d) for n, t, d in inputs]
    graph = helper.make_graph(g.nodes, "graph", infos, [onnx.ValueInfoProto(name=output)], g.constants)
    onnx.save(helper.make_model(graph, ir_version=8, producer_name="tests", opset_imports=[helper.make_opsetid("", 14)]), path)


def graph_jobs(out, only):
    jobs = []
    for name, make in (("encoder_erf", lambda p: encoder(p, "gelu")), ("encoder_tanh", lambda p: encoder(p, "tanh_gelu")),
                       ("convolutions", convolutions), ("dynamic", dynamic)):
        folder = os.path.join(out, "graphs", name)
        if only and only not in folder:
            continue
        os.makedirs(folder, exist_ok=True)
        plain = os.path.join(folder, "plain.onnx")
        feeds = make(plain)
        jobs.append((folder, plain, feeds, feeds, os.path.join(folder, "model.onnx")))
    for i in range(2):
        folder = os.path.join(out, "graphs", f"branch{i}")
        if not only or only in folder:
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, "model.onnx")
            feeds = branch(path, i)
            jobs.append((folder, path, feeds, feeds, None))
    return jobs


def all_cases():
    for g, t in (("f32", F), ("f16", H)):
        fused(g, t)
        norms(g, t)
        rotary(g, t)
        group_query(g, t)
        n_bits(g, t)
    attention("f32")
    products("f32")
    others("f32")
    quantised("q8")
    quantise("q8")
    dynamic_lstm("lstm")


# ---- running and writing -------------------------------------------------------------------------------------------

def write_pb(folder, what, i, array, name):
    with open(os.path.join(folder, f"{what}_{i}.pb"), "wb") as f:
        f.write(numpy_helper.from_array(array, name).SerializeToString())


def run_all(out, jobs):
    """jobs: (folder, model path, feeds of the case, feeds of the model, optimised path or None). Writes the data sets."""
    work = os.path.join(out, "work")
    os.makedirs(work, exist_ok=True)
    description = []
    for k, (_, path, _, feeds, optimised) in enumerate(jobs):
        inputs = []
        for i, (name, v) in enumerate(feeds):
            file = os.path.join(work, f"{k}.in{i}")
            np.ascontiguousarray(v).tofile(file)
            inputs.append({"name": name, "type": NAMES[v.dtype], "dims": list(v.shape), "file": file})
        description.append({"model": path, "inputs": inputs, "outputs": os.path.join(work, f"{k}.out"), "optimized": optimised})
    with open(os.path.join(work, "jobs.json"), "w", encoding="utf-8") as f:
        json.dump(description, f)
    results = []
    while len(results) < len(jobs):
        done = subprocess.run(["node", os.path.join(HERE, "ort_cases.js"), os.path.join(work, "jobs.json"), str(len(results))],
                              check=False, stdout=subprocess.PIPE)
        results += [json.loads(line) for line in done.stdout.splitlines()]
        if len(results) < len(jobs):
            results.append({"error": f"ONNX Runtime crashed ({done.returncode})"})
    bad = 0
    for k, ((folder, _, feeds, _, _), result) in enumerate(zip(jobs, results)):
        if "error" in result:
            print(f"{folder}: {result['error'][:300]}", file=sys.stderr)
            bad += 1
            continue
        data = os.path.join(folder, "test_data_set_0")
        os.makedirs(data, exist_ok=True)
        for i, (name, v) in enumerate(feeds):
            write_pb(data, "input", i, v, name)
        for i, o in enumerate(result["outputs"]):
            array = np.fromfile(os.path.join(work, f"{k}.out.{i}.bin"), TYPES[o["type"]]).reshape(o["dims"])
            write_pb(data, "output", i, array, o["name"])
    subprocess.run(["rm", "-rf", work], check=True)
    return bad


def write_cases(out, only):
    all_cases()
    jobs, bad = [], 0
    for name, model, feeds, other in cases:
        if only and only not in name:
            continue
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "model.onnx")
        onnx.save(model, path)
        twin = os.path.join(folder, "twin.onnx")
        if other[0] is not model:
            onnx.save(other[0], twin)
        jobs.append((folder, path if other[0] is model else twin, feeds, other[1], None))
    jobs += graph_jobs(out, only)
    bad = run_all(out, jobs)
    for folder, path, *_ in jobs:
        if path.endswith(("twin.onnx", "plain.onnx")):
            os.remove(path)
    print(f"{len(jobs) - bad} cases written, {bad} failed in ONNX Runtime")
    return bad


def write_fuzz(out):
    """Blocks with their sizes: the model, then the inputs."""
    all_cases()
    smallest = {}
    for name, model, feeds, _ in cases:
        blocks = [model.SerializeToString()] + [numpy_helper.from_array(v, n).SerializeToString() for n, v in feeds]
        data = b"".join(len(b).to_bytes(4, "little") + b for b in blocks)
        op = name.split("/")[1].split("_")[0]
        smallest[op] = min(smallest.get(op, data), data, key=len)
    for op, data in smallest.items():
        with open(os.path.join(out, "ms-" + op), "wb") as f:
            f.write(data)
    print(f"{len(smallest)} cases written")
    return 0


def write_optimised(out, models):
    jobs = []
    for k, path in enumerate(models):
        folder = os.path.join(out, f"{k}_" + os.path.basename(os.path.dirname(path)))
        os.makedirs(folder, exist_ok=True)
        model = onnx.load(path)
        constant = {t.name for t in model.graph.initializer}
        feeds = []
        for i in model.graph.input:
            if i.name in constant:
                continue
            shape = [d.dim_value or 1 for d in i.type.tensor_type.shape.dim]
            dtype = mapping.TENSOR_TYPE_TO_NP_TYPE[i.type.tensor_type.elem_type]
            feeds.append((i.name, u8(*shape).astype(dtype) if dtype.kind in "ui" else rng.random(shape).astype(dtype)))
        jobs.append((folder, path, feeds, feeds, os.path.join(folder, "model.onnx")))
    bad = run_all(out, jobs)
    print(f"{len(jobs) - bad} models optimised, {bad} failed in ONNX Runtime")
    return bad


def main():
    global rng
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", default="")
    p.add_argument("--fuzz", action="store_true")
    p.add_argument("--optimise", nargs="+", default=[])
    args = p.parse_args()
    rng = np.random.default_rng(args.seed)
    if args.fuzz:
        bad = write_fuzz(args.out)
    else:
        bad = write_optimised(args.out, args.optimise) if args.optimise else write_cases(args.out, args.only)
    sys.exit(1 if bad else 0)


main()
