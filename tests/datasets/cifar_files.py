"""Small files of CIFAR as their site distributes them, written as Python 2 and as C did."""

import io
import pickle
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Pixels = np.ndarray[Any, Any]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Protocol 2 with text as bytes, and NumPy's names of that time."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_text(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        long = pickle.BINSTRING + struct.pack("<i", len(raw))
        self.write((pickle.SHORT_BINSTRING + bytes([len(raw)]) if len(raw) < 256 else long) + raw)
        self.memoize(text)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_text


def python2(value: object) -> bytes:
    """The pickle."""
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def pixels(count: int, seed: int) -> Pixels:
    """Images of one file, [N, 3072]."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


def cifar10(labels: Sequence[int] = tuple(range(10)) * 2) -> dict[str, tuple[Pixels, list[int]]]:
    """Images and labels by the names of the Python version's six files, 20 images each."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return {name: (pixels(len(labels), seed), list(labels)) for seed, name in enumerate(names)}


def cifar100(per_class: int = 2) -> dict[str, tuple[Pixels, list[int]]]:
    """The same of the two files, so many images of each class for training and one for the test."""
    return {
        name: (pixels(100 * count, seed), list(range(100)) * count)
        for seed, (name, count) in enumerate({"train": per_class, "test": 1}.items())
    }


def as_python(held: dict[str, tuple[Pixels, list[int]]]) -> dict[str, bytes]:
    """The files of the Python version."""
    files = {}
    for name, (images, labels) in held.items():
        about = {"batch_label": f"batch {name}", "data": images, "filenames": [f"{n}.png" for n in range(len(labels))]}
        if len(held) == 2:
            about |= {"fine_labels": labels, "coarse_labels": [label // 5 for label in labels]}
        else:
            about["labels"] = labels
        files[name] = python2(about)
    return files


def as_binary(held: dict[str, tuple[Pixels, list[int]]]) -> dict[str, bytes]:
    """The files of the binary version."""
    files = {}
    for name, (images, labels) in held.items():
        fine = np.array(labels, np.uint8)[:, None]
        files[f"{name}.bin"] = np.hstack([fine // 5, fine, images] if len(held) == 2 else [fine, images]).tobytes()
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    """The files, in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def pack(archive: Path, folder: str, files: dict[str, bytes]) -> None:
    """The files in their folder, as a .tar.gz."""
    with tarfile.open(archive, "w:gz") as tar:
        inside = tarfile.TarInfo(folder)
        inside.type = tarfile.DIRTYPE
        tar.addfile(inside)
        for name, raw in reversed(files.items()):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
