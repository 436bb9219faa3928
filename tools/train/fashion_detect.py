#!/usr/bin/env python3
"""Train the example detector, models/fashion-detect.pt: a small network of YOLOv5's design that finds clothes.

    apt install python3-torch python3-opencv python3-numpy dataset-fashion-mnist
    OMP_NUM_THREADS=1 /usr/bin/python3 tools/train/fashion_detect.py

The scenes are those of fashion_scenes.py: for training of the 60,000 training pictures of Fashion-MNIST, never the same
scene twice; held-out ones of its 10,000 test pictures. The held-out scenes are looked at once, after the last step; no
state is picked by its score.

The file has the form of a YOLOv5 checkpoint: a pickled tree of the modules Conv, C3, SPPF, Concat, Detect with strides,
anchors and class names, in half precision. Modules, loss and training are written from the papers and from the forms
that checkpoints have; no code of the YOLOv5 repository is in here.
"""
import argparse
import datetime
import hashlib
import json
import math
import os
import sys
import time
import types

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coco_map  # noqa: E402
from fashion_data import FOLDER, LABELS, ROOT, read_part  # noqa: E402
from fashion_scenes import SHAPES, compose, write_scenes  # noqa: E402

SIDE = 160  # of the network's input
STRIDES = (8, 16, 32)

# ---- pictures for the network --------------------------------------------------------------------------------------


def letterbox(scene):
    """As `tern detect` does it: (SIDE, SIDE, 3), factor, left, top."""
    h, w = scene.shape[:2]
    r = min(SIDE / h, SIDE / w)
    nw, nh = round(w * r), round(h * r)
    left, top = round((SIDE - nw) / 2 - 0.1), round((SIDE - nh) / 2 - 0.1)
    out = np.full((SIDE, SIDE, 3), 114, np.uint8)
    out[top:top + nh, left:left + nw] = cv2.resize(scene, (nw, nh), interpolation=cv2.INTER_LINEAR)
    return out, r, left, top


def to_input(letterboxed):
    """uint8 (n, SIDE, SIDE, 3) BGR to float (n, 3, SIDE, SIDE) RGB."""
    return torch.from_numpy(np.ascontiguousarray(letterboxed[..., ::-1])).permute(0, 3, 1, 2).float() / 255


# ---- network ---------------------------------------------------------------------------------------------------------
# Names of classes and attributes are those that YOLOv5 checkpoints have, so that the file reads as one.


class Conv(nn.Module):
    def __init__(self, ic, oc, k=1, s=1, p=None):
        super().__init__()
        self.conv = nn.Conv2d(ic, oc, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(oc, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c, add):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), add

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    def __init__(self, ic, oc, add=True):
        super().__init__()
        half = oc // 2
        self.cv1, self.cv2, self.cv3 = Conv(ic, half), Conv(ic, half), Conv(2 * half, oc)
        self.m = nn.Sequential(Bottleneck(half, add))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, ic, oc):
        super().__init__()
        self.cv1, self.cv2 = Conv(ic, ic // 2), Conv(ic // 2 * 4, oc)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Concat(nn.Module):
    def __init__(self, d=1):
        super().__init__()
        self.d = d

    def forward(self, xs):
        return torch.cat(xs, self.d)


class Detect(nn.Module):
    """Raw maps [b, na, h, w, no] per level; `anchors` are in units of the strides."""

    def __init__(self, nc, anchors, channels):
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0])
        self.stride = torch.tensor(STRIDES, dtype=torch.float32)
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32) / self.stride.view(-1, 1, 1))
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * self.na, 1) for c in channels)
        for conv, s in zip(self.m, STRIDES):  # few cells hold an object: begin there
            bias = conv.bias.data.view(self.na, -1)
            bias[:, 4] = math.log(8 / (SIDE / s) ** 2)
            bias[:, 5:] = math.log(0.6 / (nc - 0.99))

    def forward(self, xs):
        out = []
        for x, conv in zip(xs, self.m):
            y = conv(x)
            b, _, h, w = y.shape
            out.append(y.view(b, self.na, self.no, h, w).permute(0, 1, 3, 4, 2))
        return out


