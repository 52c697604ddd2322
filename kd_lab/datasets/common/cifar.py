"""CIFAR-10 and CIFAR-100 in the files that their site distributes: of Python, binary, unpacked or in their archive.

Format: https://www.cs.toronto.edu/~kriz/cifar.html, where the md5 of each archive is from, too.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_lab.datasets.common.download import fetch, nothing_came, nothing_there
from kd_lab.datasets.common.published import Published
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.datasets.common.splits import assemble, cut
from kd_lab.errors import UserError
from kd_lab.outside.memory import check_memory
from kd_lab.outside.pickles import read_pickle
from kd_lab.outside.tars import DAMAGE, read_members
from kd_lab.types import Data

_SITE = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32
_logger = logging.getLogger(__name__)


class Version(NamedTuple):
    """One of the forms that a dataset is distributed in.

    folder: of the unpacked files, also inside the archive. labels: the key of the labels in a pickle, or None: the
    files are binary, and the label is the last of the `label_bytes` before each image.
    """

    folder: str
    archive: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str | None = None
    label_bytes: int = 1

    @property
    def files(self) -> tuple[str, ...]:
        """All of them, in the order of the samples."""
        return (*self.train, *self.test)

    def parsed(self, raw: bytes, num_classes: int) -> tuple[Tensor, Tensor]:
        """Images [N, 3, 32, 32] uint8 and labels [N] int64, below `num_classes`, of one file.

        Raises:
            ValueError: it holds something else.
        """
        pixels, labels = self._of_binary(raw) if self.labels is None else self._of_pickle(raw, self.labels)
        if not len(labels) == len(pixels) > 0:
            raise ValueError(f"it holds {len(labels)} labels for {len(pixels)} images")
        low, high = min(labels), max(labels)
        if low < 0 or high >= num_classes:
            raise ValueError(f"labels from {low} to {high}, expected 0 to {num_classes - 1}")
        return torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy()), torch.tensor(labels)

    def _of_binary(self, raw: bytes) -> tuple[NDArray[np.uint8], list[int]]:
        if len(raw) % (self.label_bytes + _PIXELS):
            raise ValueError(f"{len(raw)} bytes are not a whole number of images")
        rows = np.frombuffer(raw, np.uint8).reshape(-1, self.label_bytes + _PIXELS)
        return rows[:, self.label_bytes :], rows[:, self.label_bytes - 1].tolist()

    @staticmethod
    def _of_pickle(raw: bytes, key: str) -> tuple[NDArray[np.uint8], list[int]]:
        found = read_pickle(raw)
        pixels, labels = found.get("data"), found.get(key)
        if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_PIXELS,):
            raise ValueError(f"it holds no data of {_PIXELS} bytes for each image")
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError(f"it holds no {key}, expected a list of whole numbers")
        return pixels, labels


class Kind(NamedTuple):
    """One dataset of these. default: the folder that is filled unasked. mean, deviation: of each channel, 0 to 1."""

    name: str
    title: str
    num_classes: int
    default: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    python: Version
    binary: Version

    @property
    def what(self) -> str:
        """What a folder has to hold."""
        one, other = self.python, self.binary
        return f"{one.folder} or {other.folder}, or the archive of one of them ({one.archive}, {other.archive})"


class _Place(NamedTuple):
    """Where a version lies: a folder, or the archive."""

    version: Version
    path: Path

    def contents(self, source: str) -> Iterator[tuple[str, bytes]]:
        """Each file's name and content, in any order."""
        if not self.path.is_file():
            for name in self.version.files:
                check_memory((self.path / name).stat().st_size, source)
                yield name, (self.path / name).read_bytes()
            return
        names = [f"{self.version.folder}/{name}" for name in self.version.files]
        for member, raw in read_members(self.path, names, source):
            yield member.rpartition("/")[2], raw


class Cifar(Published):
    """Color images [60000, 3, 32, 32] uint8; a network is given (value / 255 - mean) / deviation of each channel.

    The official test set is the test part. Labels are the fine ones. `path` holds the files of a version, in their own
    folder or directly, or its archive; what is downloaded is the archive of the Python version.
    """

    kind: ClassVar[Kind]

    def load(self) -> Data:
        """Reads the files, after a download where there are none and that is allowed.

        Raises:
            UserError: the files are neither there nor to be had, are damaged, hold something else or more than the
                memory takes; or the settings ask for more points than there are.
        """
        place = self._find() or self._download()
        found = self._read(place)
        count = sum(len(found[name][1]) for name in place.version.train)
        images, targets = (torch.cat([found[name][i] for name in place.version.files]) for i in (0, 1))
        rows = torch.arange(len(targets))
        targets, parts = cut(targets, rows[:count], rows[count:], self.kind.num_classes, self._settings)
        mean, deviation = (torch.tensor(one).reshape(3, 1, 1) for one in (self.kind.mean, self.kind.deviation))
        return assemble(
            self.kind.name,
            images,
            targets,
            parts,
            num_classes=self.kind.num_classes,
            augment=self._settings.augment,
            prepare=Scaled(mean, deviation),
        )

    def _find(self) -> _Place | None:
        """Where the files lie; None if there are none at all.

        Raises:
            UserError: some of a version's files are there, and others are not.
        """
        root, broken = Path(self._path).expanduser(), None
        for version in (self.kind.python, self.kind.binary):
            for folder in (root / version.folder, root):
                missing = [name for name in version.files if not (folder / name).is_file()]
                if not missing:
                    return _Place(version, folder)
                if folder.name == version.folder and folder.is_dir():
                    broken = f"{folder} holds no {missing[0]}, expected {', '.join(version.files)}"
            if (root / version.archive).is_file():
                self._compare(root / version.archive, version)
                return _Place(version, root / version.archive)
        if broken and not self._may_download:
            raise UserError(f"{self._source}: {broken}; unpack the archive again.")
        return None

    def _compare(self, archive: Path, version: Version) -> None:
        """Says so where an archive is not the one that was published."""
        try:
            with archive.open("rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise UserError(f"{self._source}: cannot read {archive} ({error.strerror}).") from error
        if md5 != version.md5:
            _logger.warning(
                "%s: %s has md5 %s, as published %s; it is read as it is.", self._source, archive, md5, version.md5
            )

    def _read(self, place: _Place) -> dict[str, tuple[Tensor, Tensor]]:
        """Images and labels of each file."""
        found, name = {}, place.path.name
        try:
            for name, raw in place.contents(self._source):
                found[name] = place.version.parsed(raw, self.kind.num_classes)
        except UserError:
            raise
        except DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self._source}: {name} in {place.path} is damaged or not of {self.kind.title} ({reason}), "
                f"{self._todo}."
            ) from error
        return found

    def _download(self) -> _Place:
        """Fetches the archive, if that is allowed; a part of one is never left under its name."""
        if not self._may_download:
            raise nothing_there(self._path, self.kind.what)
        from torchvision.datasets.utils import download_url

        version, root = self.kind.python, Path(self._path).expanduser()

        def download() -> None:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
                download_url(_SITE + version.archive, folder, filename=version.archive, md5=version.md5)
                os.replace(Path(folder) / version.archive, root / version.archive)

        reason = fetch(download)
        if not (root / version.archive).is_file():
            raise nothing_came(self._path, self.kind.what, reason)
        return _Place(version, root / version.archive)
