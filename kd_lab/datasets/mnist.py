"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998), found on disk or downloaded."""

import contextlib
import gzip
import io
import math
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lab.datasets.common.splits import SplitSettings, assemble, cut
from kd_lab.errors import UserError
from kd_lab.types import Augment, Data

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# Mean and standard deviation of the 60,000 training images, as everywhere.
_MEAN, _SD = 0.1307, 0.3081
_TIMEOUT_S = 20.0


class Mnist:
    """Inputs [70000, 1, 28, 28], (grey value / 255 - 0.1307) / 0.3081; the official test set is the test part.

    Any four files in the same format with 10 classes do (FashionMNIST, for one).
    """

    def __init__(
        self,
        *,
        path: str = "~/.cache/kd-lab/mnist",
        labels: int | None = None,
        validation: int = 5000,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            path: a folder with the four IDX files, directly or in MNIST/raw, packed (.gz) or not. What is not there
                is downloaded to MNIST/raw.
            labels: how many labels are kept, stratified; None keeps all.
            validation: how many points are cut from the official training set before labels are hidden.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        self._path = path

    def load(self) -> Data:
        """Reads the four files, after a download where they are missing.

        Raises:
            UserError: the files are neither there nor to be had, or are not MNIST; or the settings ask for more
                points than there are.
        """
        files = _find(self._path) or self._download()
        arrays = [self._read(file) for file in files]
        for images, labels, file in zip(arrays[::2], arrays[1::2], files[::2], strict=True):
            if images.shape[1:] != (28, 28) or labels.ndim != 1 or len(images) != len(labels) or labels.max() > 9:
                raise UserError(
                    f"dataset.path={self._path}: {file.name} has shape {list(images.shape)} and its labels "
                    f"{list(labels.shape)}, expected [N, 28, 28] and [N] with classes 0 to 9."
                )
        count = len(arrays[0])
        targets = torch.cat([arrays[1], arrays[3]]).to(torch.int64)
        rows = torch.arange(len(targets))
        targets, parts = cut(targets, rows[:count], rows[count:], 10, self._settings)
        images = torch.cat([arrays[0], arrays[2]]).unsqueeze(1)
        inputs = images.to(torch.float32).div_(255).sub_(_MEAN).div_(_SD)
        return assemble("mnist", inputs, targets, parts, num_classes=10, augment=self._settings.augment)

    def _read(self, file: Path) -> Tensor:
        """One IDX file of bytes as a tensor."""
        try:
            raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            _, _, kind, ndim = struct.unpack_from(">4B", raw)
            shape = struct.unpack_from(f">{ndim}I", raw, 4)
        except (OSError, EOFError, zlib.error, struct.error) as error:
            raise self._not_idx(file, str(error)) from error
        start = 4 + 4 * ndim
        if kind != 8 or math.prod(shape) == 0 or len(raw) - start != math.prod(shape):
            raise self._not_idx(file, f"{len(raw)} bytes do not hold what its first bytes announce")
        return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy())

    def _not_idx(self, file: Path, reason: str) -> UserError:
        return UserError(
            f"dataset.path={self._path}: {file} is damaged or no MNIST file ({reason}), delete it to download it anew."
        )

    def _download(self) -> tuple[Path, ...]:
        """Lets torchvision fetch the files into MNIST/raw."""
        from torchvision.datasets import MNIST

        reason = "nothing came"
        try:
            with _quiet():
                MNIST(root=str(Path(self._path).expanduser()), train=True, download=True)
        except (OSError, RuntimeError, ValueError, EOFError, zlib.error) as error:
            reason = " ".join(str(error).split())
        files = _find(self._path)
        if files is None:
            raise UserError(
                f"dataset.path={self._path}: {', '.join(_FILES)} (with or without .gz) are not all there, neither "
                f"directly nor in MNIST/raw, and the download failed ({reason}); put them there, or go online once."
            )
        return files


def _find(path: str) -> tuple[Path, ...] | None:
    """The four files in the order of `_FILES`, or None if one is missing."""
    root = Path(path).expanduser()
    found = []
    for name in _FILES:
        places = (folder / (name + end) for folder in (root, root / "MNIST" / "raw") for end in ("", ".gz"))
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            return None
        found.append(file)
    return tuple(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No printing by torchvision, and no waiting for ever on a network that swallows everything."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
