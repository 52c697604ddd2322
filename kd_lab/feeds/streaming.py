"""Batches of a dataset that is read when a batch is wanted, by worker processes if need be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_lab.feeds.order import Order, augmented
from kd_lab.inputs import Inputs, moved
from kd_lab.types import Augment, Batch, Source


class StreamingFeed(Order):
    """The batches of a training, each read when its turn comes; see `kd_lab.types.Feed` and `Order`.

    What the dataset reads as a row follows from the row alone. The batches are those of a `MemoryFeed` of the same
    data, whatever the number of workers.
    """

    _workers = 0

    def read_by(self, workers: int) -> Self:
        """So many processes read and augment from now on; 0: this one."""
        self._workers = workers
        return self

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        places = list(self.places())
        loader: DataLoader[tuple[Inputs, ...]] = DataLoader(
            _Reads(self._source, self._augments, [(place.index.cpu(), place.seeds.cpu()) for place in places]),
            batch_size=None,
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )
        for place, read in zip(places, loader, strict=True):
            yield self.batch(place, [moved(one, self.device) for one in read])


@dataclass(frozen=True)
class _Reads(Dataset[tuple[Inputs, ...]]):
    """What a worker does: the samples of one batch, and its views, before they are prepared."""

    source: Source
    augments: Sequence[Augment | None]
    places: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, step: int) -> tuple[Inputs, ...]:
        index, seeds = self.places[step]
        return augmented(self.source.read(index), seeds, self.augments)
