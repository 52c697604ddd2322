"""The order of a training's batches, the seeds of its samples and what is made of them, whatever reads them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import Inputs
from kd_lab.seeds import mixed, of_samples
from kd_lab.types import UNLABELLED, Augment, Batch, Data, Share


class Place(NamedTuple):
    """One batch before it is read: what this process's piece consists of, and its share of the whole."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, as in Batch
    targets: Tensor
    seeds: Tensor
    share: Share | None
    draw: int


class Order:
    """Which samples come when, and as what: the part of a `Feed` that every feed has in common.

    The last, smaller batch of an epoch is kept; the last epoch stops where `total_steps` is reached, and after it there
    is none. All follows from (seed, epoch, row) alone.

    Args:
        data: the dataset, whose tensors are kept (no copy).
        rows: [R] int64, the rows to draw from, as in `data.train`.
        batch_size: B, over all processes together.
        total_steps: how many batches there are over all epochs.
        seed: of the order and of the augmentation.
        augment: whether `data.augment` is applied; where the data has none, nothing is.
        views: each makes one more view of a batch, from the samples as the dataset has them.
        draws: so many times a sample is augmented anew; then its draws come again, in the same order (FKD, Shen and
            Xing 2022). None: anew in every epoch.

    Raises:
        ValueError: `batch_size`, `total_steps` or `draws` is below 1, or there are no rows.
        UserError: `batch_size` is larger than the number of rows.
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
    ) -> None:
        counts = {"batch_size": batch_size, "total_steps": total_steps, "len(rows)": len(rows), "draws": draws}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"Expected `{name}` to be >= 1, but got {value}.")
        if batch_size > len(rows):
            raise UserError(
                f"Expected `batch_size` to be at most {len(rows)}, the points this network learns from, "
                f"but got {batch_size}: choose a smaller batch or give more points."
            )
        self.batch_size, self.total_steps, self.seed = batch_size, total_steps, seed
        self.device = torch.device("cpu")
        self._source, self._prepare = data.source, data.prepare
        self._augments = (data.augment if augment else None, *views)
        self._draws = draws
        self._targets, self._rows = data.targets, rows.cpu()
        self._next = 0
        self._rank, self._world = 0, 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a whole epoch."""
        return -(-len(self._rows) // self.batch_size)

    @property
    def epochs(self) -> int:
        """Epochs that are left, the first and the last one perhaps cut short."""
        return -(-self.total_steps // self.steps_per_epoch) - self._next // self.steps_per_epoch

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.steps_per_epoch

    def start(self, step: int) -> Self:
        """The next batch is that of this step, from 0."""
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
        order = self._rows[torch.randperm(len(self._rows), generator=generator)].to(self.device)
        # Small, so one gather and one hash for an epoch instead of one for each step.
        draw = self.draw(epoch)
        targets, seeds = self._targets.index_select(0, order), of_samples(mixed(self.seed, draw), order)
        for step in range(first, max(steps, first)):
            whole = slice(step * self.batch_size, (step + 1) * self.batch_size)
            yield self._place(order[whole], targets[whole], seeds[whole], draw)

    def draw(self, epoch: int) -> int:
        """Which draw of its samples an epoch shows."""
        if all(change is None for change in self._augments):
            return 0
        return epoch if self._draws is None else epoch % self._draws

    def _place(self, index: Tensor, targets: Tensor, seeds: Tensor, draw: int) -> Place:
        if self._world == 1:
            return Place(index, targets, seeds, None, draw)
        pieces = [_piece(len(index), rank, self._world) for rank in range(self._world)]
        own = pieces[self._rank]
        return Place(index[own], targets[own], seeds[own], self._share(targets, pieces), draw)

    def _share(self, targets: Tensor, pieces: list[slice]) -> Share:
        known = (targets != UNLABELLED).long()
        counts = torch.stack(
            [torch.stack([known[piece].sum(), torch.ones_like(known[piece]).sum()]) for piece in pieces]
        )
        of_each = counts.to(torch.float32)
        hard, soft = of_each[self._rank] * self._world / of_each.sum(0).clamp(min=1)
        return Share(hard, soft)

    def batch(self, place: Place, views: Sequence[Inputs]) -> Batch:
        """The batch of a place: the samples and their further views, as `augmented` made them, on the device."""
        inputs, *others = views if self._prepare is None else map(self._prepare, views)
        return Batch(inputs, place.targets, place.index, tuple(others), place.share, place.draw)

    def to(self, device: torch.device | str) -> Self:
        """Moves the targets: places come from that device from now on."""
        self.device = torch.device(device)
        self._targets = self._targets.to(device)
        return self


def augmented(raw: Inputs, seeds: Tensor, augments: Sequence[Augment | None]) -> tuple[Inputs, ...]:
    """The samples [B, ...] under each augmentation; None leaves them. The first one has the seeds [B] themselves."""
    own = [seeds, *(of_samples(n, seeds) for n in range(1, len(augments)))]
    return tuple(raw if change is None else change(raw, s) for change, s in zip(augments, own, strict=True))


def _piece(count: int, rank: int, world: int) -> slice:
    """The part of a batch of `count` that is one process's."""
    base, extra = divmod(count, world)
    if base == 0 and rank >= extra:
        return slice(rank % extra, rank % extra + 1)
    start = rank * base + min(rank, extra)
    return slice(start, start + base + (rank < extra))