class DetectionModel(nn.Module):
    def __init__(self, anchors, names, widths=(12, 24, 48, 80, 112)):
        super().__init__()
        a, b, c, d, e = widths
        layers = [  # inputs, module
            (-1, Conv(3, a, 6, 2, 2)),
            (-1, Conv(a, b, 3, 2)),
            (-1, C3(b, b)),
            (-1, Conv(b, c, 3, 2)),
            (-1, C3(c, c)),
            (-1, Conv(c, d, 3, 2)),
            (-1, C3(d, d)),
            (-1, Conv(d, e, 3, 2)),
            (-1, C3(e, e)),
            (-1, SPPF(e, e)),
            (-1, Conv(e, d)),
            (-1, nn.Upsample(None, 2, "nearest")),
            ([-1, 6], Concat()),
            (-1, C3(2 * d, d, False)),
            (-1, Conv(d, c)),
            (-1, nn.Upsample(None, 2, "nearest")),
            ([-1, 4], Concat()),
            (-1, C3(2 * c, c, False)),
            (-1, Conv(c, c, 3, 2)),
            ([-1, 14], Concat()),
            (-1, C3(2 * c, d, False)),
            (-1, Conv(d, d, 3, 2)),
            ([-1, 10], Concat()),
            (-1, C3(2 * d, e, False)),
            ([17, 20, 23], Detect(len(names), anchors, (c, d, e))),
        ]
        for i, (f, m) in enumerate(layers):
            m.i, m.f, m.type = i, f, type(m).__name__
        self.model = nn.Sequential(*(m for _, m in layers))
        self.stride, self.names = self.model[-1].stride, list(names)
        self.imgsz = SIDE  # not in official checkpoints; tern takes it for the size of the input
        self.yaml = {"nc": len(names), "ch": 3, "anchors": anchors}

    def forward(self, x):
        done = []
        for m in self.model:
            if isinstance(m.f, int):
                x = m(x)
            else:
                x = m([x if j == -1 else done[j] for j in m.f])
            done.append(x)
        return x


def name_as_in_checkpoints():
    """Pickles name classes by module and name: those of YOLOv5's checkpoints."""
    for path, classes in (("models.common", (Conv, Bottleneck, C3, SPPF, Concat)),
                          ("models.yolo", (Detect, DetectionModel))):
        module = sys.modules.setdefault(path, types.ModuleType(path))
        for c in classes:
            c.__module__ = path
            setattr(module, c.__name__, c)
    sys.modules.setdefault("models", types.ModuleType("models"))


# ---- training --------------------------------------------------------------------------------------------------------


def choose_anchors(wh, levels=3, per_level=3):
    """k-means of widths and heights (n, 2) under 1 - IoU of boxes with a common corner; by area, level by level."""
    rng = np.random.default_rng(0)
    centres = wh[rng.choice(len(wh), levels * per_level, replace=False)].astype(float)
    for _ in range(60):
        inter = np.minimum(wh[:, None], centres[None]).prod(2)
        nearest = (inter / (wh.prod(1)[:, None] + centres.prod(1)[None] - inter)).argmax(1)
        for k in range(len(centres)):
            if (nearest == k).any():
                centres[k] = np.median(wh[nearest == k], axis=0)
    centres = centres[centres.prod(1).argsort()].round(1)
    return centres.reshape(levels, per_level, 2).tolist()


def ciou(p, t):
    """Complete IoU (Zheng et al., 2020) of boxes (n, 4) given by centre and size."""
    p1, p2, t1, t2 = p[:, :2] - p[:, 2:] / 2, p[:, :2] + p[:, 2:] / 2, t[:, :2] - t[:, 2:] / 2, t[:, :2] + t[:, 2:] / 2
    inter = (torch.minimum(p2, t2) - torch.maximum(p1, t1)).clamp(min=0).prod(1)
    iou = inter / (p[:, 2:].prod(1) + t[:, 2:].prod(1) - inter + 1e-7)
    hull = torch.maximum(p2, t2) - torch.minimum(p1, t1)
    distance = ((p[:, :2] - t[:, :2]) ** 2).sum(1) / ((hull ** 2).sum(1) + 1e-7)
    v = 4 / math.pi ** 2 * (torch.atan(t[:, 2] / t[:, 3]) - torch.atan(p[:, 2] / (p[:, 3] + 1e-7))) ** 2
    with torch.no_grad():
        weight = v / (1 - iou + v + 1e-7)
    return iou - distance - weight * v


def assign(targets, anchors, stride, w, h):
    """Which cells answer for which boxes: every anchor whose sides are within a factor of 4 of the box's, in the cell
    of its centre and in the two neighbours nearest to it. targets (n, 6): picture, class, centre, size in pixels.
    Returns index tensors (picture, anchor, row, column) and the rows of targets."""
    ratio = targets[:, None, 4:6] / anchors[None]
    row, anchor = (torch.maximum(ratio, 1 / ratio).amax(2) < 4).nonzero(as_tuple=True)
    at = targets[row, 2:4] / stride
    cell, size = at.floor(), torch.tensor([w, h])
    step = torch.where(at - cell < 0.5, -1.0, 1.0)
    cells = torch.stack([cell, cell + step * torch.tensor([1.0, 0.0]), cell + step * torch.tensor([0.0, 1.0])])
    inside = ((cells >= 0) & (cells < size)).all(2)
    row, anchor = row.expand(3, -1)[inside], anchor.expand(3, -1)[inside]
    cells = cells[inside].long()
    return targets[row, 0].long(), anchor, cells[:, 1], cells[:, 0], row


