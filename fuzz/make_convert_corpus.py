"""Writes fuzz/corpus/convert: small networks of every kind of module as pickles, and state dicts. Needs python3-numpy.

    python3 fuzz/make_convert_corpus.py FOLDER
"""
import io
import json
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(1)


class Module:
    """A class of that name in that module, as pickle.dump writes it."""


def cls(module, name):
    if module not in sys.modules:
        for i in range(module.count(".") + 1):
            part = ".".join(module.split(".")[: i + 1])
            sys.modules.setdefault(part, types.ModuleType(part))
    have = getattr(sys.modules[module], name, None)
    if have is None:
        have = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, have)
    return have


def make(module, name, children=(), **state):
    m = cls(module, name)()
    m.__dict__.update(state)
    m._modules = OrderedDict(children)
    return m


def nn(name, children=(), **state):
    return make("torch.nn.modules.all", name, children, **state)


def common(name, children=(), **state):
    return make("models.common", name, children, **state)


def seq(*children):
    return nn("Sequential", [(str(i), c) for i, c in enumerate(children)])


def weights(*shape):
    return rng.standard_normal(shape).astype(np.float16 if np.prod(shape) > 64 else np.float32)


def conv2d(i, o, k=1, s=1, p=None, g=1, bias=False, kind="Conv2d"):
    shape = (i, o // g, k, k) if "Transpose" in kind else (o, i // g, k, k)
    m = nn(kind, kernel_size=(k, k), stride=(s, s), padding=(k // 2 if p is None else p,) * 2, dilation=(1, 1), groups=g)
    m.weight = weights(*shape)
    m.bias = weights(o) if bias else None
    if "Transpose" in kind:
        m.output_padding = (0, 0)
    return m


def bn(c):
    return nn("BatchNorm2d", eps=1e-3, weight=weights(c), bias=weights(c), running_mean=weights(c), running_var=np.ones(c, np.float32))


def conv(i, o, k=1, s=1, g=1, act=None, name="Conv"):
    return common(name, [("conv", conv2d(i, o, k, s, g=g)), ("bn", bn(o)), ("act", act or nn("SiLU"))])


def bottleneck(c, add=True):
    return common("Bottleneck", [("cv1", conv(c, c)), ("cv2", conv(c, c, 3))], add=add)


def c3(i, o, inner=None, name="C3"):
    h = o // 2
    return common(name, [("cv1", conv(i, h)), ("cv2", conv(i, h)), ("cv3", conv(2 * h, o)), ("m", seq(inner or bottleneck(h)))])


def csp(i, o):
    h = o // 2
    return common("BottleneckCSP", [("cv1", conv(i, h)), ("cv2", conv2d(i, h)), ("cv3", conv2d(h, h)), ("cv4", conv(2 * h, o)),
                                    ("bn", bn(2 * h)), ("act", nn("LeakyReLU", negative_slope=0.1)), ("m", seq(bottleneck(h)))])


def maxpool(k, s=1, p=None, ceil=False):
    return nn("MaxPool2d", kernel_size=k, stride=s, padding=k // 2 if p is None else p, dilation=1, ceil_mode=ceil)


def ghost(i, o, k=1, s=1):
    return common("GhostConv", [("cv1", conv(i, o // 2, k, s)), ("cv2", conv(o // 2, o // 2, 5, 1, o // 2))])


def linear(i, o, bias=True):
    return nn("Linear", weight=weights(o, i), bias=weights(o) if bias else None, in_features=i, out_features=o)


def at(m, f=-1):
    m.f = f
    return m


def detect(inputs, f, nc=1, na=1, name="Detect", **more):
    no = 5 + nc + more.get("nm", 0) + more.pop("extra", 0)
    children = [("m", nn("ModuleList", [(str(i), conv2d(c, na * no, bias=True)) for i, c in enumerate(inputs)]))]
    children += more.pop("children", [])
    return at(make("models.yolo", name, children, nc=nc, na=na, no=no, nl=len(inputs), anchors=np.ones((len(inputs), na, 2), np.float32), **more), f)


def model(*layers):
    net = make("models.yolo", "Model", [("model", seq(*layers))], names=["a"], yaml={"ch": 3})
    return {"model": net, "epoch": -1, "ema": None}


def save(name, bits, root):
    data = io.BytesIO()
    pickle.dump(root, data, protocol=2)
    (folder / name).write_bytes(bytes([bits]) + data.getvalue())


RAW, DECODED, NMS, OPSET13, OPSET11, OPSET21, DYNAMIC, FP16, KEEP, TINY = 0, 1, 2, 4, 8, 12, 16, 32, 64, 128
first = lambda: conv(3, 4, 3, 2)
save("detect_raw", RAW, model(first(), c3(4, 4), detect([4], -1)))
save("detect_decoded", DECODED | OPSET13, model(first(), conv(4, 4, 3, 2), at(c3(4, 4), 0), detect([4, 4], [2, 1])))
save("detect_nms", NMS | OPSET13, model(first(), detect([4], [-1], nc=2, na=2)))
save("detect_dynamic", NMS | OPSET21 | DYNAMIC | FP16 | KEEP, model(first(), conv(4, 4, 3, 2), detect([4, 4], [0, 1])))
save("activations", OPSET11 | FP16, model(*[conv(3 if i == 0 else 2, 2, act=a) for i, a in enumerate([
    nn("Hardswish"), nn("LeakyReLU", negative_slope=0.1), nn("ReLU6"), nn("Mish"), nn("ELU", alpha=1.0), nn("Sigmoid"), nn("Tanh"),
    common("FReLU", [("conv", conv2d(2, 2, 3, g=2)), ("bn", bn(2))])])], detect([2], -1)))
save("csp_focus", KEEP, model(common("Focus", [("conv", conv(12, 4, 3))]), csp(4, 4), common("SPP", [("cv1", conv(4, 2)), ("cv2", conv(6, 4)), (
    "m", nn("ModuleList", [("0", maxpool(5)), ("1", maxpool(9))]))]), detect([4], -1)))
save("sppf_up", OPSET13, model(first(), common("SPPF", [("cv1", conv(4, 2)), ("cv2", conv(8, 4)), ("m", maxpool(5))]), maxpool(2, 2, 0, True),
     nn("Upsample", scale_factor=2.0, mode="nearest", size=None), at(common("Concat", d=1), [-1, 1]), detect([8], -1)))
block = make("models.common", "TransformerLayer", [("q", linear(2, 2, False)), ("k", linear(2, 2, False)), ("v", linear(2, 2, False)),
    ("ma", nn("MultiheadAttention", [("out_proj", linear(2, 2))], in_proj_weight=weights(6, 2), in_proj_bias=weights(6), num_heads=2, embed_dim=2)),
    ("fc1", linear(2, 2, False)), ("fc2", linear(2, 2, False))])
tr = common("TransformerBlock", [("linear", linear(2, 2)), ("tr", seq(block))], c2=2)
tr._modules["conv"] = None
save("transformer", OPSET13, model(first(), c3(4, 4, tr, "C3TR"), detect([4], -1)))
bneck = common("GhostBottleneck", [("conv", seq(ghost(2, 2), nn("Identity"), ghost(2, 2))), ("shortcut", nn("Identity"))])
save("ghost", OPSET13 | DYNAMIC, model(ghost(3, 4, 3, 2), c3(4, 4, bneck, "C3Ghost"), conv(4, 4, 3, 2, 4, name="DWConv"), detect([4], -1)))
save("contract", OPSET13, model(common("Contract", gain=2), common("Expand", gain=2), at(make("models.experimental", "Sum", weight=True, w=weights(1)), [-1, -1]),
     conv2d(3, 4, 2, 2, 0, kind="ConvTranspose2d"), nn("ZeroPad2d", padding=(0, 1, 0, 1)), detect([4], -1)))
mix = make("models.experimental", "MixConv2d", [("m", nn("ModuleList", [("0", conv2d(4, 2)), ("1", conv2d(4, 2, 3))])), ("bn", bn(4)), ("act", nn("ReLU"))])
cross = make("models.experimental", "CrossConv", [("cv1", conv(4, 4)), ("cv2", conv(4, 4))], add=True)
save("mix_cross", OPSET13, model(first(), mix, cross, detect([4], -1)))
proto = common("Proto", [("cv1", conv(4, 2)), ("upsample", nn("Upsample", scale_factor=2, mode="nearest")), ("cv2", conv(2, 2)), ("cv3", conv(2, 3))])
save("segment", DECODED | OPSET13, model(first(), detect([4], -1, name="Segment", nm=3, npr=2, children=[("proto", proto)])))
cl = at(common("Classify", [("conv", conv(4, 4)), ("pool", nn("AdaptiveAvgPool2d", output_size=1)), ("drop", nn("Dropout", p=0.0)), ("linear", linear(4, 3))]), -1)
save("classify", DECODED | OPSET13, model(first(), cl))
shuffle = common("ShuffleV2Block", [("branch1", seq()), ("branch2", seq(conv2d(2, 2), bn(2), nn("SiLU"), conv2d(2, 2, 3, g=2), bn(2)))], stride=1)
stem = common("StemBlock", [("stem_1", conv(3, 4, 3, 2)), ("stem_2a", conv(4, 2)), ("stem_2b", conv(2, 4, 3, 2)), ("stem_2p", maxpool(2, 2, 0, True)), ("stem_3", conv(8, 4))])
save("face", NMS | OPSET13, model(stem, shuffle, detect([4], -1, extra=10)))

# State dicts of yolov3-tiny with one channel per convolution: as arrays by name, and as safetensors.
state, given = OrderedDict(), {}
sources = {0: None, 2: 0, 4: 2, 6: 4, 8: 6, 10: 8, 13: 10, 14: 13, 15: 14, 16: 14, 19: 16}
kernels = {0: 3, 2: 3, 4: 3, 6: 3, 8: 3, 10: 3, 13: 3, 14: 1, 15: 3, 16: 1, 19: 3}
for i, source in sources.items():
    channels = 3 if source is None else 2 if i == 19 else 1
    state[f"model.{i}.conv.weight"] = weights(1, channels, kernels[i], kernels[i])
    for part in ("weight", "bias", "running_mean", "running_var"):
        state[f"model.{i}.bn.{part}"] = np.ones(1, np.float32)
state["model.20.anchors"] = np.ones((2, 1, 2), np.float32)
for i in range(2):
    state[f"model.20.m.{i}.weight"] = weights(6, 1, 1, 1)
    state[f"model.20.m.{i}.bias"] = weights(6)
save("state_dict", RAW | TINY, state)
save("state_dict_recognised", RAW | OPSET13, state)
header, body = {}, b""
for name, value in state.items():
    data = value.astype(np.float32).tobytes()
    header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(body), len(body) + len(data)]}
    body += data
text = json.dumps(header, separators=(",", ":")).encode()
(folder / "safetensors").write_bytes(bytes([DECODED | OPSET13 | TINY]) + struct.pack("<Q", len(text)) + text + body)
