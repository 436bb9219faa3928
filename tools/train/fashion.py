#!/usr/bin/env python3
"""Train the embedded default model: models/fashion.onnx, a ten-class picture classifier.

    apt install python3-torch python3-onnx dataset-fashion-mnist
    OMP_NUM_THREADS=1 /usr/bin/python3 tools/train/fashion.py

The data is Fashion-MNIST: 60,000 training and 10,000 test pictures, 28x28, grey, the garment light on black.
5,000 training pictures are held out for validation, which is where the settings below were judged. The test pictures
are looked at once, after the last epoch, to report the accuracy. The weights that are exported are a running average
over the training steps; no epoch is picked by its score.

Nothing at build or run time needs Python.
"""
import argparse
import datetime
import hashlib
import json
import os
import struct
import sys
import time
import zlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from fashion_data import FOLDER, LABELS, ROOT, read_part

MEAN, STD = 0.2860, 0.3530  # of the training pixels after division by 255
VALIDATION = 5000


def conv(ic, oc, stride=1):
    return nn.Sequential(nn.Conv2d(ic, oc, 3, stride, 1, bias=False), nn.BatchNorm2d(oc))


class Net(nn.Module):
    """Six 3x3 convolutions, two of them residual; 0.2 million weights, 19 million multiply-adds a picture."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = conv(1, 16), conv(16, 32, 2)
        self.c3, self.c4 = conv(32, 64), conv(64, 64)
        self.c5, self.c6 = conv(64, 96), conv(96, 96)
        self.fc = nn.Linear(96, 10)

    def forward(self, x):  # (n, 1, 28, 28)
        x = F.relu(self.c2(F.relu(self.c1(x))))  # (n, 32, 14, 14)
        x = F.relu(self.c3(x))
        x = F.relu(x + self.c4(x))
        x = F.max_pool2d(x, 2)  # (n, 64, 7, 7)
        x = F.relu(self.c5(x))
        x = F.relu(x + self.c6(x))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.fc(F.dropout(x, 0.1, self.training))


class WithSoftmax(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return torch.softmax(self.net(x), 1)


def prepare(pixels):
    """uint8 (n, 28, 28) -> float (n, 1, 28, 28), as `tern.preprocess` states it."""
    x = torch.from_numpy(pixels.astype(np.float32))
    return ((x * np.float32(1 / 255) - MEAN) / STD).unsqueeze(1)


def augment(x, rng):
    """Mirror half of the pictures, move each batch by up to two pixels, blank a square in each picture."""
    n = x.shape[0]
    flip = torch.rand(n, generator=rng) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    dy, dx = torch.randint(-2, 3, (2,), generator=rng).tolist()
    edge = (0 - MEAN) / STD
    x = F.pad(x, (2, 2, 2, 2), value=edge)[:, :, 2 + dy:30 + dy, 2 + dx:30 + dx].clone()
    at = torch.randint(-4, 28, (n, 2), generator=rng)
    row = torch.arange(28)
    in_y = (row >= at[:, :1]) & (row < at[:, :1] + 8)  # (n, 28)
    in_x = (row >= at[:, 1:]) & (row < at[:, 1:] + 8)
    x[(in_y[:, :, None] & in_x[:, None, :]).unsqueeze(1)] = edge
    return x


def accuracy(net, x, y):
    net.eval()
    right = 0
    with torch.no_grad():
        for i in range(0, len(x), 500):
            right += (net(x[i:i + 500]).argmax(1) == y[i:i + 500]).sum().item()
    return right / len(x)


def train(net, x, y, x_val, y_val, args):
    rng = torch.Generator().manual_seed(args.seed)
    average = Net()  # of weights and of BatchNorm statistics
    average.load_state_dict(net.state_dict())
    steps = len(x) // args.batch
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.2, total_steps=steps * args.epochs, pct_start=0.2)
    start = time.time()
    for epoch in range(args.epochs):
        net.train()
        total = 0.0
        order = torch.randperm(len(x), generator=rng)
        for step in range(steps):
            pick = order[step * args.batch:(step + 1) * args.batch]
            pictures = augment(x[pick], rng).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(pictures), y[pick], label_smoothing=0.05)
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()
            total += loss.item()
            with torch.no_grad():
                for a, b in zip(average.state_dict().values(), net.state_dict().values()):
                    if a.dtype.is_floating_point:
                        a.lerp_(b, 0.005)
                    else:
                        a.copy_(b)
            if epoch == 0 and step % 50 == 0:
                print(f"step {step}/{steps} loss {loss.item():.3f} {time.time() - start:.0f} s", flush=True)
        print(f"epoch {epoch + 1}/{args.epochs}  loss {total / steps:.4f}  validation {accuracy(net, x_val, y_val):.4f}"
              f"  average {accuracy(average, x_val, y_val):.4f}  {time.time() - start:.0f} s", flush=True)
    return average


def export(net, path):
    example = torch.zeros(1, 1, 28, 28)
    torch.onnx.export(WithSoftmax(net).eval(), example, path, opset_version=13, input_names=["image"],
                      output_names=["prob"], dynamic_axes={"image": {0: "batch"}, "prob": {0: "batch"}})
    model = onnx.load(path)
    preprocess = {"size": [28, 28], "fit": "stretch", "scale": 1 / 255, "mean": [MEAN], "std": [STD],
                  "channels": "grey", "layout": "nchw"}
    onnx.helper.set_model_props(model, {"tern.labels": json.dumps(LABELS), "tern.preprocess": json.dumps(preprocess)})
    model.graph.name = "fashion"
    model.doc_string = "Fashion-MNIST classifier, trained by tools/train/fashion.py"
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_png(path, pixels):
    """8-bit grey PNG; a few lines of zlib, so that no picture library is needed."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    h, w = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)))
        f.write(chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def write_samples(folder, pixels, labels):
    """The first test picture of each class, whether the model gets it right or not."""
    os.makedirs(folder, exist_ok=True)
    for k, label in enumerate(LABELS):
        name = label.lower().replace("/top", "").replace(" ", "-")
        write_png(os.path.join(folder, f"{name}.png"), pixels[np.argmax(labels == k)])


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--data", default=FOLDER, help="folder with the four IDX files")
    p.add_argument("--out", default=os.path.join(ROOT, "models", "fashion.onnx"))
    p.add_argument("--samples", default=os.path.join(ROOT, "examples"), help="folder for ten sample pictures")
    p.add_argument("--epochs", type=int, default=18)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)

    images, labels = read_part(args.data, "train")
    labels = torch.from_numpy(labels.astype(np.int64))
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed))
    held, used = shuffled[:VALIDATION], shuffled[VALIDATION:]
    x = prepare(images)
    start = time.time()
    net = train(Net().to(memory_format=torch.channels_last), x[used], labels[used], x[held], labels[held], args)
    validation = accuracy(net, x[held], labels[held])

    test_images, test_labels = read_part(args.data, "t10k")
    test = accuracy(net, prepare(test_images), torch.from_numpy(test_labels.astype(np.int64)))
    print(f"validation accuracy {validation:.4f}, test accuracy {test:.4f}")

    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    export(net, args.out)
    write_samples(args.samples, test_images, test_labels)
    with open(args.out, "rb") as f:
        data = f.read()
    facts = {"model": os.path.basename(args.out), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
             "test_accuracy": test, "test_pictures": len(test_labels), "validation_accuracy": validation,
             "validation_pictures": VALIDATION, "epochs": args.epochs, "batch": args.batch, "seed": args.seed,
             "parameters": sum(w.numel() for w in net.parameters()), "seconds": round(time.time() - start),
             "torch": torch.__version__, "onnx": onnx.__version__, "python": sys.version.split()[0],
             "date": datetime.date.today().isoformat()}
    with open(os.path.splitext(args.out)[0] + ".json", "w", encoding="utf-8") as f:
        json.dump(facts, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
