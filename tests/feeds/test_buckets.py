"""Texts of like length in the same step: the same samples in each epoch, in an order of seed and epoch alone."""

from functools import partial
from typing import Any

import pytest
import torch

from kd_lab.errors import UserError
from kd_lab.feeds import buckets
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.streaming import StreamingFeed
from kd_lab.inputs import IDS, MASK, mask_of
from kd_lab.types import Data, Feed, InMemory
from tests.contracts.feeds import all_of, check_feed, same
from tests.contracts.test_feed_contract import ROWS, data, moved

COUNT = 500


def texts(count: int, longest: int = 64, **more: Any) -> Data:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, longest, (count,), generator=generator)
    mask = (torch.arange(longest) < lengths[:, None]).long()
    rows = torch.arange(count)
    inputs = {IDS: rows[:, None] + mask, MASK: mask, "tokens": rows[:, None] * mask}
    return Data("texts", InMemory(inputs), rows % 3, rows, rows, rows[:0], rows[:0], 3, "", **more)


def feed(how: str, count: int = COUNT, **settings: Any) -> Feed:
    rows = settings.pop("rows", torch.arange(count))
    kind = MemoryFeed if how == "memory" else StreamingFeed
    return kind(texts(count, augment=moved), rows, **{"by_length": True, **settings})


@pytest.mark.parametrize("how", ["memory", "streaming"])
def test_by_length__keeps_the_contract_of_every_feed(how: str) -> None:
    check_feed(partial(feed, how, len(ROWS)), views=(moved,))


def test_by_length__from_memory_and_read__the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "CHUNK", 7)
    settings = {"batch_size": 16, "total_steps": 70, "seed": 3}
    assert same(all_of(feed("memory", **settings)), all_of(feed("streaming", **settings)))


def padding(batches: list[Any]) -> float:
    """The share of positions up to the longest text of each batch that hold none."""
    masks = [mask_of(batch.inputs) for batch in batches]
    places = sum(mask.shape[0] * int(mask.sum(1).max()) for mask in masks)
    return 1 - sum(int(mask.sum()) for mask in masks) / places


def test_by_length__leaves_little_padding_and_still_changes_who_stands_beside_whom() -> None:
    settings = {"batch_size": 16, "total_steps": 64, "seed": 3}
    batches = all_of(feed("memory", **settings))
    assert padding(batches) < 0.1
    assert padding(all_of(feed("memory", **settings, by_length=False))) > 0.4
    first, second = ({frozenset(b.index.tolist()) for b in batches[i : i + 32]} for i in (0, 32))
    assert len(first) == 32
    assert len(first & second) < 8
    longest = [int(mask_of(batch.inputs).sum(1).max()) for batch in batches[:31]]
    assert longest != sorted(longest), "steps come in the order of their lengths"


def test_by_length__a_step_of_several_batches_is_that_of_one() -> None:
    settings = {"total_steps": 20, "seed": 3}
    one = all_of(feed("memory", **settings, batch_size=32))
    several = all_of(feed("memory", **settings, batch_size=16, accumulate=2))
    pairs = [torch.cat([a.index, b.index]) for a, b in zip(several[::2], several[1::2], strict=True)]
    assert all(torch.equal(batch.index, pair) for batch, pair in zip(one, pairs, strict=False))


def test_by_length__without_a_mask() -> None:
    images = data("images")
    with pytest.raises(UserError, match=r"^Expected `by_length` to be false with x, whose samples are no texts"):
        MemoryFeed(images, ROWS, batch_size=4, total_steps=1, seed=0, by_length=True)