def loss_of(maps, targets, detect):
    box_loss = obj_loss = cls_loss = torch.zeros(())
    for level, (y, balance) in enumerate(zip(maps, (4.0, 1.0, 0.4))):
        stride = STRIDES[level]
        anchors = detect.anchors[level] * stride
        b, a, j, i, row = assign(targets, anchors, stride, y.shape[3], y.shape[2])
        wanted = torch.zeros(y.shape[:4])
        if len(b):
            p = y[b, a, j, i]
            centre = (p[:, :2].sigmoid() * 2 - 0.5 + torch.stack([i, j], 1)) * stride
            size = (p[:, 2:4].sigmoid() * 2) ** 2 * anchors[a]
            iou = ciou(torch.cat([centre, size], 1), targets[row, 2:6])
            box_loss = box_loss + (1 - iou).mean()
            wanted[b, a, j, i] = iou.detach().clamp(min=0)
            truth = F.one_hot(targets[row, 1].long(), detect.nc).float()
            cls_loss = cls_loss + F.binary_cross_entropy_with_logits(p[:, 5:], truth)
        obj_loss = obj_loss + balance * F.binary_cross_entropy_with_logits(y[..., 4], wanted)
    return box_loss + 2 * obj_loss + 3 * cls_loss, (box_loss.item(), obj_loss.item(), cls_loss.item())


def training_batch(rng, images, labels, size):
    pictures, rows = [], []
    for b in range(size):
        scene, boxes, classes = compose(rng, images, labels, SHAPES[rng.integers(len(SHAPES))], 7)
        picture, r, left, top = letterbox(scene)
        pictures.append(picture)
        for (x, y, w, h), c in zip(boxes, classes):
            rows.append((b, c, (x + w / 2) * r + left, (y + h / 2) * r + top, w * r, h * r))
    return to_input(np.stack(pictures)), torch.tensor(rows, dtype=torch.float32)


def train(net, average, images, labels, args):
    """`args.steps` steps of AdamW; `average` follows with a running mean of the weights."""
    rng = np.random.default_rng(args.seed)
    groups = [[p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim <= 1]]
    opt = torch.optim.AdamW([{"params": groups[0], "weight_decay": 0.02}, {"params": groups[1], "weight_decay": 0.0}],
                            lr=args.rate, betas=(0.9, 0.99))
    start, sums = time.time(), np.zeros(3)
    net.train()
    for step in range(args.steps):
        done = step / args.steps
        for g in opt.param_groups:
            g["lr"] = args.rate * min((step + 1) / 150, 0.5 + 0.5 * math.cos(math.pi * done) + 0.01)
        x, targets = training_batch(rng, images, labels, args.batch)
        loss, parts = loss_of(net(x.contiguous(memory_format=torch.channels_last)), targets, net.model[-1])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        opt.step()
        keep = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), net.state_dict().values()):
                if a.dtype.is_floating_point:
                    a.mul_(keep).add_(b, alpha=1 - keep)
                else:
                    a.copy_(b)
        sums += parts
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{args.steps}  box {sums[0] / 50:.3f}  objectness {sums[1] / 50:.4f}  "
                  f"class {sums[2] / 50:.4f}  {time.time() - start:.0f} s", flush=True)
            sums[:] = 0
    return time.time() - start


# ---- evaluation ------------------------------------------------------------------------------------------------------


def decode(maps, detect):
    """Raw maps to rows [b, n, 5 + nc]: corners in pixels of the input, objectness times class after them."""
    out = []
    for level, y in enumerate(maps):
        b, na, h, w, no = y.shape
        stride, s = STRIDES[level], y.float().sigmoid()
        grid = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)
        centre = (s[..., :2] * 2 - 0.5 + grid) * stride
        size = (s[..., 2:4] * 2) ** 2 * (detect.anchors[level].float() * stride).view(1, na, 1, 1, 2)
        rows = torch.cat([centre - size / 2, centre + size / 2, s[..., 4:5] * s[..., 5:]], -1)
        out.append(rows.reshape(b, -1, no - 1))
    return torch.cat(out, 1).numpy()


