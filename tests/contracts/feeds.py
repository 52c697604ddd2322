"""What every feed keeps, whatever it reads from: `check_feed` raises an AssertionError for one that does not."""

from collections.abc import Callable
from typing import Any

import torch

from kd_lab.inputs import Inputs, each
from kd_lab.types import Batch, Feed

Make = Callable[..., Feed]
"""Makes the feed of some rows: `make(rows=..., batch_size=..., total_steps=..., seed=..., augment=..., views=...)`."""

SETTINGS: dict[str, Any] = {"rows": torch.arange(3, 22), "batch_size": 8, "total_steps": 7, "seed": 1}


def check_feed(make: Make, views: Any = ()) -> None:
    """Length, order, augmentation, pieces and beginnings follow from (seed, epoch, row) alone.

    Args:
        make: with any number of workers, threads or files behind it, another one at each call if it likes.
        views: what makes further views.
    """
    settings = {**SETTINGS, "augment": True, "views": views}
    state = torch.get_rng_state()
    whole = all_of(make(**settings))
    assert torch.equal(torch.get_rng_state(), state), "draws from torch's own generator"
    assert [len(b.index) for b in whole] == [8, 8, 3, 8, 8, 3, 8], "not all steps, or not all rows of an epoch"
    epochs = [torch.cat([b.index for b in whole[i : i + 3]]) for i in (0, 3)]
    assert all(torch.equal(rows.sort().values, SETTINGS["rows"]) for rows in epochs), "an epoch has not each row once"
    assert not torch.equal(*epochs), "every epoch has the same order"
    assert same(all_of(make(**settings)), whole), "the same seed gives other batches"
    assert not same(all_of(make(**settings | {"seed": 2})), whole), "another seed gives the same batches"
    assert same(all_of(make(**settings).start(4)), whole[4:]), "started in the middle, it goes on otherwise"
    alone = samples(all_of(make(**settings | {"batch_size": 5, "total_steps": 4})))
    together = samples(whole[:3])
    assert all(torch.equal(alone[row], together[row]) for row in together), "a sample depends on its batch"
    assert [b.draw for b in whole] == [0, 0, 0, 1, 1, 1, 2], "an epoch is not a draw of its own"
    again = all_of(make(**settings | {"draws": 2, "total_steps": 9}))
    assert [b.draw for b in again] == [0, 0, 0, 1, 1, 1, 0, 0, 0], "its draws do not come again in turn"
    first, last = samples(again[:3]), samples(again[6:])
    assert all(torch.equal(first[row], last[row]) for row in first), "a draw that comes again is another one"
    plain = all_of(make(**settings | {"augment": False, "views": ()}))
    assert {b.draw for b in plain} == {0}, "it has draws without augmentation"
    for rank in range(2):
        pieces = all_of(make(**settings).shard(rank, 2))
        assert len(pieces) == len(whole), "a process misses a step"
        for piece, batch in zip(pieces, whole, strict=True):
            rows = torch.tensor_split(torch.arange(len(batch.index)), 2)[rank]
            assert same([piece], [cut(batch, rows)]), "a process's piece is not that of the batch"


def all_of(feed: Feed) -> list[Batch]:
    """Every batch, epoch by epoch."""
    epochs = [list(feed) for _ in range(feed.epochs)]
    assert not list(feed), "it has more epochs than it says"
    return [batch for epoch in epochs for batch in epoch]


def cut(batch: Batch, rows: torch.Tensor) -> Batch:
    """Some rows of a batch."""
    chosen = [each(one, lambda t: t[rows]) for one in (batch.inputs, *batch.views)]
    return Batch(chosen[0], batch.targets[rows], batch.index[rows], tuple(chosen[1:]))


def samples(batches: list[Batch]) -> dict[int, torch.Tensor]:
    """Each sample's inputs and views by its row, flat."""
    found = {}
    for batch in batches:
        parts = [flat(one) for one in (batch.inputs, *batch.views)]
        for i, row in enumerate(batch.index.tolist()):
            found[row] = torch.cat([part[i] for part in parts])
    return found


def flat(inputs: Inputs) -> torch.Tensor:
    """[B, everything]."""
    if isinstance(inputs, torch.Tensor):
        return inputs.flatten(1).double()
    return torch.cat([one.flatten(1).double() for one in inputs.values()], dim=1)


def same(one: list[Batch], other: list[Batch]) -> bool:
    """Whether all batches are, in inputs, targets, rows and views."""
    if len(one) != len(other):
        return False
    for a, b in zip(one, other, strict=True):
        parts = [(a.targets, b.targets), (a.index, b.index)]
        parts += [(flat(x), flat(y)) for x, y in zip((a.inputs, *a.views), (b.inputs, *b.views), strict=True)]
        if not all(torch.equal(x, y) for x, y in parts):
            return False
    return True
