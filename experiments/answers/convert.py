"""Writes the digits of `dataset=digits` with unlabelled points that are no digits: Fashion-MNIST at 8x8, or noise.

    python experiments/answers/convert.py /usr/share/datasets/fashion-mnist clothes.npz
    python experiments/answers/convert.py noise noise.npz

Parts, labelled points and test are those of the demo; its 1,097 unlabelled digits give way to as many other pictures.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kd_lab.datasets.digits import Digits

Pictures = NDArray[np.float32]


def clothes(folder: Path, count: int) -> Pictures:
    """The first training images [count, 1, 8, 8] in 0..1: 24 of 28 pixels each way, means of 3x3."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:count, 2:26, 2:26]
    return (images.reshape(-1, 8, 3, 8, 3).mean((2, 4)) / 255).astype(np.float32)[:, None]


def noise(count: int) -> Pictures:
    """Every pixel [count, 1, 8, 8] uniform in 0..1."""
    return np.random.default_rng(0).random((count, 1, 8, 8)).astype(np.float32)


def main(source: str, target: str) -> None:
    """Write the file."""
    data = Digits().load()
    digits = data.source.read(torch.arange(len(data.targets)))
    unlabelled = len(data.transfer) - len(data.train)
    others = noise(unlabelled) if source == "noise" else clothes(Path(source), unlabelled)
    parts = {"": data.train, "_test": data.test}
    named = {f"X{part}": digits[rows] for part, rows in parts.items()} | {
        f"y{part}": data.targets[rows] for part, rows in parts.items()
    }
    np.savez(target, X_unlabelled=others, **named)


if __name__ == "__main__":
    main(*sys.argv[1:])
