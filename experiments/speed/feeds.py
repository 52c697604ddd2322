"""How fast batches come: `python experiments/speed/feeds.py`.

Beside each of our feeds stands torchvision's plain way to the same batches: a Dataset that makes one sample after the
other, and a DataLoader with as many workers. Both see the same samples in the same order under the same crops and
mirrors, which are drawn beforehand for the Dataset; both end in a batch of normalised floats. They take turns, another
one first in each round, in one process; a ratio is the median over the rounds of our images per second by theirs in the
same round.

pictures: JPEG files of 500x375, about ImageNet's mean size, cut to 224x224. small: 32x32 in memory, padded, cropped,
mirrored.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark import machine
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import pil_loader
from torchvision.transforms.v2 import functional as F

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.augment.random_resized_crop import ATTEMPTS, RandomResizedCrop
from kd_lab.datasets.common.pictures import IMAGENET_DEVIATION, IMAGENET_MEAN, normalised
from kd_lab.datasets.image_folder import ImageFolder
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.order import Order
from kd_lab.feeds.streaming import StreamingFeed
from kd_lab.seeds import integers
from kd_lab.types import Data, InMemory

HERE = Path(__file__).parent
SEED, BATCH, PADDING = 0, 64, 4


class Cropped(Dataset[Tensor]):
    """Pictures: each file's box, brought to size; on tensors as we do it, or on Pillow's images as most scripts do."""

    def __init__(self, files: list[Path], boxes: list[list[int]], mirrored: list[bool], *, pillow: bool) -> None:
        self.files, self.boxes, self.mirrored, self.pillow = files, boxes, mirrored, pillow

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Tensor:
        picture: Any = pil_loader(self.files[place])
        if not self.pillow:
            picture = F.pil_to_tensor(picture)
        piece = F.resized_crop(picture, *self.boxes[place], size=[224, 224], antialias=True)
        return _normalised(F.horizontal_flip(piece) if self.mirrored[place] else piece)


class Padded(Dataset[Tensor]):
    """Small images in memory: each one's crop out of itself with zeros around it."""

    def __init__(self, images: Tensor, places: list[int], mirrored: list[bool]) -> None:
        self.images, self.places, self.mirrored = images, places, mirrored

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Tensor:
        down, right = divmod(self.places[place], 2 * PADDING + 1)
        crop = F.crop(F.pad(self.images[place], [PADDING]), down, right, 32, 32)
        return _normalised(F.horizontal_flip(crop) if self.mirrored[place] else crop)


def _normalised(image: Any) -> Tensor:
    image = F.to_dtype(F.to_image(image), torch.float32, scale=True)
    normal: Tensor = F.normalize(image, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION))
    return normal


def main() -> None:
    """Everything, a table on the console and in feeds.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=800, help="of which 80%% are trained on")
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--output", type=Path, default=HERE / "feeds.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.pictures)
        for workers in options.workers:
            found[f"pictures, {workers} workers"] = compared(of_pictures(Path(folder), workers), options.rounds)
    for workers in options.workers:
        found[f"small, {workers} workers"] = compared(of_small(options.small, workers), options.rounds)
    told = machine() | {"threads": "1", "batch": str(BATCH), "rounds": str(options.rounds)}
    options.output.write_text(json.dumps({"machine": told, "feeds": found}, indent=1) + "\n")


def write(folder: Path, count: int) -> None:
    """Pictures of two classes: smooth shades with some grain, which JPEG stores in about 100 KB, as photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        shades = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = random.normal(0, 12, shades.shape)
        file = folder / str(number % 2) / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((shades + grain).clip(0, 255).astype(np.uint8)).save(file, quality=90)


Ways = dict[str, Callable[[], Iterable[Any]]]


def of_pictures(folder: Path, workers: int) -> Ways:
    """An epoch of each way to batches of the pictures of a folder."""
    crop = RandomResizedCrop()
    data = ImageFolder(path=str(folder), augment=crop).load()
    order, seeds = drawn(data)
    files = [folder / name.decode() for name in data.source._names[order.numpy()]]  # type: ignore[attr-defined]
    boxes = crop.boxes(torch.tensor([[375, 500]]).expand(len(order), 2), seeds).tolist()
    mirrored = (integers(seeds, 4 * ATTEMPTS, 2) == 1).tolist()

    def theirs(*, pillow: bool) -> Iterable[Any]:
        return DataLoader(Cropped(files, boxes, mirrored, pillow=pillow), BATCH, num_workers=workers)

    return {
        "StreamingFeed": lambda: StreamingFeed(data, data.train, **settings(data)).read_by(workers),
        "DataLoader, tensors": lambda: theirs(pillow=False),
        "DataLoader, Pillow": lambda: theirs(pillow=True),
    }


def of_small(count: int, workers: int) -> Ways:
    """The same of random small images in memory."""
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(count)
    prepare = normalised(IMAGENET_MEAN, IMAGENET_DEVIATION)
    data = Data("x", InMemory(images), rows % 2, rows, rows, rows[:0], rows[:0], 2, "", CropFlip(PADDING), prepare)
    order, seeds = drawn(data)
    places, mirrored = integers(seeds, 0, (2 * PADDING + 1) ** 2).tolist(), (integers(seeds, 1, 2) == 1).tolist()
    return {
        "MemoryFeed": lambda: MemoryFeed(data, rows, **settings(data)),
        "StreamingFeed": lambda: StreamingFeed(data, rows, **settings(data)).read_by(workers),
        "DataLoader, tensors": lambda: DataLoader(Padded(images[order], places, mirrored), BATCH, num_workers=workers),
    }


def settings(data: Data) -> dict[str, Any]:
    """Of an epoch."""
    return {"batch_size": BATCH, "total_steps": -(-len(data.train) // BATCH), "seed": SEED, "augment": True}


def drawn(data: Data) -> tuple[Tensor, Tensor]:
    """The rows of the first epoch in their order, and their seeds."""
    places = list(Order(data, data.train, **settings(data)).places())
    return torch.cat([place.index for place in places]), torch.cat([place.seeds for place in places])


def compared(ways: Ways, rounds: int) -> dict[str, Any]:
    """Images per second of each way, and its ratio to the plain one on tensors; the first batches are the same."""
    first = {name: next(iter(way())) for name, way in ways.items()}
    plain = "DataLoader, tensors"
    for name, batch in first.items():
        if name != "DataLoader, Pillow":  # it rounds otherwise
            own = batch if name == plain else batch.inputs
            torch.testing.assert_close(own, first[plain], atol=1e-5, rtol=0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in (names[(number + i) % len(names)] for i in range(len(names))):
            rates[name].append(rate(ways[name]))
    found = {}
    for name, own in rates.items():
        ratios = [a / b for a, b in zip(own, rates[plain], strict=True)]
        found[name] = {
            "images_per_s": round(statistics.median(own), 1),
            "ratio_to_plain": round(statistics.median(ratios), 2),
            "ratio_per_round": [round(ratio, 2) for ratio in ratios],
        }
        print(f"{name}: {found[name]}", flush=True)
    return found


def rate(way: Callable[[], Iterable[Any]]) -> float:
    """Images per second over an epoch, the start of workers included."""
    began, count = time.perf_counter(), 0
    for batch in way():
        count += len(batch if isinstance(batch, Tensor) else batch.index)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
