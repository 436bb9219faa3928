"""Writes tests/data/mmcv: cases of the operators that OpenMMLab's exporters write, in ONNX's form, with the results of
PyTorch and torchvision or of plain numpy. Needs Debian's python3-onnx, python3-torch and python3-torchvision."""
import os

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import torchvision.ops as tv
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mmcv")
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
rng = np.random.RandomState(5)


def write(name, domain, op, inputs, outputs, **attrs):
    """One node; dims of the outputs are left to inference."""
    folder = os.path.join(HERE, name)
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    names_in = [f"x{i}" for i in range(len(inputs))]
    names_out = [f"y{i}" for i in range(len(outputs))]
    node = helper.make_node(op, names_in, names_out, name=name, domain=domain, **attrs)
    graph = helper.make_graph([node], name,
                              [helper.make_tensor_value_info(n, TYPES[v.dtype], v.shape) for n, v in zip(names_in, inputs)],
                              [helper.make_tensor_value_info(n, TYPES[v.dtype], None) for n, v in zip(names_out, outputs)])
    model = helper.make_model(graph, ir_version=8, producer_name="tests",
                              opset_imports=[helper.make_opsetid("", 11), helper.make_opsetid(domain, 1)])
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for what, values in (("input", inputs), ("output", outputs)):
        for i, v in enumerate(values):
            with open(os.path.join(data, f"{what}_{i}.pb"), "wb") as f:
                f.write(numpy_helper.from_array(np.ascontiguousarray(v)).SerializeToString())


def uniform(*shape, low=-1, high=1):
    return rng.uniform(low, high, shape).astype(np.float32)


def t(x):
    return torch.from_numpy(x)


# ---- grid_sampler: torch.nn.functional.grid_sample
x, grid = uniform(2, 2, 4, 5), uniform(2, 3, 4, 2, low=-1.4, high=1.4)
for m, mode in enumerate(("bilinear", "nearest", "bicubic")):
    for p, padding in enumerate(("zeros", "border", "reflection")):
        for align in (0, 1):
            y = F.grid_sample(t(x), t(grid), mode, padding, bool(align)).numpy()
            write(f"grid_sampler_{mode}_{padding}_{align}", "mmcv", "grid_sampler", [x, grid], [y], interpolation_mode=m,
                  padding_mode=p, align_corners=align)
write("grid_sampler_mmdeploy", "mmdeploy", "grid_sampler", [x, grid],
      [F.grid_sample(t(x), t(grid), "bilinear", "zeros", False).numpy()], interpolation_mode=0, padding_mode=0, align_corners=0)