def suppress(rows, conf=0.001, iou=0.6, most=300):
    """Every class above `conf` of every row, suppressed per class. rows (n, 4 + nc) to [(box, score, class)]."""
    result = []
    for c in range(rows.shape[1] - 4):
        pick = np.flatnonzero(rows[:, 4 + c] > conf)
        pick = pick[np.argsort(-rows[pick, 4 + c], kind="stable")]
        boxes = rows[pick, :4]
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        alive = np.ones(len(pick), bool)
        ious = coco_map.iou_matrix(xywh, xywh, np.zeros(len(pick)))
        for k in range(len(pick)):
            if alive[k]:
                alive[k + 1:] &= ious[k, k + 1:] <= iou
                result.append((boxes[k], float(rows[pick[k], 4 + c]), c))
    return sorted(result, key=lambda r: -r[1])[:most]


def detections_of(net, folder, annotations):
    """In COCO's form, for the pictures of a folder that write_scenes wrote."""
    net.eval()
    out = []
    for entry in annotations["images"]:
        picture, r, left, top = letterbox(cv2.imread(os.path.join(folder, entry["file_name"])))
        with torch.no_grad():
            rows = decode(net(to_input(picture[None])), net.model[-1])[0]
        for box, score, c in suppress(rows):
            x1, y1, x2, y2 = (box - [left, top, left, top]) / r
            x1, x2 = np.clip([x1, x2], 0, entry["width"])
            y1, y2 = np.clip([y1, y2], 0, entry["height"])
            out.append({"image_id": entry["id"], "category_id": c + 1, "score": score,
                        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]})
    return out


def first_scenes(annotations, count):
    """The part of the data set that is in tests/data/scenes."""
    return {**annotations, "images": annotations["images"][:count],
            "annotations": [a for a in annotations["annotations"] if a["image_id"] <= count]}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--data", default=FOLDER, help="folder with the four IDX files")
    p.add_argument("--out", default=os.path.join(ROOT, "models", "fashion-detect.pt"))
    p.add_argument("--count", type=int, default=500, help="number of held-out scenes")
    p.add_argument("--steps", type=int, default=4200)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--rate", type=float, default=4e-3)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    images, labels = read_part(args.data, "train")

    sample = training_batch(np.random.default_rng(0), images, labels, 300)[1]
    anchors = choose_anchors(sample[:, 4:6].numpy())
    name_as_in_checkpoints()
    net, average = (DetectionModel(anchors, LABELS).to(memory_format=torch.channels_last) for _ in range(2))
    average.load_state_dict(net.state_dict())
    print(f"{sum(w.numel() for w in net.parameters())} parameters, anchors {anchors}", flush=True)
    seconds = train(net, average, images, labels, args)
    save(average, anchors, seconds, args)


def save(net, anchors, seconds, args):
    """Writes the checkpoint, and beside it the facts about it, with the mAP of the weights as they were rounded."""
    net = net.to(memory_format=torch.contiguous_format).half().eval().requires_grad_(False)
    checkpoint = {"epoch": -1, "best_fitness": None, "model": net, "ema": None, "updates": None, "optimizer": None,
                  "opt": {"imgsz": SIDE}, "date": None}
    torch.save(checkpoint, args.out)
    folder = os.path.join(ROOT, "build", "fashion-scenes")
    annotations = write_scenes(folder, args.count, args.data)
    found = detections_of(net.float(), folder, annotations)
    result = coco_map.evaluate(annotations, found)
    few = coco_map.evaluate(first_scenes(annotations, 24), found)
    print(f"mAP@0.5 {result['mAP50']:.4f}, mAP@0.5:0.95 {result['mAP50_95']:.4f} on {args.count} held-out scenes")
    with open(args.out, "rb") as f:
        data = f.read()
    facts = {"model": os.path.basename(args.out), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
             "mAP50": result["mAP50"], "mAP50_95": result["mAP50_95"], "held_out_scenes": args.count,
             "mAP50_first_24": few["mAP50"],
             "classes": {LABELS[c - 1]: ap[0] for c, ap in result["classes"].items()}, "anchors": anchors,
             "steps": args.steps, "batch": args.batch, "rate": args.rate, "seed": args.seed, "side": SIDE,
             "parameters": sum(w.numel() for w in net.parameters()), "seconds": round(seconds),
             "torch": torch.__version__, "opencv": cv2.__version__, "python": sys.version.split()[0],
             "date": datetime.date.today().isoformat()}
    with open(os.path.splitext(args.out)[0] + ".json", "w", encoding="utf-8") as f:
        json.dump(facts, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
