#!/usr/bin/python3
"""opencv.py MODEL THREADS SECONDS: times a model in OpenCV's dnn module (Debian's python3-opencv).

Prints `version X`, `load MS` and the milliseconds of each run, as bench/run.py wants it (docs/testing.md).
"""
import os
import re
import sys
import time

import cv2
import numpy as np


def make_input(model, shape):
    """The input beside the model where there is one, else random numbers in [-1, 1)."""
    npy = model.removesuffix(".onnx") + ".in.npy"
    if os.path.exists(npy):
        return np.load(npy)
    if not shape:
        sys.exit("TERN_BENCH_SHAPE is not set")
    dims = [int(d) for d in shape.split("x")]
    return np.random.default_rng(1).uniform(-1, 1, dims).astype(np.float32)


def main(model, threads, seconds):
    print("version", cv2.__version__)
    cv2.setNumThreads(int(threads))
    begin = time.perf_counter()
    net = cv2.dnn.readNetFromONNX(model)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    print("load", (time.perf_counter() - begin) * 1e3)
    x = make_input(model, os.environ.get("TERN_BENCH_SHAPE"))
    outputs = net.getUnconnectedOutLayersNames()

    def run():
        t = time.perf_counter()
        net.setInput(x)
        net.forward(outputs)
        return (time.perf_counter() - t) * 1e3

    run()  # warm-up
    times = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < float(seconds):
        times.append(run())
    print("\n".join(str(t) for t in times))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except cv2.error as e:
        node = re.search(r"Node \[(\w+)@[^(]*\(onnx_node!([^)]*)\)", str(e))
        sys.exit(f"does not take node {node[2]} ({node[1]})" if node else " ".join(str(e).split())[:160])
