"""Writes tests/data/detect/*.onnx: networks of a few nodes that find the same boxes in every picture. Needs python3-onnx.

    python3 tests/data/make_detector.py
"""
import os

import numpy as np
from onnx import TensorProto as T, checker, helper as h, numpy_helper as nh, save

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "detect")


def write(name, rows, total, metadata, dims=(1, 3, 64, 64)):
    """`rows` at the start of `total` rows of zeros; the picture only adds 0."""
    rows = np.asarray(rows, np.float32)[None]
    pads = np.array([0, 0, 0, 0, total - rows.shape[1], 0], np.int64)
    nodes = [
        h.make_node("Pad", ["rows", "pads"], ["boxes"]),
        h.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        h.make_node("Mul", ["mean", "zero"], ["nothing"]),
        h.make_node("Add", ["boxes", "nothing"], ["output0"]),
    ]
    values = [nh.from_array(rows, "rows"), nh.from_array(pads, "pads"), nh.from_array(np.float32(0), "zero")]
    graph = h.make_graph(
        nodes,
        name,
        [h.make_tensor_value_info("images", T.FLOAT, dims)],
        [h.make_tensor_value_info("output0", T.FLOAT, (1, total, rows.shape[2]))],
        values,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], producer_name="tern tests")
    model.ir_version = 7
    h.set_model_props(model, metadata)
    checker.check_model(model)
    save(model, os.path.join(folder, name + ".onnx"))


names = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32"}
# x y w h objectness cat dog; the second overlaps the first, the third is another class
boxes = [[32, 32, 32, 16, 0.9, 0.8, 0.1], [33, 32, 32, 16, 0.8, 0.8, 0.1], [32, 33, 32, 16, 0.7, 0.2, 0.9]]
write("plain", boxes, 3 * (64 + 16 + 4), names)
write("nameless", boxes, 3 * (64 + 16 + 4), {})
face = [[32, 32, 32, 32, 0.9, 24, 24, 40, 24, 32, 32, 26, 40, 38, 40, 0.9]]
write("face", face, 3 * (64 + 16 + 4), {"names": "{0: 'face'}", "stride": "32"})
write("free", boxes, 3 * (64 + 16 + 4), names, (1, 3, "height", "width"))
