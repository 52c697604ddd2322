"""5,000 of Fashion-MNIST's 60,000 training images, 500 of a class, and its test part, at 14x14 pixels:

    python experiments/proxy/convert.py /usr/share/datasets/fashion-mnist clothes.npz

A pixel is the mean of four, rounded. The folder is that of Debian's package dataset-fashion-mnist.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def main(folder: str, out: str) -> None:
    labels = read(folder, "train-labels-idx1-ubyte.gz", header=8)
    draw = np.random.default_rng(0)
    kept = np.sort(np.concatenate([draw.choice(np.flatnonzero(labels == k), 500, replace=False) for k in range(10)]))
    arrays = {
        "X": halved(read(folder, "train-images-idx3-ubyte.gz", header=16))[kept],
        "y": labels[kept].astype(np.int64),
        "X_test": halved(read(folder, "t10k-images-idx3-ubyte.gz", header=16)),
        "y_test": read(folder, "t10k-labels-idx1-ubyte.gz", header=8).astype(np.int64),
    }
    np.savez(out, **arrays)
    print(", ".join(f"{name} {list(values.shape)} {values.dtype}" for name, values in arrays.items()))


def read(folder: str, name: str, *, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress((Path(folder) / name).read_bytes()), np.uint8, offset=header)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N * 28 * 28] to [N, 1, 14, 14]."""
    return np.rint(pixels.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))).astype(np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
