"""Every feed keeps the contract and gives the batches of every other; the contract catches feeds that do not."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.streaming import StreamingFeed
from kd_lab.inputs import Inputs
from kd_lab.seeds import integers
from kd_lab.types import UNLABELLED, Batch, Data, Feed, InMemory
from tests.contracts.feeds import SETTINGS, all_of, check_feed, same

ROWS = torch.arange(23)


def moved(inputs: Inputs, seeds: Tensor) -> Inputs:
    """A transform of a tensor, or of the tokens of a text: each sample's own number is added."""
    if isinstance(inputs, Tensor):
        return inputs + integers(seeds, 0, 1000).to(inputs.dtype).reshape(-1, *[1] * (inputs.ndim - 1))
    return {**inputs, "tokens": inputs["tokens"] + integers(seeds, 0, 50)[:, None]}


def halved(inputs: Inputs) -> Inputs:
    return inputs / 2 if isinstance(inputs, Tensor) else inputs


def data(kind: str) -> Data:
    """Of images in bytes, or of texts as two named tensors; every seventh row has no label."""
    images = torch.arange(23 * 16).reshape(23, 1, 4, 4).float()
    texts = {"tokens": torch.arange(23 * 5).reshape(23, 5), "mask": torch.ones(23, 5, dtype=torch.bool)}
    targets = torch.where(ROWS % 7 == 0, UNLABELLED, ROWS % 3)
    inputs: Inputs = images if kind == "images" else texts
    return Data("x", InMemory(inputs), targets, ROWS, ROWS, ROWS[:0], ROWS[:0], 3, "", moved, halved)


def feed(kind: str, how: str, **settings: Any) -> Feed:
    rows = settings.pop("rows")
    if how == "memory":
        return MemoryFeed(data(kind), rows, **settings)
    return StreamingFeed(data(kind), rows, **settings).read_by(int(how))


@pytest.mark.parametrize("how", ["memory", "0", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["images", "texts"])
def test_feed__keeps_the_contract(kind: str, how: str) -> None:
    check_feed(partial(feed, kind, how), views=(moved, moved))


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_feed__from_memory_and_read_by_workers__the_same_batches(kind: str) -> None:
    settings = {**SETTINGS, "augment": True, "views": (moved,)}
    made = [all_of(feed(kind, how, **settings)) for how in ("memory", "0", "2")]
    assert same(made[0], made[1])
    assert same(made[0], made[2])
    assert {batch.inputs.dtype if kind == "images" else batch.inputs["tokens"].dtype for batch in made[0]} == {
        torch.float32 if kind == "images" else torch.int64
    }


@pytest.mark.parametrize("how", ["memory", "0"])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_feed__shares_make_the_mean_of_the_pieces_that_of_the_whole(how: str, world: int) -> None:
    values = torch.arange(23.0)
    whole = all_of(feed("images", how, **SETTINGS))
    pieces = [all_of(feed("images", how, **SETTINGS).shard(rank, world)) for rank in range(world)]
    for step, batch in enumerate(whole):
        if len(batch.index) < world:
            continue  # a sample is repeated, so that each process has one
        for what, known in (("hard", batch.targets != UNLABELLED), ("soft", torch.ones(len(batch.index)) > 0)):
            means = []
            for piece in (p[step] for p in pieces):
                own = piece.targets != UNLABELLED if what == "hard" else torch.ones(len(piece.index)) > 0
                mean = values[piece.index][own].sum() / own.sum().clamp(min=1)
                assert piece.share is not None
                means.append(mean * getattr(piece.share, what))
            torch.testing.assert_close(sum(means) / world, values[batch.index][known].sum() / known.sum().clamp(min=1))


class ByArrival(StreamingFeed):
    """Wrong: two workers, and the batches in the order in which they finish."""

    def __iter__(self) -> Iterator[Batch]:
        batches = list(super().__iter__())
        yield from batches[self._workers :] + batches[: self._workers]


class ByBatch(MemoryFeed):
    """Wrong: a sample is augmented by its place in the batch."""

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield batch._replace(inputs=batch.inputs + torch.arange(len(batch.index)).reshape(-1, 1, 1, 1))


class Drawing(MemoryFeed):
    """Wrong: the order follows from torch's own generator."""

    def __iter__(self) -> Iterator[Batch]:
        torch.rand(1)
        yield from super().__iter__()


class Forgetful(MemoryFeed):
    """Wrong: the last, smaller batch of an epoch is left out."""

    def __iter__(self) -> Iterator[Batch]:
        yield from (batch for batch in super().__iter__() if len(batch.index) == self.batch_size)


def of_workers() -> Any:
    number = count()
    return lambda rows, **settings: ByArrival(data("images"), rows, **settings).read_by(next(number) % 3)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (of_workers(), "the same seed gives other batches"),
        (lambda rows, **settings: ByBatch(data("images"), rows, **settings), "a sample depends on its batch"),
        (lambda rows, **settings: Drawing(data("images"), rows, **settings), "torch's own generator"),
        (lambda rows, **settings: Forgetful(data("images"), rows, **settings), "not all rows of an epoch"),
    ],
    ids=["by the number of workers", "by batch", "drawing", "forgetful"],
)
def test_contract__catches_a_wrong_feed(make: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_feed(make)
