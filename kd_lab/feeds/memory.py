"""Whole-tensor batches of a dataset in memory: no per-sample Python, the same order on every device."""

from collections.abc import Iterator
from itertools import islice
from typing import Self

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.seeds import mixed, of_samples
from kd_lab.types import Augment, Batch, Data


class Batches:
    """The batches of a training, epoch by epoch: `iter()` gives the next epoch, `total_steps` batches in all.

    The last, smaller batch of an epoch is kept; the last epoch stops where `total_steps` is reached, and after it
    `iter()` is empty. Order and augmentation depend on (seed, epoch, row) alone: not on the device, nor on the number
    of processes. `epoch` is the number of the next epoch, from 0; set it to go back or on.
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
        strong: Augment | None = None,
    ) -> None:
        """Keeps the tensors of the data (no copy).

        Args:
            data: the dataset.
            rows: [R] int64, the rows to draw from, as in `data.train`.
            batch_size: B, over all processes together.
            total_steps: how many batches there are over all epochs.
            seed: of the order and of the augmentation.
            augment: whether `data.augment` is applied; where the data has none, nothing is.
            strong: makes the second view of each batch, from the samples as the dataset has them; None: there is none.

        Raises:
            ValueError: `batch_size` or `total_steps` is below 1, or there are no rows.
            UserError: `batch_size` is larger than the number of rows.
        """
        for name, value in (("batch_size", batch_size), ("total_steps", total_steps), ("len(rows)", len(rows))):
            if value < 1:
                raise ValueError(f"Expected `{name}` to be >= 1, but got {value}.")
        if batch_size > len(rows):
            raise UserError(
                f"Expected `batch_size` to be at most {len(rows)}, the points this network learns from, "
                f"but got {batch_size}: choose a smaller batch or give more points."
            )
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.seed = seed
        self.epoch = 0
        self._inputs, self._targets, self._rows = data.inputs, data.targets, rows.cpu()
        self._augment: Augment | None = data.augment if augment else None
        self._strong = strong
        self._rank, self._world = 0, 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a whole epoch."""
        return -(-len(self._rows) // self.batch_size)

    @property
    def epochs(self) -> int:
        """Epochs until `total_steps`, the last one perhaps cut short."""
        return -(-self.total_steps // self.steps_per_epoch)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.steps_per_epoch

    def to(self, device: torch.device | str) -> Self:
        """Moves inputs and targets, once and in place: batches come from that device from now on."""
        self._inputs, self._targets = self._inputs.to(device), self._targets.to(device)
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

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch; it counts as begun when its first batch is drawn (Lightning makes iterators to look at)."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        steps = min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)
        generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
        order = self._rows[torch.randperm(len(self._rows), generator=generator)].to(self._inputs.device)
        # Targets are small: one gather an epoch instead of one a step.
        targets = self._targets.index_select(0, order)
        chunks = zip(torch.split(order, self.batch_size), torch.split(targets, self.batch_size), strict=True)
        pairs = list(islice(chunks, max(steps, 0)))
        plain = self._augment is None and self._strong is None
        yield from self._plain(pairs) if plain else self._augmented(pairs, epoch)

    def _plain(self, pairs: list[tuple[Tensor, Tensor]]) -> Iterator[Batch]:
        inputs = self._inputs
        if self._world > 1:
            pairs = [(self._piece(index), self._piece(targets)) for index, targets in pairs]
        for index, targets in pairs:
            yield Batch(inputs.index_select(0, index), targets, index)

    def _augmented(self, pairs: list[tuple[Tensor, Tensor]], epoch: int) -> Iterator[Batch]:
        for whole, targets in pairs:
            index = self._piece(whole)
            seeds = of_samples(mixed(self.seed, epoch), index)
            inputs = raw = self._inputs.index_select(0, index)
            if self._augment is not None:
                inputs = self._augment(raw, seeds)
            strong = None if self._strong is None else self._strong(raw, of_samples(1, seeds))
            yield Batch(inputs, self._piece(targets), index, strong)

    def _piece(self, batch: Tensor) -> Tensor:
        """The part of a global batch [B, ...] that is this process's."""
        if self._world == 1:
            return batch
        base, extra = divmod(len(batch), self._world)
        if base == 0 and self._rank >= extra:
            return batch[self._rank % extra].unsqueeze(0)
        start = self._rank * base + min(self._rank, extra)
        return batch[start : start + base + (self._rank < extra)]