# ---- deformable convolution: torchvision.ops.deform_conv2d
for name, domain, modulated, stride, padding, dilation, groups, deform, attrs in (
        ("deform_conv", "mmcv", False, (1, 1), (1, 1), (1, 1), 1, 1, {"padding": [1, 1], "groups": 1, "deform_groups": 1}),
        ("deform_conv_groups", "mmcv", False, (2, 1), (0, 2), (1, 2), 2, 2, {"padding": [0, 2], "group": 2, "deformable_group": 2}),
        ("deform_conv_mmdeploy", "mmdeploy", False, (1, 2), (2, 1), (1, 1), 1, 2, {"padding": [2, 2, 1, 1], "groups": 1, "deform_groups": 2}),
        ("modulated_deform_conv", "mmcv", True, (1, 1), (1, 1), (1, 1), 1, 1, {"padding": [1, 1], "groups": 1, "deform_groups": 1}),
        ("modulated_deform_conv_groups", "mmdeploy", True, (2, 2), (1, 0), (2, 1), 2, 4, {"padding": [1, 0], "groups": 2, "deformable_groups": 4})):
    x, w, bias = uniform(2, 4, 6, 7), uniform(6, 4 // groups, 3, 3), uniform(6)
    h = [(n + 2 * p - d * 2 - 1) // s + 1 for n, p, d, s in zip((6, 7), padding, dilation, stride)]
    offset, mask = uniform(2, deform * 18, *h, low=-2, high=2), uniform(2, deform * 9, *h, low=0)
    y = tv.deform_conv2d(t(x), t(offset), t(w), t(bias) if modulated else None, stride, padding, dilation,
                         t(mask) if modulated else None).numpy()
    write(name, domain, "MMCVModulatedDeformConv2d" if modulated else "MMCVDeformConv2d",
          [x, offset, mask, w, bias] if modulated else [x, offset, w], [y], stride=list(stride), dilation=list(dilation), **attrs)

# ---- MMCVRoiAlign: torchvision.ops.roi_align; max and rotation by numpy


def bilinear(plane, y, x):
    h, w = plane.shape
    if y < -1 or y > h or x < -1 or x > w:
        return 0.0
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = int(min(y, h - 1)), int(min(x, w - 1))
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    fy, fx = y - y0, x - x0
    return (plane[y0, x0] * (1 - fy) * (1 - fx) + plane[y0, x1] * (1 - fy) * fx + plane[y1, x0] * fy * (1 - fx)
            + plane[y1, x1] * fy * fx)


def align(x, rois, out, scale, ratio, aligned, reduce, clockwise=False):
    """rois: (image, cx, cy, w, h, angle) in the image's pixels."""
    y = np.zeros((len(rois), x.shape[1]) + out)
    for r, (image, cx, cy, w, h, angle) in enumerate(rois):
        shift = 0.5 if aligned else 0
        cx, cy, w, h = cx * scale - shift, cy * scale - shift, w * scale, h * scale
        angle = -angle if clockwise else angle
        if not aligned:
            w, h = max(w, 1), max(h, 1)
        bh, bw = h / out[0], w / out[1]
        nh, nw = (ratio, ratio) if ratio else (int(np.ceil(bh)), int(np.ceil(bw)))
        for ph in range(out[0]):
            for pw in range(out[1]):
                points = []
                for iy in range(nh):
                    for ix in range(nw):
                        yy, xx = -h / 2 + ph * bh + (iy + .5) * bh / nh, -w / 2 + pw * bw + (ix + .5) * bw / nw
                        points.append((yy * np.cos(angle) - xx * np.sin(angle) + cy, yy * np.sin(angle) + xx * np.cos(angle) + cx))
                for c in range(x.shape[1]):
                    values = [bilinear(x[int(image), c].astype(np.float64), *p) for p in points]
                    y[r, c, ph, pw] = reduce(values) if values else 0
    return y.astype(np.float32)


x = uniform(2, 3, 10, 12)
rois = np.array([[0, 1, 2, 17, 13], [1, 4.5, 3.25, 9, 19], [1, 0, 0, 3, 1], [0, -4, -2, 30, 8]], np.float32)
for aligned in (0, 1):
    for ratio in (0, 2):
        y = tv.roi_align(t(x), t(rois), (3, 2), 0.5, ratio or -1, bool(aligned)).numpy()
        write(f"roi_align_{aligned}_{ratio}", "mmcv", "MMCVRoiAlign", [x, rois], [y], output_height=3, output_width=2, spatial_scale=0.5,
              sampling_ratio=ratio, mode="avg", aligned=aligned)
centers = np.stack([rois[:, 0], (rois[:, 1] + rois[:, 3]) / 2, (rois[:, 2] + rois[:, 4]) / 2, rois[:, 3] - rois[:, 1],
                    rois[:, 4] - rois[:, 2], 0 * rois[:, 0]], 1)
write("roi_align_max", "mmcv", "MMCVRoiAlign", [x, rois], [align(x, centers, (3, 2), 0.5, 2, True, max)], output_height=3,
      output_width=2, spatial_scale=0.5, sampling_ratio=2, mode="max", aligned=1)
rotated = np.array([[0, 9, 8, 12, 6, 0.4], [1, 12, 10, 9, 14, -1.2], [1, 3, 3, 8, 8, 2.0]], np.float32)
for name, domain, op, ratio, aligned, clockwise in (("roi_align_rotated", "mmcv", "MMCVRoIAlignRotated", 2, 1, 0),
                                                     ("roi_align_rotated_clockwise", "mmdeploy", "MMCVRoIAlignRotated", 0, 1, 1),
                                                     ("roi_align_rotated_legacy", "mmdeploy", "RoIAlignRotated", 2, 0, 0)):
    write(name, domain, op, [x, rotated], [align(x, rotated, (2, 3), 0.5, ratio, bool(aligned), np.mean, bool(clockwise))], output_height=2,
          output_width=3, spatial_scale=0.5, sampling_ratio=ratio, aligned=aligned, clockwise=clockwise)

# ---- suppression: torchvision.ops.nms; the others by numpy
boxes = np.concatenate([c := uniform(30, 2, low=0, high=20), c + uniform(30, 2, low=2, high=12)], 1)
scores = uniform(30, low=0)
write("nms", "mmcv", "NonMaxSuppression", [boxes, scores], [tv.nms(t(boxes), t(scores), 0.3).numpy()], iou_threshold=0.3, offset=0)


def iou(a, b, offset=0):
    w = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area = lambda q: (q[2] - q[0] + offset) * (q[3] - q[1] + offset)
    return w * h / (area(a) + area(b) - w * h)


def greedy(scores, overlap, threshold):
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(overlap(k, i) <= threshold for k in kept):
            kept.append(i)
    return kept


kept = greedy(scores, lambda i, k: iou(boxes[i], boxes[k], 1), 0.4)
write("nms_offset", "mmcv", "NonMaxSuppression", [boxes, scores], [np.array(kept, np.int64)], iou_threshold=0.4, offset=1)


def soft(method, threshold=0.3, sigma=0.5, min_score=0.05):
    live, s, rows, index = list(range(len(scores))), scores.astype(np.float64).copy(), [], []
    while live:
        best = max(live, key=lambda i: s[i])
        live.remove(best)
        rows.append(list(boxes[best]) + [s[best]])
        index.append(best)
        for i in live:
            o = iou(boxes[best].astype(np.float64), boxes[i].astype(np.float64))
            s[i] *= np.exp(-o * o / sigma) if method == 2 else 1 if o < threshold else 1 - o if method == 1 else 0
        live = [i for i in live if s[i] >= min_score]
    return [np.array(rows, np.float32), np.array(index, np.int64)]


for method in range(3):
    write(f"soft_nms_{method}", "mmcv", "SoftNonMaxSuppression", [boxes, scores], soft(method), iou_threshold=0.3, sigma=0.5, min_score=0.05,
          method=method, offset=0)


def raster_iou(a, b, n=400):
    """Overlap of rotated boxes by counting points of a fine grid: near enough to a threshold that no pair is close to."""
    ys, xs = np.meshgrid(np.linspace(-15, 35, n), np.linspace(-15, 35, n), indexing="ij")

    def inside(q):
        dx, dy, c, s = xs - q[0], ys - q[1], np.cos(q[4]), np.sin(q[4])
        return (abs(dx * c + dy * s) <= q[2] / 2) & (abs(-dx * s + dy * c) <= q[3] / 2)
    i, k = inside(a), inside(b)
    return (i & k).sum() / (i | k).sum()


rb = np.concatenate([uniform(2, 12, 2, low=3, high=17), uniform(2, 12, 2, low=4, high=12), uniform(2, 12, 1, low=-3, high=3)], 2)
rs = uniform(2, 2, 12, low=0)
rows = []
for b in range(2):
    pairs = {(i, k): raster_iou(rb[b, i], rb[b, k]) for i in range(12) for k in range(i)}
    assert all(abs(v - 0.25) > 0.005 for v in pairs.values()), pairs
    for cls in range(2):
        kept = greedy(rs[b, cls], lambda i, k: pairs[max(i, k), min(i, k)], 0.25)
        rows += [[b, cls, i] for i in kept if rs[b, cls, i] > 0.1]
write("nms_rotated", "mmdeploy", "NMSRotated", [rb, rs], [np.array(rows, np.int64)], iou_threshold=0.25, score_threshold=0.1)

mb, ms = boxes.reshape(2, 15, 4), uniform(2, 2, 15, low=0)
rows = []
for b in range(2):
    for cls in range(2):
        order = sorted(range(15), key=lambda i: -ms[b, cls, i])
        while order:
            top, rest = order[0], []
            for k in order[1:]:
                if iou(mb[b, top], mb[b, k]) < 0.2:
                    rest.append(k)
                elif ms[b, cls, top] > 0.3:
                    rows.append([b, cls, top, k])
            order = rest
write("nms_match", "mmdeploy", "NMSMatch", [mb, ms, np.array([0.2], np.float32), np.array([0.3], np.float32)], [np.array(rows, np.int64)])

# ---- running extremes: torch.cummax, torch.cummin, accumulate
x = np.round(uniform(2, 3, 4, 5), 1)
for dim in (0, 2, -1):
    write(f"cummax_{dim}", "mmcv", "cummax", [x], [v.numpy() for v in torch.cummax(t(x), dim)], dim=dim)
    write(f"cummin_{dim}", "mmcv", "cummin", [x], [v.numpy() for v in torch.cummin(t(x), dim)], dim=dim)
for mode, (axis, back) in enumerate(((2, True), (2, False), (3, True), (3, False))):
    y = np.flip(np.maximum.accumulate(np.flip(x, axis), axis), axis) if back else np.maximum.accumulate(x, axis)
    write(f"corner_pool_{mode}", "mmcv", "MMCVCornerPool", [x], [y], mode=mode)

# ---- MMCVMultiScaleDeformableAttention: grid_sample for each level
n, heads, dim, queries, points, sizes = 2, 2, 3, 4, 3, [(4, 5), (2, 3)]
value = uniform(n, sum(h * w for h, w in sizes), heads, dim)
locations, weights = uniform(n, queries, heads, 2, points, 2, low=-0.1, high=1.1), uniform(n, queries, heads, 2, points, low=0)
y, start, starts = 0, 0, []
for l, (h, w) in enumerate(sizes):
    starts.append(start)
    plane = t(value[:, start:start + h * w]).permute(0, 2, 3, 1).reshape(n * heads, dim, h, w)
    at = t(locations[:, :, :, l]).transpose(1, 2).reshape(n * heads, queries, points, 2) * 2 - 1
    sampled = F.grid_sample(plane, at, "bilinear", "zeros", False)  # (n * heads, dim, queries, points)
    y = y + (sampled * t(weights[:, :, :, l]).transpose(1, 2).reshape(n * heads, 1, queries, points)).sum(-1)
    start += h * w
y = y.reshape(n, heads * dim, queries).transpose(1, 2).numpy()
write("deform_attention", "mmdeploy", "MMCVMultiScaleDeformableAttention",
      [value, np.array(sizes, np.int64), np.array(starts, np.int64), locations, weights], [y], im2col_step=64)
