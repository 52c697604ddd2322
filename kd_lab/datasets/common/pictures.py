"""Pictures of any size, read when they are wanted: shown small and square, or whole for an augmentation to cut from.

Legend: R rows, C channels, H height, W width.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms.v2 import functional as F

from kd_lab.datasets.common.scaled import Scaled
from kd_lab.errors import UserError
from kd_lab.types import Augment, InMemory, Source, cuts

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of each channel of ImageNet's training pictures, from 0 to 1, as everywhere."""
MIB = 2**20
T = TypeVar("T")
R = TypeVar("R")
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What Pillow raises where a file is no picture that it can read."""


class Shown:
    """How a picture is shown: its short side is brought to `short`, and the middle is cut out.

    size: height and width of what is shown.
    """

    def __init__(self, size: int, short: int | None) -> None:
        """Keeps the settings.

        Args:
            size: the side of the square that is cut out, in pixels; at least 1.
            short: the side that is resized to, at least `size`; None: 256/224 of it, as ImageNet is tested.

        Raises:
            ValueError: a size that no picture can have.
        """
        if size < 1:
            raise ValueError(f"Expected `size` to be >= 1, but got {size}.")
        if short is not None and short < size:
            raise ValueError(f"Expected `resize` to be at least size={size}, or null, but got {short}.")
        self.size, self.short = (size, size), round(size * 256 / 224) if short is None else short

    def __call__(self, pictures: Sequence[Tensor]) -> Tensor:
        """Pictures [3, H, W] uint8 to [R, 3, *size] uint8, bilinear and antialiased."""
        return torch.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Tensor) -> Tensor:
        resized: Tensor = F.center_crop(F.resize(picture, [self.short], antialias=True), list(self.size))
        return resized

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        return f"Shown({self.size[0]}, {self.short})"


class PictureSource(ABC):
    """Pictures by their row; see `kd_lab.types.Pictures`.

    A worker process reads one after the other, any other process with all its cores.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown, self.size = shown, shown.size

    @abstractmethod
    def picture(self, row: int) -> Image.Image:
        """In RGB.

        Raises:
            UserError: it cannot be read; the message says which and what to do.
        """

    def read(self, rows: Tensor) -> Tensor:
        """The rows [R], shown: [R, 3, *size] uint8."""
        return torch.stack(self._each(rows, lambda picture: self._shown([picture])[0]))

    def whole(self, rows: Tensor) -> list[Tensor]:
        """The rows [R], each [3, H, W] uint8."""
        return self._each(rows, lambda picture: picture)

    def shown(self, pictures: Sequence[Tensor]) -> Tensor:
        """What `read` gives of these."""
        return self._shown(pictures)

    def _each(self, rows: Tensor, made: Callable[[Tensor], Tensor]) -> list[Tensor]:
        def one(row: int) -> Tensor:
            return made(F.pil_to_tensor(self.picture(row)))

        return list(in_threads(one, rows.tolist()))


class PictureFiles(PictureSource):
    """Files below a folder.

    Names lie in one array: a list of a million strings would be copied, page by page, into every worker process.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        shown: Shown,
        setting: str,
        *,
        todo: str = "repair it, take it away, or set dataset.skip_corrupt=true to leave such files out",
    ) -> None:
        super().__init__(shown)
        self._folder, self._setting, self._todo = folder, setting, todo
        self._names: NDArray[np.bytes_] = np.array([os.fsencode(name) for name in names])

    def picture(self, row: int) -> Image.Image:
        """See `PictureSource.picture`."""
        name = os.fsdecode(self._names[row])
        try:
            return decoded(self._folder / name)
        except DAMAGE as error:
            raise UserError(
                f"{self._setting}: {name} cannot be read as a picture ({reason_of(error)}); {self._todo}"
            ) from error


def decoded(file: Path) -> Image.Image:
    """The picture of a file, in RGB; see `DAMAGE` for errors."""
    from torchvision.datasets.folder import pil_loader

    picture: Image.Image = pil_loader(file)
    return picture


def reason_of(error: BaseException) -> str:
    """What Pillow said, without an address in memory or the file's whole path."""
    if isinstance(error, UnidentifiedImageError):
        return "no format that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def in_threads(make: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Each made, in order; Pillow lets go of the interpreter while it decodes. In a worker process one by one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = 1 if get_worker_info() is not None else min(cores, len(items))
    if threads < 2:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(make, items)


def held(source: PictureSource, count: int, memory_mb: int, augment: Augment | None) -> Source:
    """The source, or what it shows in memory: where that is small and nobody cuts from whole pictures.

    Args:
        source: of `count` pictures.
        count: how many.
        memory_mb: the most that may lie in memory, in MiB.
        augment: of the dataset.

    Raises:
        UserError: a picture cannot be read.
    """
    height, width = source.size
    if (augment is not None and cuts(augment)) or 3 * height * width * count > memory_mb * MIB:
        return source
    return InMemory(source.read(torch.arange(count)))


def normalised(mean: Sequence[float], deviation: Sequence[float]) -> Scaled:
    """uint8 to `(value / 255 - mean) / deviation` of each channel.

    Raises:
        ValueError: not three numbers, or a deviation that is not above 0.
    """
    for name, numbers in (("mean", mean), ("deviation", deviation)):
        if len(numbers) != 3:
            raise ValueError(f"Expected `{name}` to be three numbers, one for each color, but got {list(numbers)}.")
    if min(deviation) <= 0:
        raise ValueError(f"Expected `deviation` to be above 0, but got {list(deviation)}.")
    return of_channels(mean, deviation)


def of_channels(mean: Sequence[float], deviation: Sequence[float], divisor: float = 255.0) -> Scaled:
    """`(value / divisor - mean) / deviation` of each of three channels."""
    of_each = [torch.tensor(list(one)).reshape(3, 1, 1) for one in (mean, deviation)]
    return Scaled(of_each[0], of_each[1], divisor)
