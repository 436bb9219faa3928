#!/usr/bin/env python3
"""Scenes with clothes at known places, for training and measuring detectors.

    apt install python3-opencv python3-numpy dataset-fashion-mnist
    /usr/bin/python3 tools/train/fashion_scenes.py DIR [--count 500]

writes held-out scenes: DIR/scene-000.jpg, ... and DIR/annotations.json with their boxes in COCO's format. Scene k is
the same whatever the count. Pictures of Fashion-MNIST (Zalando SE, MIT licence) are cut out, scaled, tinted and put at
random places on smooth backgrounds, where they may hide up to 15 % of each other.

    /usr/bin/python3 tools/train/fashion_scenes.py --example examples/scenes/clothes.jpg
"""
import argparse
import json
import os
import sys

import cv2
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fashion_data import FOLDER, LABELS, read_part  # noqa: E402

SCENE_SEED = 20_000_000  # held-out scene k has the seed SCENE_SEED + k
SHAPES = ((320, 320), (320, 240), (240, 320))  # of scenes: width, height
EXAMPLE_SEED, EXAMPLE_SHAPE = 33, (480, 360)



def background(rng, w, h):
    """Two colours that change smoothly into each other, and slow waves of light."""
    a, b = rng.uniform(30, 225, (2, 3))
    t = cv2.resize(rng.uniform(0, 1, (3, 3)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)[..., None]
    light = cv2.resize(rng.normal(0, 8, (7, 7)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)[..., None]
    return a * (1 - t) + b * t + light


def garment(rng, picture, scale):
    """The garment cut out of its black ground: colours (h, w, 3), opacity (h, w, 1)."""
    rows, columns = np.flatnonzero((picture > 24).any(1)), np.flatnonzero((picture > 24).any(0))
    cut = picture[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    size = max(int(cut.shape[1] * scale + 0.5), 8), max(int(cut.shape[0] * scale + 0.5), 8)
    grey = cv2.resize(np.ascontiguousarray(cut), size, interpolation=cv2.INTER_LINEAR).astype(np.float32)[..., None]
    tint = rng.uniform(0.55, 1.0, 3)
    return (40 + 0.84 * grey) * tint, np.clip((grey - 8) / 32, 0, 1)


def overlap(box, boxes):
    """Largest part of a box (x, y, w, h) that another one hides."""
    x, y, w, h = box
    worst = 0.0
    for u, v, s, t in boxes:
        inter = max(min(x + w, u + s) - max(x, u), 0) * max(min(y + h, v + t) - max(y, v), 0)
        worst = max(worst, inter / min(w * h, s * t))
    return worst


def compose(rng, images, labels, shape, most, least=2):
    """A scene: uint8 (h, w, 3) in BGR, boxes [(x, y, w, h)] in pixels, classes."""
    w, h = shape
    scene, boxes, classes = background(rng, w, h), [], []
    for _ in range(rng.integers(least, most + 1)):
        k = rng.integers(len(images))
        color, alpha = garment(rng, images[k], rng.uniform(2.0, 4.6) * max(shape) / 320)
        gh, gw = alpha.shape[:2]
        for _ in range(20):
            box = int(rng.integers(0, w - gw + 1)), int(rng.integers(0, h - gh + 1)), gw, gh
            if overlap(box, boxes) <= 0.15:
                x, y = box[:2]
                part = scene[y:y + gh, x:x + gw]
                part += (color - part) * alpha
                boxes.append(box)
                classes.append(int(labels[k]))
                break
    return np.clip(scene + 0.5, 0, 255).astype(np.uint8), boxes, classes


def held_out_scene(k, images, labels, shape=None, most=5):
    rng = np.random.default_rng(SCENE_SEED + k)
    return compose(rng, images, labels, shape or SHAPES[k % len(SHAPES)], most)


def write_scenes(folder, count, data=FOLDER):
    """count pictures scene-<k>.jpg and annotations.json in COCO's form, with category ids from 1."""
    images, labels = read_part(data, "t10k")
    os.makedirs(folder, exist_ok=True)
    out = {"info": {"description": "Scenes composed of Fashion-MNIST pictures (Zalando SE, MIT licence)"},
           "images": [], "annotations": [], "categories": [{"id": i + 1, "name": s} for i, s in enumerate(LABELS)]}
    for k in range(count):
        scene, boxes, classes = held_out_scene(k, images, labels)
        name = f"scene-{k:03d}.jpg"
        cv2.imwrite(os.path.join(folder, name), scene, [cv2.IMWRITE_JPEG_QUALITY, 92])
        out["images"].append({"id": k + 1, "file_name": name, "width": scene.shape[1], "height": scene.shape[0]})
        for box, c in zip(boxes, classes):
            out["annotations"].append({"id": len(out["annotations"]) + 1, "image_id": k + 1, "category_id": c + 1,
                                       "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0})
    with open(os.path.join(folder, "annotations.json"), "w", encoding="utf-8") as f:
        for key, sep in (("info", "{"), ("images", ","), ("annotations", ","), ("categories", ",")):
            f.write(f'{sep}"{key}": ')
            if isinstance(out[key], dict):
                f.write(json.dumps(out[key]) + "\n")
            else:
                f.write("[\n" + ",\n".join(json.dumps(e) for e in out[key]) + "\n]\n")
        f.write("}\n")
    return out


def write_example(path, data=FOLDER):
    """One large scene of test pictures; the seed was chosen for a scene with many kinds of clothes."""
    rng = np.random.default_rng(EXAMPLE_SEED)
    scene, _, classes = compose(rng, *read_part(data, "t10k"), EXAMPLE_SHAPE, 9, least=9)
    cv2.imwrite(path, scene, [cv2.IMWRITE_JPEG_QUALITY, 92])
    print(", ".join(LABELS[c] for c in classes))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("folder", nargs="?", help="folder for the held-out scenes")
    p.add_argument("--count", type=int, default=500, help="number of scenes")
    p.add_argument("--example", metavar="FILE", help="write the example scene to this file")
    p.add_argument("--data", default=FOLDER, help="folder with the four IDX files")
    args = p.parse_args()
    if not args.folder and not args.example:
        p.error("nothing to do: give a folder or --example FILE")
    cv2.setNumThreads(1)
    if args.folder:
        write_scenes(args.folder, args.count, args.data)
    if args.example:
        write_example(args.example, args.data)


if __name__ == "__main__":
    main()
