"""Fashion-MNIST as Debian's dataset-fashion-mnist has it: labels and files."""
import gzip
import os
import struct

import numpy as np

LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
          "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
FOLDER = "/usr/share/datasets/fashion-mnist"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # of the repository


def read_idx(path):
    """An IDX file: two zero bytes, a type (8 = unsigned byte), a rank, big-endian dims, data."""
    with gzip.open(path, "rb") as f:
        data = f.read()
    zero, dtype, rank = struct.unpack(">HBB", data[:4])
    if zero != 0 or dtype != 8:
        raise ValueError(f"{path}: not an IDX file of bytes")
    dims = struct.unpack(f">{rank}I", data[4:4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(dims)


def read_part(folder, part):
    """`part` "train" or "t10k": pictures (n, 28, 28) and labels (n), unsigned bytes."""
    return tuple(read_idx(os.path.join(folder, f"{part}-{what}-ubyte.gz")) for what in ("images-idx3", "labels-idx1"))
