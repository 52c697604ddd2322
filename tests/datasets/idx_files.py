"""Four small files as MNIST has them."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """One file."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def arrays(train: int = 60, test: int = 20) -> list[np.ndarray[Any, Any]]:
    """What the four files hold."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (count, 28, 28)).astype(np.uint8) for count in (train, test)]
    labels = [(np.arange(count) % 10).astype(np.uint8) for count in (train, test)]
    return [images[0], labels[0], images[1], labels[1]]


def write(folder: Path, packed: bool = False) -> list[np.ndarray[Any, Any]]:
    """The four files, in a folder that is made; what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    held = arrays()
    for name, array in zip(NAMES, held, strict=True):
        raw = idx(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return held
