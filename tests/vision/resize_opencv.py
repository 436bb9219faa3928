"""Compare test_resize --pipe with OpenCV on random pictures and sizes; prints TAP. Usage: resize_opencv.py PROGRAM"""
import subprocess
import sys

import cv2
import numpy as np

LINEAR, AREA = 1, 2
STRETCH, CROP, LETTERBOX = 0, 1, 2
rng = np.random.RandomState(7)
tern = subprocess.Popen([sys.argv[1], "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
number = 0


def ours(a, w, h, fit, side, method):
    tern.stdin.write(b"%d %d %d %d %d %d %d\n" % (a.shape[1], a.shape[0], w, h, fit, side, method) + a.tobytes())
    tern.stdin.flush()
    return np.frombuffer(tern.stdout.read(w * h * 3), np.uint8).reshape(h, w, 3).astype(int)


def report(good, name):
    global number
    number += 1
    print(f"{'ok' if good else 'not ok'} {number} - {name}")


def sizes(count):
    """Up, down, mixed, exact halves and whole factors."""
    for i in range(count):
        w, h, W, H = (int(v) for v in rng.randint(1, 90, 4))
        if i % 3 == 0: w, h = w * 5, h * 5
        if i % 10 == 1: w, h = 2 * W, 2 * H
        if i % 10 == 2: w, h = 3 * W, 4 * H
        yield rng.randint(0, 256, (h, w, 3)).astype(np.uint8), W, H


def letterbox(a, w, h):
    """The documented rule: scale to fit, round, split the bars with the odd pixel at the end."""
    r = min(h / a.shape[0], w / a.shape[1])
    nw, nh = max(1, round(a.shape[1] * r)), max(1, round(a.shape[0] * r))
    a = cv2.resize(a, (nw, nh), interpolation=cv2.INTER_LINEAR) if (nw, nh) != (a.shape[1], a.shape[0]) else a
    dw, dh = (w - nw) / 2, (h - nh) / 2
    return cv2.copyMakeBorder(a, round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1), cv2.BORDER_CONSTANT,
                              value=(114, 114, 114))


worst = {LINEAR: 0, AREA: 0}
boxes = True
for a, W, H in sizes(400):
    for method, flag in ((LINEAR, cv2.INTER_LINEAR), (AREA, cv2.INTER_AREA)):
        want = cv2.resize(a, (W, H), interpolation=flag)
        worst[method] = max(worst[method], int(np.abs(ours(a, W, H, STRETCH, 0, method) - want).max()))
    box = letterbox(a, W, H)
    boxes = boxes and box.shape == (H, W, 3) and np.abs(ours(a, W, H, LETTERBOX, 0, LINEAR) - box).max() <= 1
print("1..3")
report(worst[LINEAR] <= 1, f"INTER_LINEAR of OpenCV {cv2.__version__}: largest difference {worst[LINEAR]}")
report(worst[AREA] <= 2, f"INTER_AREA: largest difference {worst[AREA]}")
report(boxes, "letterbox")
tern.stdin.close()
sys.exit(tern.wait() != 0)
