"""yolo_opencv.py TERN FOLDER: converts each checkpoint of the set with raw heads; the ONNX checker must pass the file
and OpenCV must compute the reference's values from it. Prints TAP."""
import glob
import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import onnx

tern, folder = sys.argv[1:]
cases = sorted(glob.glob(folder + "/cases/*"))
print(f"1..{len(cases)}")
bad = 0


def difference(case, path):
    """Largest difference of OpenCV's outputs from the references."""
    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(np.load(case + "/input.npy"))
    names = [o.name for o in onnx.load(path).graph.output]
    worst, level = 0, 0
    for name, got in zip(names, net.forward(names)):
        if name == "proto":
            want = np.load(case + "/proto.npy")
        else:
            want = np.load(f"{case}/raw_{level}.npy")
            level += 1
        assert got.size == want.size, f"{name}: {got.shape} for {want.shape}"
        worst = max(worst, float(np.abs(got.reshape(-1) - want.reshape(-1)).max()))
    return worst


def check(case):
    """What is wrong; empty when nothing is."""
    checkpoint = sorted(glob.glob(case + "/*.pt"))[0]
    height, width = np.load(case + "/input.npy").shape[2:]
    tolerance = json.load(open(case + "/meta.json"))["tolerance_raw"]
    with tempfile.TemporaryDirectory() as scratch:
        path = scratch + "/model.onnx"
        command = [tern, "convert", checkpoint, "-o", path, "--size", f"{width}x{height}"]
        for head in ("decoded", "nms", "raw"):
            done = subprocess.run(command + ["--head", head], capture_output=True, text=True, timeout=60)
            if done.returncode:
                if head == "nms" and "no boxes" in done.stderr:
                    continue
                return done.stderr.strip()
            onnx.checker.check_model(path, full_check=True)
        worst = difference(case, path)
        return "" if worst <= 10 * tolerance else f"off by {worst:.3g}"


for number, case in enumerate(cases):
    try:
        wrong = check(case)
    except Exception as problem:  # pylint: disable=broad-except
        wrong = str(problem).replace("\n", " ")[-300:]
    name = os.path.basename(case)
    print(f"{'not ok' if wrong else 'ok'} {number + 1} - {name} in OpenCV" + (f": {wrong}" if wrong else ""), flush=True)
    bad += bool(wrong)
sys.exit(bad > 0)
