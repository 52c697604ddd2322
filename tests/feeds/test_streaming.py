"""A feed that reads: the batches of one in memory, whatever reads them, and what is told where it cannot."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lab.augment.crop_flip import CropFlip
from kd_lab.augment.random_resized_crop import RandomResizedCrop
from kd_lab.datasets.image_folder import ImageFolder
from kd_lab.errors import UserError
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.streaming import StreamingFeed, lost_worker
from kd_lab.types import Augment, Data, Feed, InMemory
from tests.contracts.feeds import SETTINGS, all_of, check_feed, same
from tests.datasets.picture_files import in_parts

TRAINING = {**SETTINGS, "augment": True}


def data(path: Path, augment: Augment | None) -> Data:
    return ImageFolder(path=str(path), size=16, memory_mb=0, augment=augment).load()


def feed(made: Data, workers: int, **settings: Any) -> Feed:
    return StreamingFeed(made, settings.pop("rows"), **settings).read_by(workers)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("augment", [RandomResizedCrop(), CropFlip()], ids=["cuts", "does not"])
def test_streaming__of_pictures_keeps_the_contract(tmp_path: Path, workers: int, augment: Augment) -> None:
    check_feed(partial(feed, data(in_parts(tmp_path), augment), workers), views=(CropFlip(2), RandomResizedCrop()))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_streaming__of_pictures_gives_the_batches_of_memory(tmp_path: Path, workers: int) -> None:
    read = data(in_parts(tmp_path), CropFlip(2))
    kept = ImageFolder(path=str(tmp_path), size=16, augment=CropFlip(2)).load()
    assert isinstance(kept.source, InMemory)
    whole = all_of(MemoryFeed(kept, **TRAINING))
    assert same(all_of(feed(read, workers, **TRAINING)), whole)
    assert same(all_of(feed(read, workers, **TRAINING).start(4)), whole[4:])


def test_streaming__an_augmented_batch_is_cut_from_whole_pictures(tmp_path: Path) -> None:
    crop = RandomResizedCrop()
    made = data(in_parts(tmp_path), crop)
    batch, plain = (next(iter(feed(made, 0, **{**TRAINING, "augment": on}))) for on in (True, False))
    seeds = torch.tensor([0])

    def spy(pictures: list[Tensor], own: Tensor, size: tuple[int, int]) -> Tensor:
        nonlocal seeds
        seeds, sizes = own, {tuple(picture.shape) for picture in pictures}
        assert sizes == {(3, 30, 40), (3, 36, 24), (3, 50, 50)}
        return RandomResizedCrop.cut(crop, pictures, own, size)

    object.__setattr__(crop, "cut", spy)
    assert same([next(iter(feed(made, 0, **TRAINING)))], [batch])
    expected = RandomResizedCrop().cut(made.source.whole(batch.index), seeds, (16, 16))  # type: ignore[attr-defined]
    assert made.prepare is not None
    assert torch.equal(batch.inputs, made.prepare(expected))  # type: ignore[arg-type]
    middle = made.rows(plain.index).batch(0, 8, "cpu")
    assert torch.equal(plain.inputs, middle)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming__a_picture_that_cannot_be_read_is_named(tmp_path: Path, workers: int) -> None:
    made = data(in_parts(tmp_path), RandomResizedCrop())
    (tmp_path / "train" / "bee" / "0007.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as told:
        all_of(feed(made, workers, **TRAINING))
    assert str(told.value) == (
        f"dataset.path={tmp_path}: train/bee/0007.png cannot be read as a picture (no format that Pillow knows); "
        "repair it, take it away, or set dataset.skip_corrupt=true to leave such files out"
    )


class Deadly:
    """A source whose worker is killed when it reads a row."""

    def read(self, rows: Tensor) -> Tensor:
        if (rows == 11).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return rows[:, None].float()


def test_streaming__a_killed_worker_is_told_in_a_sentence() -> None:
    rows = torch.arange(23)
    made = Data("x", Deadly(), rows % 3, rows, rows, rows[:0], rows[:0], 3, "")
    with pytest.raises(RuntimeError) as raised:
        all_of(feed(made, 2, **SETTINGS))
    told = lost_worker(str(raised.value))
    assert told is not None
    assert told.startswith(
        "a worker, one of the processes that read the data, was killed or ended by itself, most likely"
    )
    assert "for want of memory; take fewer workers (trainer.workers=1, or 0 for none)" in told


@pytest.mark.parametrize(
    "error",
    [
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
        "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that",
    ],
)
def test_lost_worker__of_what_pytorch_says(error: str) -> None:
    assert lost_worker(error) is not None


@pytest.mark.parametrize(
    "error", ["CUDA error", "Caught ValueError in DataLoader worker process 0.", "killed by signal"]
)
def test_lost_worker__of_another_error_nothing(error: str) -> None:
    assert lost_worker(error) is None
