"""Writes tests/data/detect/heads/: small networks that end as the exports of each detector family do, node by node, and
the boxes that NumPy finds with them, written from the papers' formulas and not from the graphs. Needs python3-onnx.

    python3 tests/data/make_heads.py

Every network pools the picture over 8, 16 and 32 pixels and has a 1 x 1 convolution per level, so that all boxes
depend on the picture, which is 64 x 48 pixels in an input of 64 x 64.

    yolov6       1 x cells x (5 + nc): x y w h from distances to the sides, objectness 1
    yolov7       1 x (3 cells) x (5 + nc): sigmoids, anchors;   yolov7-raw: the maps, n x anchors x h x w x (5 + nc)
    yolov7-end   boxes after NonMaxSuppression in the graph: k x 7 (batch x1 y1 x2 y2 class score)
    yolov8       1 x (4 + nc) x cells: distances are means of 16 bins (DFL); YOLOv11 ends the same way
    yolov10      1 x k x 6 (x1 y1 x2 y2 score class): the best k without suppression
    yolox        1 x cells x (5 + nc): x y in cells from the cell's corner, log of w h in cells; BGR, 0..255, no middle
"""
import os
import struct
import zlib

import numpy as np
from onnx import TensorProto as T, checker, helper as h, numpy_helper as nh, save

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "detect", "heads")
os.makedirs(folder, exist_ok=True)
SIZE, STRIDES, NC, CONF, IOU = 64, (8, 16, 32), 3, 0.25, 0.45
ANCHORS = np.array([[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]], np.float64).reshape(3, 3, 2) / 8
CELLS = [(s, y, x) for s in STRIDES for y in range(SIZE // s) for x in range(SIZE // s)]


# ---- the picture ---------------------------------------------------------------------------------------------------------


def picture():
    rng = np.random.default_rng(5)
    image = np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 3)), 8, 0), 8, 1).astype(np.uint8)
    image[12:30, 20:44] = (250, 30, 20)
    return image


def write_png(path, image):
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


# ---- graphs --------------------------------------------------------------------------------------------------------------


