#!/usr/bin/python3
"""Writes the networks of the benchmark as ONNX files with seeded random weights: what a network computes does not
change its speed, as long as its values stay ordinary numbers.

    bench/export_models.py [--batch N] DIR [NAME...]

Needs Debian's python3-torch and python3-torchvision. Of each it writes NAME.onnx and NAME.in.npy, an input
(NAME.b4.onnx for batches of 4, NAME.b0.onnx for a free batch). No NAME: all. Networks of torchvision are those of its API; yolov5n and yolov5s are of
the design of releases 6.0 to 7.0, with the three maps of raw heads as outputs; mlp is three dense layers, whose time for one
row is that of reading its weights (for ./do bench serve; only when it is named). Those of other_models.py are for
./do bench --others, and made when they are named, too.
"""
import argparse
import os
import warnings
import zlib

import numpy as np
import torch
import torchvision
from torch import nn

import other_models

TORCHVISION = (
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large squeezenet1_1 shufflenet_v2_x1_0 resnet18 resnet50 "
    "densenet121 googlenet efficientnet_b0 regnet_y_400mf vgg16 vit_b_16"
).split()
YOLOV5 = {"yolov5n": (1 / 3, 1 / 4), "yolov5s": (1 / 3, 1 / 2)}  # (depth, width) by those of yolov5l
# What ViT needs; and ReLU6 with its limits as attributes, of which OpenCV 4.6 makes sense.
OPSET = {"vit_b_16": 14, "mobilenet_v2": 10, **dict.fromkeys(other_models.NAMES, 17)}
DEFAULT_OPSET = 13


# ---- YOLOv5 ---------------------------------------------------------------------------------------------------------


class Conv(nn.Sequential):
    """Convolution, normalisation, SiLU; keeps or halves the size of the map."""

    def __init__(self, c_in, c_out, kernel=1, stride=1, padding=None):
        padding = kernel // 2 if padding is None else padding
        super().__init__(
            nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out, eps=1e-3), nn.SiLU()
        )


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut):
        super().__init__()
        self.body = nn.Sequential(Conv(channels, channels), Conv(channels, channels, 3))
        self.shortcut = shortcut

    def forward(self, x):
        return x + self.body(x) if self.shortcut else self.body(x)


class C3(nn.Module):
    """Half of the channels go through n bottlenecks, half go around them."""

    def __init__(self, c_in, c_out, n, shortcut=True):
        super().__init__()
        half = c_out // 2
        self.through = nn.Sequential(Conv(c_in, half), *(Bottleneck(half, shortcut) for _ in range(n)))
        self.around = Conv(c_in, half)
        self.join = Conv(2 * half, c_out)

    def forward(self, x):
        return self.join(torch.cat((self.through(x), self.around(x)), 1))


