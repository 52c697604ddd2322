"""Grey images of 28x28 pixels in 10 classes, in four IDX files as MNIST has them: found on disk or downloaded."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from kd_lab.datasets.common.download import fetch, nothing_came, nothing_there
from kd_lab.datasets.common.published import Published
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.datasets.common.splits import assemble, cut
from kd_lab.errors import UserError
from kd_lab.outside.archives import GIB
from kd_lab.outside.memory import check_memory
from kd_lab.outside.text import in_bytes
from kd_lab.types import Data

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_BYTES = 8
"""The code of IDX for the type uint8."""
_MAX_BYTES = GIB
"""Of one file, unpacked: 1.4 million images, where MNIST has 60,000 and EMNIST 697,932."""
_GZIP_RATIO = 1032
"""More bytes than these are never packed into one: 258 of them into two bits (RFC 1951)."""
_DAMAGE = (OSError, EOFError, zlib.error, struct.error)


class _Idx(NamedTuple):
    """What the first `start` bytes of a file announce."""

    file: Path
    shape: tuple[int, ...]
    start: int

    @property
    def announced(self) -> int:
        return math.prod(self.shape)


class Kind(NamedTuple):
    """One dataset of these.

    name: what it is called in tables. official: its class in torchvision, which knows where it is published and the
    md5 of each file. default: the folder that is filled unasked. mean, deviation: of its training images, from 0 to 1.
    """

    name: str
    official: str
    default: str
    mean: float
    deviation: float

    @property
    def below(self) -> Path:
        """Where torchvision puts the files in a folder."""
        return Path(self.official) / "raw"

    @property
    def what(self) -> str:
        """What a folder has to hold."""
        return f"{', '.join(_FILES)} (with or without .gz), directly or in {self.below}"


class IdxImages(Published):
    """Images [N, 1, 28, 28] uint8; a network is given (grey value / 255 - mean) / deviation.

    The official test set is the test part. Any four files in this format with 10 classes do, in the folder `path` or
    where torchvision puts them below it, packed (.gz) or not.
    """

    kind: ClassVar[Kind]

    def load(self) -> Data:
        """Reads the four files, after a download where they are missing and that is allowed.

        Raises:
            UserError: the files are neither there nor to be had, are not in this format, or declare more than they hold
                or the memory takes; or the settings ask for more points than there are.
        """
        headers = [self._header(file) for file in self._find() or self._download()]
        pairs = list(zip(headers[::2], headers[1::2], strict=True))
        for images, labels in pairs:
            if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
                raise self._misfit(images, labels)
        check_memory(sum(header.announced for header in headers), self._source)
        arrays = [self._payload(header) for header in headers]
        for (images, labels), found in zip(pairs, arrays[1::2], strict=True):
            if found.max() > 9:
                raise self._misfit(images, labels)
        return self._assembled(arrays)

    def _assembled(self, arrays: list[Tensor]) -> Data:
        count = len(arrays[0])
        targets = torch.cat([arrays[1], arrays[3]]).to(torch.int64)
        rows = torch.arange(len(targets))
        targets, parts = cut(targets, rows[:count], rows[count:], 10, self._settings)
        images = torch.cat([arrays[0], arrays[2]]).unsqueeze(1)
        own, prepare = self._settings.augment, Scaled(self.kind.mean, self.kind.deviation)
        return assemble(self.kind.name, images, targets, parts, num_classes=10, augment=own, prepare=prepare)

    def _header(self, file: Path) -> _Idx:
        """What an IDX file announces; what it cannot hold is refused before it is read."""
        try:
            size = file.stat().st_size
            with _open(file) as stream:
                _, _, kind, ndim = struct.unpack(">4B", stream.read(4))
                header = _Idx(file, struct.unpack(f">{ndim}I", stream.read(4 * ndim)), 4 + 4 * ndim)
        except _DAMAGE as error:
            raise self._not_idx(file, str(error)) from error
        if header.announced > _MAX_BYTES:
            raise self._not_idx(
                file, f"its first bytes announce {in_bytes(header.announced)}, expected at most {in_bytes(_MAX_BYTES)}"
            )
        most = size * _GZIP_RATIO if file.suffix == ".gz" else size - header.start
        if kind != _BYTES or not 0 < header.announced <= most:
            raise self._not_idx(file, f"{size} bytes do not hold what its first bytes announce")
        return header

    def _payload(self, header: _Idx) -> Tensor:
        """What follows the header, if it is what was announced; one byte more than that is read at most."""
        try:
            with _open(header.file) as stream:
                stream.read(header.start)
                raw = stream.read(header.announced + 1)
        except _DAMAGE as error:
            raise self._not_idx(header.file, str(error)) from error
        if len(raw) != header.announced:
            way = "more" if len(raw) > header.announced else "less"
            raise self._not_idx(
                header.file, f"it holds {way} than the {header.announced} bytes that its first announce"
            )
        return torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(header.shape).copy())

    def _misfit(self, images: _Idx, labels: _Idx) -> UserError:
        return UserError(
            f"{self._source}: {images.file.name} has shape {list(images.shape)} and its labels "
            f"{list(labels.shape)}, expected [N, 28, 28] and [N] with classes 0 to 9."
        )

    def _not_idx(self, file: Path, reason: str) -> UserError:
        return UserError(f"{self._source}: {file} is damaged or no IDX file ({reason}), {self._todo}.")

    def _find(self) -> tuple[Path, ...] | None:
        """The four files in the order of `_FILES`, or None if one is missing."""
        root = Path(self._path).expanduser()
        found = []
        for name in _FILES:
            places = (folder / (name + end) for folder in (root, root / self.kind.below) for end in ("", ".gz"))
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                return None
            found.append(file)
        return tuple(found)

    def _download(self) -> tuple[Path, ...]:
        """Lets torchvision fetch the files, if that is allowed."""
        if not self._may_download:
            raise nothing_there(self._path, self.kind.what)
        from torchvision import datasets

        official, root = getattr(datasets, self.kind.official), str(Path(self._path).expanduser())
        reason = fetch(lambda: official(root=root, train=True, download=True))
        files = self._find()
        if files is None:
            raise nothing_came(self._path, self.kind.what, reason)
        return files


def _open(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file) if file.suffix == ".gz" else file.open("rb"))
