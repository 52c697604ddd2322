"""Whole-tensor batches of a dataset in memory: no per-sample Python, the same on every device."""

from collections.abc import Iterator
from typing import Self

import torch

from kd_lab.feeds.order import Order, augmented
from kd_lab.inputs import moved
from kd_lab.types import Batch, InMemory


class MemoryFeed(Order):
    """The batches of a training from rows that lie in memory; see `kd_lab.types.Feed` and `Order`."""

    def to(self, device: torch.device | str) -> Self:
        """Moves inputs and targets, once and in place: batches come from that device from now on."""
        assert isinstance(self._source, InMemory)
        self._source = InMemory(moved(self._source.inputs, device))
        return super().to(device)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        for place in self.places():
            yield self.batch(place, augmented(self._source, place.index, place.seeds, self._augments))