class Graph:
    def __init__(self):
        self.nodes, self.values = [], []

    def const(self, array):
        name = f"c{len(self.values)}"
        self.values.append(nh.from_array(np.asarray(array), name))
        return name

    def __call__(self, op, *inputs, outputs=1, name=None, **attrs):
        inputs = [i if isinstance(i, str) else self.const(i) for i in inputs]
        names = [name] if name else [f"n{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(h.make_node(op, inputs, names, **attrs))
        return names[0] if len(names) == 1 else names

    def maps(self, convs):
        """A map per level: (1, channels, h, w)."""
        out = []
        for stride, (w, b) in zip(STRIDES, convs):
            pooled = self("AveragePool", "images", kernel_shape=[stride] * 2, strides=[stride] * 2)
            out.append(self("Conv", pooled, w[:, :, None, None], b))
        return out

    def flat(self, maps, channels):
        """(1, channels, cells)"""
        return self("Concat", *[self("Reshape", m, np.array([1, channels, -1], np.int64)) for m in maps], axis=2)

    def cut(self, x, axis, start, end):
        return self("Slice", x, np.array([start], np.int64), np.array([end], np.int64), np.array([axis], np.int64))

    def save(self, name, outputs, names):
        value = lambda n, dims: h.make_tensor_value_info(n, T.FLOAT, dims)
        graph = h.make_graph(self.nodes, name, [value("images", (1, 3, SIZE, SIZE))], [value(n, d) for n, d in outputs], self.values)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], producer_name="tern tests")
        model.ir_version = 7
        if names:
            h.set_model_props(model, {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32"})
        checker.check_model(model)
        save(model, os.path.join(folder, name + ".onnx"))


def side_points():
    """Middles of the cells in cells, (2, cells), and strides, (1, cells)."""
    xy = np.array([[x + 0.5, y + 0.5] for _, y, x in CELLS], np.float32).T[None]
    return xy, np.array([[[s for s, _, _ in CELLS]]], np.float32)


def middle_and_size(g, distances):
    """dist2bbox with xywh: (1, 4, cells) of left top right bottom in cells to x y w h in pixels."""
    xy, strides = side_points()
    xy = g.const(xy)
    near = g("Sub", xy, g.cut(distances, 1, 0, 2))
    far = g("Add", xy, g.cut(distances, 1, 2, 4))
    middle = g("Div", g("Add", near, far), np.float32(2))
    return g("Mul", g("Concat", middle, g("Sub", far, near), axis=1), strides)


def yolov6(convs):
    g = Graph()
    flat = g.flat(g.maps(convs), 4 + NC)
    boxes = middle_and_size(g, g("Relu", g.cut(flat, 1, 0, 4)))
    rows = [g("Transpose", x, perm=[0, 2, 1]) for x in (boxes, g("Sigmoid", g.cut(flat, 1, 4, 4 + NC)))]
    g("Concat", rows[0], np.ones((1, len(CELLS), 1), np.float32), rows[1], axis=2, name="outputs")
    g.save("yolov6", [("outputs", (1, len(CELLS), 5 + NC))], False)


def yolov7_maps(g, convs):
    out = []
    for stride, m in zip(STRIDES, g.maps(convs)):
        n = SIZE // stride
        out.append(g("Transpose", g("Reshape", m, np.array([1, 3, 5 + NC, n, n], np.int64)), perm=[0, 1, 3, 4, 2]))
    return out


def yolov7_rows(g, convs):
    rows = []
    for stride, anchors, m in zip(STRIDES, ANCHORS, yolov7_maps(g, convs)):
        n = SIZE // stride
        grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1)[None, None].astype(np.float32)
        y = g("Sigmoid", m)
        xy, wh, rest = g.cut(y, 4, 0, 2), g.cut(y, 4, 2, 4), g.cut(y, 4, 4, 5 + NC)
        xy = g("Mul", g("Add", g("Sub", g("Mul", xy, np.float32(2)), np.float32(0.5)), grid), np.float32(stride))
        wh = g("Mul", g("Pow", g("Mul", wh, np.float32(2)), np.float32(2)), anchors[None, :, None, None].astype(np.float32))
        rows.append(g("Reshape", g("Concat", xy, wh, rest, axis=4), np.array([1, -1, 5 + NC], np.int64)))
    return rows


def yolov7(convs):
    g = Graph()
    g("Concat", *yolov7_rows(g, convs), axis=1, name="output")
    g.save("yolov7", [("output", (1, 3 * len(CELLS), 5 + NC))], False)
    g = Graph()
    outputs = []
    for stride, m in zip(STRIDES, yolov7_maps(g, convs)):
        n = SIZE // stride
        outputs.append((g("Identity", m, name=f"out{stride}"), (1, 3, n, n, 5 + NC)))
    g.save("yolov7-raw", outputs, False)
    g = Graph()
    rows = g("Concat", *yolov7_rows(g, convs), axis=1)
    corners = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    boxes = g("MatMul", g.cut(rows, 2, 0, 4), corners)
    scores = g("Mul", g.cut(rows, 2, 5, 5 + NC), g.cut(rows, 2, 4, 5))
    best = g("ReduceMax", scores, axes=[2], keepdims=1)
    cls = g("Cast", g("ArgMax", scores, axis=2, keepdims=1), to=T.FLOAT)
    apart = g("Add", boxes, g("Mul", cls, np.float32(SIZE)))
    chosen = g("NonMaxSuppression", apart, g("Transpose", best, perm=[0, 2, 1]), np.array([100], np.int64),
               np.array([IOU], np.float32), np.array([CONF], np.float32))
    batch, at = g.cut(chosen, 1, 0, 1), g("Squeeze", g.cut(chosen, 1, 2, 3), np.array([1], np.int64))
    take = lambda x: g("Squeeze", g("Gather", x, at, axis=1), np.array([0], np.int64))
    g("Concat", g("Cast", batch, to=T.FLOAT), take(boxes), take(cls), take(best), axis=1, name="output")
    g.save("yolov7-end", [("output", ("k", 7))], False)


def yolov8_parts(g, convs):
    flat = g.flat(g.maps(convs), 64 + NC)
    bins = g("Reshape", g.cut(flat, 1, 0, 64), np.array([1, 4, 16, len(CELLS)], np.int64))
    bins = g("Softmax", g("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    means = g("Conv", bins, np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    boxes = middle_and_size(g, g("Reshape", means, np.array([1, 4, len(CELLS)], np.int64)))
    return boxes, g("Sigmoid", g.cut(flat, 1, 64, 64 + NC))


def yolov8(convs):
    g = Graph()
    g("Concat", *yolov8_parts(g, convs), axis=1, name="output0")
    g.save("yolov8", [("output0", (1, 4 + NC, len(CELLS)))], True)
    g = Graph()
    boxes, scores = yolov8_parts(g, convs)
    half = g("Div", g.cut(boxes, 1, 2, 4), np.float32(2))
    near, far = g("Sub", g.cut(boxes, 1, 0, 2), half), g("Add", g.cut(boxes, 1, 0, 2), half)
    corners = g("Transpose", g("Concat", near, far, axis=1), perm=[0, 2, 1])
    top, at = g("TopK", g("Reshape", g("Transpose", scores, perm=[0, 2, 1]), np.array([1, -1], np.int64)), np.array([20], np.int64), outputs=2)
    cls, cell = g("Mod", at, np.int64(NC)), g("Div", at, np.int64(NC))
    chosen = g("GatherElements", corners, g("Tile", g("Unsqueeze", cell, np.array([2], np.int64)), np.array([1, 1, 4], np.int64)), axis=1)
    last = np.array([2], np.int64)
    g("Concat", chosen, g("Unsqueeze", top, last), g("Unsqueeze", g("Cast", cls, to=T.FLOAT), last), axis=2, name="output0")
    g.save("yolov10", [("output0", (1, 20, 6))], True)


def yolox(convs):
    g = Graph()
    maps = []
    for m in g.maps(convs):
        maps.append(g("Concat", g.cut(m, 1, 0, 4), g("Sigmoid", g.cut(m, 1, 4, 5 + NC)), axis=1))
    g("Transpose", g.flat(maps, 5 + NC), perm=[0, 2, 1], name="output")
    g.save("yolox", [("output", (1, len(CELLS), 5 + NC))], False)


# ---- the same in NumPy ---------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def values(image, convs, corner=False, scale=1 / 255):
    """What the convolutions give at every cell: (stride, y, x, numbers)."""
    square = np.full((SIZE, SIZE, 3), 114.0)
    top = 0 if corner else 8
    square[top : top + 48] = image[..., ::-1] if corner else image
    for stride, y, x in CELLS:
        mean = square[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].mean((0, 1)) * scale
        w, b = convs[STRIDES.index(stride)]
        yield stride, y, x, w.astype(np.float64) @ mean + b


def boxes_yolov6(image, convs):
    for s, y, x, v in values(image, convs):
        l, t, r, b = np.maximum(v[:4], 0)
        yield [(x + 0.5 - l) * s, (y + 0.5 - t) * s, (x + 0.5 + r) * s, (y + 0.5 + b) * s], 1.0, sigmoid(v[4:])


def boxes_yolov7(image, convs):
    for s, y, x, v in values(image, convs):
        for a, p in enumerate(sigmoid(v).reshape(3, 5 + NC)):
            cx, cy = (2 * p[0] - 0.5 + x) * s, (2 * p[1] - 0.5 + y) * s
            w, h = (2 * p[2:4]) ** 2 * ANCHORS[STRIDES.index(s), a]
            yield [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], p[4], p[5:]


def boxes_yolov8(image, convs):
    for s, y, x, v in values(image, convs):
        e = np.exp(v[:64].reshape(4, 16))
        l, t, r, b = (e * np.arange(16)).sum(1) / e.sum(1)
        yield [(x + 0.5 - l) * s, (y + 0.5 - t) * s, (x + 0.5 + r) * s, (y + 0.5 + b) * s], 1.0, sigmoid(v[64:])


def boxes_yolox(image, convs):
    for s, y, x, v in values(image, convs, corner=True, scale=1.0):
        cx, cy, w, h = (v[0] + x) * s, (v[1] + y) * s, np.exp(v[2]) * s, np.exp(v[3]) * s
        yield [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], sigmoid(v[4]), sigmoid(v[5:])


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union > 0 else 0


class Unclear(Exception):
    """A score or an overlap is so near its limit that rounding would decide."""


def suppress(candidates):
    kept = []
    for objectness, score, cls, box in sorted(((o, float(o * max(c)), int(np.argmax(c)), b) for b, o, c in candidates), key=lambda r: -r[1]):
        if abs(score - CONF) < 2e-3 or abs(objectness - CONF) < 2e-3:
            raise Unclear
        if score < CONF or objectness < CONF:
            continue
        over = [overlap(box, k[2]) for k in kept if k[1] == cls]
        if any(abs(o - IOU) < 5e-3 for o in over):
            raise Unclear
        if not any(o > IOU for o in over):
            kept.append((score, cls, box))
    return kept


def best(candidates, k=20):
    pairs = sorted(((float(s), cls, b) for b, _, c in candidates for cls, s in enumerate(c)), key=lambda r: -r[0])
    if abs(pairs[k - 1][0] - pairs[k][0]) < 1e-3 or any(abs(p[0] - CONF) < 2e-3 for p in pairs):
        raise Unclear
    return [p for p in pairs[:k] if p[0] > CONF]


def write_boxes(name, found, corner=False):
    with open(os.path.join(folder, name + ".txt"), "w") as f:
        for score, cls, (x1, y1, x2, y2) in found:
            top = 0 if corner else 8
            x1, x2 = np.clip([x1, x2], 0, 64)
            y1, y2 = np.clip([y1 - top, y2 - top], 0, 48)
            f.write(f"{x1:.3f} {y1:.3f} {x2:.3f} {y2:.3f} {score:.5f} {cls}\n")


# ---- all of them ---------------------------------------------------------------------------------------------------------


def make_convs(rng, spread, shift, scale=1.0):
    """Weights of the 1 x 1 convolutions: `spread` and `shift` per output channel."""
    n = len(spread)
    return [((rng.standard_normal((n, 3)) * np.array(spread)[:, None] * scale).astype(np.float32), np.array(shift, np.float32) +
             (rng.standard_normal(n) * 0.2).astype(np.float32)) for _ in STRIDES]


def attempt(image, spread, shift, find, least, scale=1.0):
    """The first weights with which nothing is near a limit and enough boxes are found."""
    for seed in range(500):
        convs = make_convs(np.random.default_rng(seed), spread, shift, scale)
        try:
            found = find(convs)
        except Unclear:
            continue
        if len(found) >= least and len({f[1] for f in found}) > 1:
            return convs, found
    raise SystemExit("no weights were found")


def main():
    image = picture()
    write_png(os.path.join(folder, "picture.png"), image)
    convs, found = attempt(image, [1] * 4 + [5] * NC, [1] * 4 + [-2] * NC, lambda c: suppress(boxes_yolov6(image, c)), 5)
    yolov6(convs)
    write_boxes("yolov6", found)
    per_anchor = [1] * 4 + [4] * (1 + NC), [0] * 4 + [-1] + [0] * NC
    convs, found = attempt(image, per_anchor[0] * 3, per_anchor[1] * 3, lambda c: suppress(boxes_yolov7(image, c)), 6)
    yolov7(convs)
    for name in ("yolov7", "yolov7-raw", "yolov7-end"):
        write_boxes(name, found)
    both = lambda c: (best(list(boxes_yolov8(image, c))), suppress(boxes_yolov8(image, c)))[1]
    falling = [-0.5 * i for i in range(16)] * 4
    convs, found = attempt(image, [1] * 64 + [5] * NC, falling + [-2] * NC, both, 5)
    yolov8(convs)
    write_boxes("yolov8", found)
    write_boxes("yolov10", best(list(boxes_yolov8(image, convs))))
    convs, found = attempt(image, [0.3, 0.3, 0.5, 0.5] + [4] * (1 + NC), [0.5, 0.5, 0.5, 0.5, 0] + [0] * NC,
                           lambda c: suppress(boxes_yolox(image, c)), 5, scale=1 / 255)
    yolox(convs)
    write_boxes("yolox", found, corner=True)


main()
