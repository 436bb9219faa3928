#!/usr/bin/env python3
"""Average precision as COCO defines it, in numpy: what `tern eval --coco` is compared with.

    /usr/bin/python3 tools/train/coco_map.py ANNOTATIONS.json DETECTIONS.json

Written from the definition (https://cocodataset.org/#detection-eval, and T.-Y. Lin et al., "Microsoft COCO: Common
Objects in Context", 2014), image by image and without any shortcut:

- per class and picture, the 100 best detections in order of their scores; each takes the ground truth of the highest
  IoU, at least the threshold, that no earlier one took. Boxes with `iscrowd` may be taken any number of times, only
  where no other box is left, with intersection over the detection's own area; what takes them is not counted.
- precision at each recall is the best precision at this recall or a higher one; AP is its mean at the recalls 0, 0.01,
  ..., 1; mAP the mean over the classes that have ground truth, and over the thresholds 0.5, 0.55, ..., 0.95.
- area ranges: ground truth outside of the range is ignored, and so are detections outside of it that take nothing.
"""
import json
import sys

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {"all": (0, 1e10), "small": (0, 32 ** 2), "medium": (32 ** 2, 96 ** 2), "large": (96 ** 2, 1e10)}
MAX_DETECTIONS = 100


def iou_matrix(dets, truths, crowd):
    """IoU of boxes (x, y, w, h): (n, 4) and (m, 4) to (n, m)."""
    if len(dets) == 0 or len(truths) == 0:
        return np.zeros((len(dets), len(truths)))
    d, t = np.asarray(dets, float)[:, None], np.asarray(truths, float)[None]
    w = np.minimum(d[..., 0] + d[..., 2], t[..., 0] + t[..., 2]) - np.maximum(d[..., 0], t[..., 0])
    h = np.minimum(d[..., 1] + d[..., 3], t[..., 1] + t[..., 3]) - np.maximum(d[..., 1], t[..., 1])
    inter = np.clip(w, 0, None) * np.clip(h, 0, None)
    own = d[..., 2] * d[..., 3]
    union = np.where(np.asarray(crowd, bool)[None], own, own + t[..., 2] * t[..., 3] - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def match(dets, truths, threshold, area):
    """Of a picture and class: for each detection 1 (right), 0 (wrong) or -1 (ignored); number of truths that count."""
    low, high = area
    ignored = [bool(t["iscrowd"]) or not low <= t["area"] <= high for t in truths]
    ious = iou_matrix([d["bbox"] for d in dets], [t["bbox"] for t in truths], [t["iscrowd"] for t in truths])
    taken, results = set(), []
    for i, d in enumerate(dets):
        best = None
        for wanted in (False, True):  # those that are ignored only when no other fits
            limit = min(threshold, 1 - 1e-10)
            for k, t in enumerate(truths):
                if ignored[k] != wanted or (k in taken and not t["iscrowd"]) or ious[i, k] < limit:
                    continue
                best, limit = k, ious[i, k]
            if best is not None:
                break
        if best is not None:
            taken.add(best)
            results.append(-1 if ignored[best] else 1)
        else:
            size = d["bbox"][2] * d["bbox"][3]
            results.append(0 if low <= size <= high else -1)
    return results, len(truths) - sum(ignored)


def average_precision(scores, results, positives):
    """NaN without ground truth."""
    if positives == 0:
        return float("nan")
    order = np.argsort(-np.asarray(scores, float), kind="mergesort")
    results = np.asarray(results, int)[order]
    results = results[results >= 0]
    right, wrong = np.cumsum(results == 1), np.cumsum(results == 0)
    recall, precision = right / positives, right / np.maximum(right + wrong, 1)
    return float(np.mean([precision[recall >= r].max(initial=0) for r in RECALLS]))


def evaluate(annotations, detections):
    """annotations: a COCO data set; detections: [{"image_id", "category_id", "bbox": [x, y, w, h], "score"}].

    Returns {"mAP50", "mAP75", "mAP50_95", "small", "medium", "large", "classes": {id: (AP50, AP50_95)}}; NaN where there
    is no ground truth."""
    truths, found = {}, {}
    for a in annotations["annotations"]:
        entry = {"bbox": a["bbox"], "iscrowd": a.get("iscrowd", 0), "area": a.get("area", a["bbox"][2] * a["bbox"][3])}
        truths.setdefault((a["category_id"], a["image_id"]), []).append(entry)
    for d in detections:
        found.setdefault((d["category_id"], d["image_id"]), []).append(d)
    categories = [c["id"] for c in annotations["categories"]]
    pictures = sorted({i["id"] for i in annotations["images"]})
    ap = {}
    for name, area in AREAS.items():
        ap[name] = np.full((len(categories), len(THRESHOLDS)), np.nan)
        for c, category in enumerate(categories):
            for t, threshold in enumerate(THRESHOLDS):
                scores, results, positives = [], [], 0
                for picture in pictures:
                    dets = sorted(found.get((category, picture), []), key=lambda d: -d["score"])[:MAX_DETECTIONS]
                    r, n = match(dets, truths.get((category, picture), []), threshold, area)
                    scores += [d["score"] for d in dets]
                    results += r
                    positives += n
                ap[name][c, t] = average_precision(scores, results, positives)

    def mean(x):
        x = x[~np.isnan(x)]
        return float(x.mean()) if x.size else float("nan")

    return {"mAP50": mean(ap["all"][:, 0]), "mAP75": mean(ap["all"][:, 5]), "mAP50_95": mean(ap["all"]),
            **{name: mean(ap[name]) for name in ("small", "medium", "large")},
            "classes": {c: (float(ap["all"][i, 0]), mean(ap["all"][i])) for i, c in enumerate(categories)}}


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        annotations = json.load(f)
    with open(sys.argv[2], encoding="utf-8") as f:
        detections = json.load(f)
    print(json.dumps(evaluate(annotations, detections), indent=1))


if __name__ == "__main__":
    main()
