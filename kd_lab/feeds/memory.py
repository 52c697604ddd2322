"""Whole-tensor batches of a dataset in memory: no per-sample Python, the same on every device."""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from kd_lab.feeds.order import Order
from kd_lab.inputs import moved, select
from kd_lab.seeds import of_samples
from kd_lab.types import Augment, Batch, Data, InMemory


class MemoryFeed(Order):
    """The batches of a training from rows that lie in memory; see `kd_lab.types.Feed` and `Order`.

    Args:
        data: the dataset, whose tensors are kept (no copy).
        rows: [R] int64, the rows to draw from, as in `data.train`.
        batch_size: B, over all processes together.
        total_steps: how many batches there are over all epochs.
        seed: of the order and of the augmentation.
        augment: whether `data.augment` is applied; where the data has none, nothing is.
        views: each makes one more view of a batch, from the samples as the dataset has them.

    Raises:
        ValueError: see `Order`.
        UserError: see `Order`.
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
    ) -> None:
        super().__init__(data.targets, rows, batch_size=batch_size, total_steps=total_steps, seed=seed)
        assert isinstance(data.source, InMemory)
        self._inputs = data.source.inputs
        self._augment = data.augment if augment else None
        self._views, self._prepare = tuple(views), data.prepare

    def to(self, device: torch.device | str) -> Self:
        """Moves inputs and targets, once and in place: batches come from that device from now on."""
        self._inputs = moved(self._inputs, device)
        return super().to(device)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        for index, targets, seeds, share in self.places():
            raw = inputs = select(self._inputs, index)
            if self._augment is not None:
                inputs = self._augment(raw, seeds)
            views = tuple(view(raw, of_samples(n, seeds)) for n, view in enumerate(self._views, start=1))
            if self._prepare is not None:
                inputs, views = self._prepare(inputs), tuple(map(self._prepare, views))
            yield Batch(inputs, targets, index, views, share)
