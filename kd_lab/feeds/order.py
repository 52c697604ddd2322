"""The order of a training's batches, the seeds of its samples and what is made of them, whatever reads them."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.feeds import buckets
from kd_lab.inputs import Inputs, each
from kd_lab.seeds import mixed, of_samples
from kd_lab.types import Augment, Batch, Data, Mix, Mixed, Share, Source, labelled, read_as

MIXING = 1
"""Sets what is drawn to mix a step's samples apart from all else that follows from the seed."""


class Cut(NamedTuple):
    """How the samples of a step are cut: a slice for each process of each batch, and which of them is meant."""

    targets: Tensor
    pieces: list[list[slice]]
    batch: int
    rank: int


class Place(NamedTuple):
    """One batch before it is read: what this process's piece of it consists of.

    index, targets, seeds: of its samples; to be mixed, each with the next one, also of the one after the last of them.
    cut: what it is a piece of, if it is not all. seed: of what is drawn once for a step.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, as in Batch
    targets: Tensor
    seeds: Tensor
    draw: int
    cut: Cut | None = None
    seed: int = 0

    @property
    def last(self) -> bool:
        """Whether it ends a step."""
        return self.cut is None or self.cut.batch == len(self.cut.pieces) - 1


class Order:
    """Which samples come when, and as what: the part of a `Feed` that every feed has in common.

    The last, smaller batch of an epoch is kept; the last epoch stops where `total_steps` is reached, and after it there
    is none. All follows from (seed, epoch, row) alone.

    Args:
        data: the dataset, whose tensors are kept (no copy).
        rows: [R] int64, the rows to draw from, as in `data.train`.
        batch_size: B, over all processes together.
        total_steps: how many optimizer steps there are over all epochs.
        seed: of the order and of the augmentation.
        augment: whether `data.augment` is applied; where the data has none, nothing is.
        views: each makes one more view of a batch, from the samples as the dataset has them.
        draws: so many times a sample is augmented anew; then its draws come again, in the same order (FKD, Shen and
            Xing 2022). None: anew in every epoch.
        mix: mixes each sample with the next one of its step, the last with the first; the order is random, so this is a
            random partner, and never the sample itself where there are two. The same for all processes.
        accumulate: how many batches make a step; its samples are those of one batch of `accumulate * batch_size`.
        by_length: whether the texts of a step are of like length; see `kd_lab.feeds.buckets`.

    Raises:
        ValueError: `batch_size`, `total_steps`, `draws` or `accumulate` is below 1, or there are no rows.
        UserError: a step takes more samples than there are rows, or their lengths are not known.
    """

    def __init__(
        self,
        data: Data,
        rows: Tensor,
        *,
        batch_size: int,
        total_steps: int,
        seed: int,
        augment: bool = False,
        views: Sequence[Augment] = (),
        draws: int | None = None,
        mix: Mix | None = None,
        accumulate: int = 1,
        by_length: bool = False,
    ) -> None:
        counts = {"batch_size": batch_size, "total_steps": total_steps, "len(rows)": len(rows), "draws": draws}
        for name, value in (counts | {"accumulate": accumulate}).items():
            if value is not None and value < 1:
                raise ValueError(f"Expected `{name}` to be >= 1, but got {value}.")
        if batch_size * accumulate > len(rows):
            raise UserError(
                f"Expected `batch_size` to be at most {len(rows) // accumulate}, the points this network learns from, "
                f"but got {batch_size}: choose a smaller batch or give more points."
            )
        self.batch_size, self.total_steps, self.seed = batch_size, total_steps, seed
        self._step_size, self._mix = batch_size * accumulate, mix
        self.device = torch.device("cpu")
        self._source, self._prepare = data.source, data.prepare
        self._augments = (data.augment if augment else None, *views)
        self._draws = draws
        self._targets, self._rows = data.targets, rows.cpu()
        self._lengths = buckets.lengths_of(data, self._rows) if by_length else None
        self._next = 0
        self._rank, self._world = 0, 1

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a whole epoch."""
        return -(-len(self._rows) // self._step_size)

    @property
    def epochs(self) -> int:
        """Epochs that are left, the first and the last one perhaps cut short."""
        return -(-self.total_steps // self.steps_per_epoch) - self._next // self.steps_per_epoch

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return math.ceil(len(self._rows) / self.batch_size)

    def start(self, step: int) -> Self:
        """The next batch is the first of this step, from 0."""
        self._next = step
        return self

    def shard(self, rank: int, world: int) -> Self:
        """Gives this process its piece of each batch, in place.

        Each batch is cut as by `torch.tensor_split(batch, world)`. A piece that would be empty (a last batch smaller
        than the number of processes) repeats one sample, because every process must take every step.

        Raises:
            ValueError: not 0 <= rank < world.
        """
        if not 0 <= rank < world:
            raise ValueError(f"Expected `rank` to be from 0 to below `world`, but got rank {rank} of {world}.")
        self._rank, self._world = rank, world
        return self

    def places(self) -> Iterator[Place]:
        """Those of the next epoch, on the device; it counts as begun when the first is drawn."""
        epoch, first = divmod(self._next, self.steps_per_epoch)
        steps = min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)
        self._next = (epoch + 1) * self.steps_per_epoch
        generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
        drawn = torch.randperm(len(self._rows), generator=generator)
        if self._lengths is not None:
            drawn = drawn[buckets.by_length(self._lengths[drawn], self._step_size, generator)]
        order = self._rows[drawn].to(self.device)
        # Small, so one gather and one hash for an epoch instead of one for each step.
        draw = self.draw(epoch)
        targets, seeds = self._targets.index_select(0, order), of_samples(mixed(self.seed, draw), order)
        for step in range(first, max(steps, first)):
            whole = slice(step * self._step_size, (step + 1) * self._step_size)
            seed = 0 if self._mix is None else mixed(self.seed, epoch, step, MIXING)
            yield from self._pieces(Place(order[whole], targets[whole], seeds[whole], draw, seed=seed))

    def draw(self, epoch: int) -> int:
        """Which draw of its samples an epoch shows."""
        if all(change is None for change in self._augments):
            return 0
        return epoch if self._draws is None else epoch % self._draws

    def _pieces(self, whole: Place) -> Iterator[Place]:
        """This process's piece of each batch of a step."""
        count, alone = len(whole.index), self._world == 1 and self._step_size == self.batch_size
        if alone and self._mix is None:
            yield whole
            return
        starts = range(0, count, self.batch_size)
        batches = [_cut(start, min(start + self.batch_size, count), self._world) for start in starts]
        for number, pieces in enumerate(batches):
            own = pieces[self._rank]
            rows = own if self._mix is None else torch.arange(own.start, own.stop + 1, device=self.device) % count
            index, targets, seeds = whole.index[rows], whole.targets[rows], whole.seeds[rows]
            cut = None if alone else Cut(whole.targets, batches, number, self._rank)
            yield Place(index, targets, seeds, whole.draw, cut, whole.seed)

    def batch(self, place: Place, views: Sequence[Inputs]) -> Batch:
        """The batch of a place: the samples and their further views, as `augmented` made them, on the device."""
        made = views if self._prepare is None else tuple(map(self._prepare, views))
        if self._mix is not None:
            return _mixed(place, made, self._mix)
        share = None if place.cut is None else _share(place.cut, labelled(place.cut.targets, None))
        return Batch(made[0], place.targets, place.index, tuple(made[1:]), share, place.draw, last=place.last)

    def to(self, device: torch.device | str) -> Self:
        """Moves the targets: places come from that device from now on."""
        self.device = torch.device(device)
        self._targets = self._targets.to(device)
        return self


def augmented(source: Source, rows: Tensor, seeds: Tensor, augments: Sequence[Augment | None]) -> tuple[Inputs, ...]:
    """The rows [B] under each augmentation; None leaves them. The first one has the seeds [B] themselves."""
    own = [seeds, *(of_samples(n, seeds) for n in range(1, len(augments)))]
    return read_as(source, rows, list(zip(augments, own, strict=True)))


def _mixed(place: Place, made: Sequence[Inputs], mix: Mix) -> Batch:
    """Each sample with the next one, in inputs and views alike; of each there is one more than comes out."""
    parts = [mix(each(one, lambda t: t[:-1]), each(one, lambda t: t[1:]), place.seed) for one in made]
    (inputs, own), *others = parts
    share = None
    if place.cut is not None:
        share = _share(place.cut, labelled(place.cut.targets, Mixed(place.cut.targets.roll(-1), own)))
    views, beside = tuple(view for view, _ in others), Mixed(place.targets[1:], own)
    return Batch(inputs, place.targets[:-1], place.index[:-1], views, share, place.draw, beside, place.last)


def _share(cut: Cut, known: Tensor) -> Share:
    """What a piece counts; known: how much of each sample of the step has a label."""
    flat = [piece for batch in cut.pieces for piece in batch]
    counts = torch.stack([torch.stack([known[piece].sum(), torch.ones_like(known[piece]).sum()]) for piece in flat])
    of_each = counts.to(torch.float32)
    world = len(cut.pieces[0])
    whole = of_each.sum(0).clamp(min=1)
    hard, soft = of_each[cut.batch * world + cut.rank] * world / whole
    if len(cut.pieces) == 1:
        return Share(hard, soft)
    return Share(hard, soft, of_each[cut.batch * world : (cut.batch + 1) * world, 1].sum() / whole[1])


def _cut(start: int, stop: int, world: int) -> list[slice]:
    """The part of each process in the batch that lies there in its step."""
    base, extra = divmod(stop - start, world)
    if base == 0:  # some would have none
        return [slice(start + rank % extra, start + rank % extra + 1) for rank in range(world)]
    ends = [start + rank * base + min(rank, extra) for rank in range(world + 1)]
    return [slice(one, other) for one, other in pairwise(ends)]