class Pyramid(nn.Module):
    """Maxima over 5, 9 and 13 pixels (SPPF)."""

    def __init__(self, channels):
        super().__init__()
        self.begin = Conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.end = Conv(channels * 2, channels)

    def forward(self, x):
        maps = [self.begin(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.end(torch.cat(maps, 1))


class YoloV5(nn.Module):
    def __init__(self, depth, width, classes=80):
        super().__init__()
        c1, c2, c3, c4, c5 = (int(64 * 2**i * width) for i in range(5))
        n3, n6, n9 = (max(1, round(n * depth)) for n in (3, 6, 9))
        self.stage3 = nn.Sequential(
            Conv(3, c1, 6, 2, 2), Conv(c1, c2, 3, 2), C3(c2, c2, n3), Conv(c2, c3, 3, 2), C3(c3, c3, n6)
        )
        self.stage4 = nn.Sequential(Conv(c3, c4, 3, 2), C3(c4, c4, n9))
        self.stage5 = nn.Sequential(Conv(c4, c5, 3, 2), C3(c5, c5, n3), Pyramid(c5))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow5, self.up4 = Conv(c5, c4), C3(c5, c4, n3, shortcut=False)
        self.narrow4, self.up3 = Conv(c4, c3), C3(c4, c3, n3, shortcut=False)
        self.down3, self.out4 = Conv(c3, c3, 3, 2), C3(c4, c4, n3, shortcut=False)
        self.down4, self.out5 = Conv(c4, c4, 3, 2), C3(c5, c5, n3, shortcut=False)
        self.heads = nn.ModuleList(nn.Conv2d(c, 3 * (5 + classes), 1) for c in (c3, c4, c5))

    def forward(self, x):
        x3 = self.stage3(x)
        x4 = self.stage4(x3)
        top = self.narrow5(self.stage5(x4))
        middle = self.narrow4(self.up4(torch.cat((self.up(top), x4), 1)))
        p3 = self.up3(torch.cat((self.up(middle), x3), 1))
        p4 = self.out4(torch.cat((self.down3(p3), middle), 1))
        p5 = self.out5(torch.cat((self.down4(p4), top), 1))
        return tuple(head(p) for head, p in zip(self.heads, (p3, p4, p5)))


# ---- weights and files ----------------------------------------------------------------------------------------------


def build(name):
    if name == "mlp":
        layers = nn.Linear(768, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
        return nn.Sequential(nn.Flatten(), *layers), (3, 16, 16)
    if name in YOLOV5:
        return YoloV5(*YOLOV5[name]), (3, 640, 640)
    if name in other_models.NAMES:
        return other_models.build(name)
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(weights=None, **more), (3, 224, 224)


def calibrate(model, x):
    """Gives every normalisation the statistics of its own input, so that values neither vanish nor grow without end."""
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)):
            m.momentum = None  # the mean of all calls: there is one
            nn.init.uniform_(m.weight, 0.8, 1.2)
            nn.init.normal_(m.bias, 0, 0.1)
        elif isinstance(m, nn.Dropout):
            m.p = 0.0
        elif isinstance(m, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            if m.bias is not None:
                # Equal tensors would become Identity nodes, which not every engine reads.
                nn.init.normal_(m.bias, 0, 0.05)
            if not m.weight.any():
                nn.init.normal_(m.weight, 0, m.weight[0].numel() ** -0.5)  # ViT's last layer begins as zeros
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval()


def check(name, outputs):
    """Raises when the outputs are not numbers that differ, as of a network that is not degenerate."""
    for y in outputs if isinstance(outputs, tuple) else (outputs,):
        if not torch.isfinite(y).all() or not 1e-3 < float(y.std()) < 1e3:
            raise SystemExit(f"export_models.py: {name}: its outputs vanish or overflow (deviation {float(y.std()):g})")


def export(name, folder, batch):
    warnings.simplefilter("ignore")  # of the tracer: sizes are constants here, as they should be
    torch.manual_seed(zlib.crc32(name.encode()))
    model, shape = build(name)
    x = torch.randn(max(batch, 4), *shape)
    model = calibrate(model, x)
    x = x[: max(batch, 1)].clone()
    with torch.no_grad():
        check(name, model(x))
    base = os.path.join(folder, name if batch == 1 else f"{name}.b{batch}")
    outputs = ["p3", "p4", "p5"] if name in YOLOV5 else ["output"]
    free = {} if batch else {"output_names": outputs, "dynamic_axes": {k: {0: "batch"} for k in ["input", *outputs]}}
    torch.onnx.export(
        model, x, base + ".tmp", opset_version=OPSET.get(name, DEFAULT_OPSET), input_names=["input"], **free
    )
    np.save(base + ".in.npy", x.numpy())
    os.replace(base + ".tmp", base + ".onnx")
    print(base + ".onnx", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch", type=int, default=1, metavar="N", help="pictures in the input; 0: any number (default: 1)")
    p.add_argument("folder", metavar="DIR")
    p.add_argument("name", nargs="*", metavar="NAME")
    args = p.parse_args()
    known = [*TORCHVISION, *YOLOV5]
    for name in args.name:
        if name not in (*known, "mlp", *other_models.NAMES):
            p.error(f"no network is called {name}; there are mlp {' '.join([*known, *other_models.NAMES])}")
    if args.batch < 0:
        p.error("--batch wants no negative number")
    os.makedirs(args.folder, exist_ok=True)
    for name in args.name or known:
        export(name, args.folder, args.batch)


if __name__ == "__main__":
    main()
