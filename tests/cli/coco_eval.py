"""coco_eval.py TERN MODEL SCENES: the numbers of `tern eval --coco` against those of tools/train/coco_map.py, and of
pycocotools where that is installed, on the same detections. Prints TAP."""
import contextlib
import io
import json
import math
import os
import random
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "train"))
import coco_map  # noqa: E402

try:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ImportError:
    COCO = None

tern, model, scenes = sys.argv[1:]
TOLERANCE = 1e-9  # sums of at most 101 * 10 * 10 numbers of at most 1, in double precision, in another order


def as_they_are(data, rng):
    """The data set itself."""


def with_crowds(data, rng):
    """Some boxes become crowds, twice as large; some objects are smaller than their boxes, or have no area entry."""
    for a in data["annotations"]:
        kind = rng.random()
        if kind < 0.2:
            x, y, w, h = a["bbox"]
            a.update(iscrowd=1, bbox=[x - w / 2, y - h / 2, w * 2, h * 2], area=4 * w * h)
        elif kind < 0.5:
            a["area"] *= rng.random()
        elif kind < 0.6 and COCO is None:
            del a["area"]


def with_gaps(data, rng):
    """Objects are missing or moved, ids have gaps and no order, categories have other ids, one is empty."""
    data["annotations"] = [a for a in data["annotations"] if rng.random() < 0.7]
    for a in data["annotations"]:
        a["bbox"] = [v + rng.uniform(0, 6) for v in a["bbox"]]
        a["image_id"] = 1000 - 7 * a["image_id"]
        a["category_id"] = 90 - 3 * a["category_id"]
    for i in data["images"]:
        i["id"] = 1000 - 7 * i["id"]
    for c in data["categories"]:
        c["id"] = 90 - 3 * c["id"]
    data["categories"].append({"id": 500, "name": "nothing of this kind"})
    rng.shuffle(data["images"])
    rng.shuffle(data["annotations"])


VARIANTS = [  # options beside those of the data set
    (as_they_are, []),
    (as_they_are, ["--conf", "0.3", "--iou", "0.45"]),
    (with_crowds, []),
    # More than 100 detections of a class in a picture.
    (with_crowds, ["--conf", "0", "--iou", "1", "--max-det", "3000"]),
    (with_gaps, []),
]


def by_pycocotools(truths, found):
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO(truths)
        judge = COCOeval(data, data.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(("mAP50_95", "mAP50", "mAP75", "small", "medium", "large"),
                    (float("nan") if v == -1 else float(v) for v in judge.stats[:6])))


def differences(have, want):
    """Names of the numbers that differ; None and NaN mean that there is none."""
    bad = []
    for name, value in want.items():
        mine = have[name] if name in have else have["mAP50_95_" + name]
        if (mine is None) != math.isnan(value) or (mine is not None and abs(mine - value) > TOLERANCE):
            bad.append(f"{name}: {mine}, not {value}")
    return bad


def check(change, options, scratch):
    with open(os.path.join(scenes, "annotations.json"), encoding="utf-8") as f:
        data = json.load(f)
    change(data, random.Random(4))
    truths, found = os.path.join(scratch, "truths.json"), os.path.join(scratch, "found.json")
    with open(truths, "w", encoding="utf-8") as f:
        json.dump(data, f)
    command = [tern, "eval", "--coco", truths, model, scenes, "--json", "--det-json", found] + options
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or done.stderr:
        return [f"exit code {done.returncode}: {done.stderr.strip()}"], 0
    have = json.loads(done.stdout)
    with open(found, encoding="utf-8") as f:
        detections = json.load(f)
    want = coco_map.evaluate(data, detections)
    classes = want.pop("classes")
    bad = differences(have, want)
    for entry in have["classes"]:
        ap50, ap = classes[entry["id"]]
        bad += [f"{entry['name']}, {d}" for d in differences(entry, {"AP50": ap50, "AP50_95": ap})]
    if len(have["classes"]) != len(data["categories"]) or have["images"] != len(data["images"]):
        bad.append("another number of classes or images")
    if COCO is not None:
        bad += ["pycocotools: " + d for d in differences(have, by_pycocotools(truths, found))]
    return bad, len(detections)


print(f"1..{len(VARIANTS)}")
failed = False
for number, (change, options) in enumerate(VARIANTS, 1):
    with tempfile.TemporaryDirectory() as scratch:
        bad, count = check(change, options, scratch)
    if not count:
        bad.append("nothing was detected")
    failed |= bool(bad)
    name = " ".join([change.__name__.replace("_", " ")] + options)
    print(f"{'not ok' if bad else 'ok'} {number} - {name}: {count} detections" +
          (", as pycocotools" if COCO is not None else ""))
    for line in bad[:20]:
        print("# " + line)
sys.exit(failed)
