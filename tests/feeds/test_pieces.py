"""What a step consists of: batches one after the other, pieces in processes, samples that are mixed with others."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.errors import UserError
from kd_lab.feeds.memory import MemoryFeed
from kd_lab.feeds.streaming import StreamingFeed
from kd_lab.inputs import Inputs
from kd_lab.mixing.mixup import Mixup
from kd_lab.seeds import integers
from kd_lab.training.objective import Objective
from kd_lab.types import UNLABELLED, Batch, Data, InMemory, Outputs, labelled
from tests.contracts.feeds import all_of, same

ROWS = torch.arange(23)
STEP: dict[str, Any] = {"total_steps": 7, "seed": 1, "augment": True}


def shifted(inputs: Inputs, seeds: Tensor) -> Inputs:
    assert isinstance(inputs, Tensor)
    return inputs + integers(seeds, 0, 1000)[:, None]


def data() -> Data:
    """Row i is [i, -i]; every fourth has no label."""
    inputs = torch.stack([ROWS, -ROWS], dim=1).float()
    targets = torch.where(ROWS % 4 == 0, UNLABELLED, ROWS % 3)
    return Data("x", InMemory(inputs), targets, ROWS, ROWS, ROWS[:0], ROWS[:0], 3, "", shifted)


def batches(rank: int = 0, world: int = 1, **settings: Any) -> list[Batch]:
    return all_of(MemoryFeed(data(), ROWS, **STEP | settings).shard(rank, world))


def steps(found: list[Batch]) -> list[list[Batch]]:
    """The batches of each optimizer step."""
    made: list[list[Batch]] = [[]]
    for batch in found:
        made[-1].append(batch)
        if batch.last:
            made.append([])
    assert made.pop() == [], "the last step does not end"
    return made


def joined(parts: list[Batch]) -> Batch:
    inputs, targets, index = (torch.cat([part[i] for part in parts]) for i in range(3))
    return Batch(inputs, targets, index)


def test_accumulate__a_step_has_the_samples_of_one_batch_in_their_order() -> None:
    whole, found = batches(batch_size=9), steps(batches(batch_size=3, accumulate=3))
    assert [[len(b.index) for b in step] for step in found] == [[3, 3, 3], [3, 3, 3], [3, 2]] * 2 + [[3, 3, 3]]
    assert same([joined(step) for step in found], whole)


def test_accumulate__steps_and_epochs_are_counted_in_optimizer_steps() -> None:
    feed = MemoryFeed(data(), ROWS, batch_size=3, accumulate=3, **STEP)
    assert (feed.steps_per_epoch, len(feed), feed.epochs) == (3, 8, 3)
    later = all_of(MemoryFeed(data(), ROWS, batch_size=3, accumulate=3, **STEP).start(4))
    assert same(later, batches(batch_size=3, accumulate=3)[8 + 3 :])


def test_accumulate__more_than_there_are_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"Expected `batch_size` to be at most 7, .* but got 8"):
        MemoryFeed(data(), ROWS, batch_size=8, accumulate=3, **STEP)
    with pytest.raises(ValueError, match="Expected `accumulate` to be >= 1, but got 0"):
        MemoryFeed(data(), ROWS, batch_size=8, accumulate=0, **STEP)


def test_mix__each_sample_is_mixed_with_the_next_one_of_its_step() -> None:
    plain, mixed = batches(batch_size=8), batches(batch_size=8, mix=Mixup())
    assert len({b.mixed.share for b in mixed if b.mixed}) == len(mixed)
    for one, other in zip(plain, mixed, strict=True):
        assert other.mixed is not None
        assert isinstance(one.inputs, Tensor)
        share = other.mixed.share
        expected = share * one.inputs + (1 - share) * one.inputs.roll(-1, 0)
        torch.testing.assert_close(other.inputs, expected)
        assert torch.equal(other.targets, one.targets)
        assert torch.equal(other.index, one.index)
        assert torch.equal(other.mixed.targets, one.targets.roll(-1))


def test_mix__a_replay_is_the_same_and_another_seed_is_not() -> None:
    found = batches(batch_size=8, mix=Mixup())
    assert same(batches(batch_size=8, mix=Mixup()), found)
    assert [b.mixed.share for b in found if b.mixed] != [
        b.mixed.share for b in batches(batch_size=8, mix=Mixup(), seed=2) if b.mixed
    ]
    assert same(all_of(MemoryFeed(data(), ROWS, batch_size=8, mix=Mixup(), **STEP).start(4)), found[4:])


def test_mix__views_are_mixed_as_the_samples_are() -> None:
    settings = {"batch_size": 8, "views": (shifted,)}
    for one, other in zip(batches(**settings), batches(mix=Mixup(), **settings), strict=True):
        assert other.mixed is not None
        assert isinstance(one.views[0], Tensor)
        share = other.mixed.share
        torch.testing.assert_close(other.views[0], share * one.views[0] + (1 - share) * one.views[0].roll(-1, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_mix__streamed_batches_are_those_from_memory(workers: int) -> None:
    settings = STEP | {"batch_size": 4, "accumulate": 2, "mix": Mixup()}
    assert same(all_of(StreamingFeed(data(), ROWS, **settings).read_by(workers)), batches(**settings))


@pytest.mark.parametrize("mix", [None, Mixup()], ids=["plain", "mixed"])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares__make_the_mean_over_the_pieces_that_over_the_step(world: int, accumulate: int, mix: Any) -> None:
    """What each process sums over its batches, averaged over the processes, against one batch of all samples."""
    size = 12 // accumulate
    whole = batches(batch_size=12, mix=mix)
    pieces = [steps(batches(rank, world, batch_size=size, accumulate=accumulate, mix=mix)) for rank in range(world)]
    values = torch.linspace(0.3, 2.1, 23)
    for number, batch in enumerate(whole):
        parts = [part for process in pieces for part in process[number]]
        for what in ("soft", "hard"):
            found = sum(mean(part, values, what) * (getattr(part.share, what) if part.share else 1) for part in parts)
            torch.testing.assert_close(found / world, mean(batch, values, what))


def mean(batch: Batch, values: Tensor, what: str) -> Tensor:
    """Of what each row is worth; where its label counts, by how much of it is known."""
    weight = labelled(batch.targets, batch.mixed).float() if what == "hard" else torch.ones(len(batch.index))
    return (values[batch.index] * weight).sum() / weight.sum().clamp(min=1e-9)


@pytest.mark.parametrize("world", [2, 3])
def test_mix__pieces_of_processes_are_cut_from_the_same_mixed_batch(world: int) -> None:
    whole = batches(batch_size=8, mix=Mixup())
    pieces = [batches(rank, world, batch_size=8, mix=Mixup()) for rank in range(world)]
    for number, batch in enumerate(whole):
        parts = [process[number] for process in pieces]
        assert same([joined(parts)], [Batch(*batch[:3])])
        assert torch.equal(torch.cat([p.mixed.targets for p in parts if p.mixed]), batch.mixed.targets)  # type: ignore[union-attr]


def test_share__of_what_has_gathered_is_its_part_of_the_step() -> None:
    for rank in range(2):
        (whole, last, *_) = steps(batches(rank, 2, batch_size=6, accumulate=2))
        assert [float(part.share.gathered) for part in whole if part.share] == [0.5, 0.5]
        assert [float(part.share.gathered) for part in last if part.share] == pytest.approx([6 / 11, 5 / 11])


def test_hard__mixed_as_zhang_writes_it() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    (batch, *_) = batches(batch_size=8, mix=Mixup())
    assert batch.mixed is not None
    found = Objective({}, 1.0)(Outputs(logits), None, batch).total
    share, own, theirs = batch.mixed.share, batch.targets, batch.mixed.targets
    total = 0.0
    for i in range(8):
        for target, weight in ((own[i], share), (theirs[i], 1 - share)):
            if target != UNLABELLED:
                total += weight * float(F.cross_entropy(logits[i], target))
    known = share * int((own != UNLABELLED).sum()) + (1 - share) * int((theirs != UNLABELLED).sum())
    assert float(found) == pytest.approx(total / known, rel=1e-5)
