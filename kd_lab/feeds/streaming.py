"""Batches of a dataset that is read when a batch is wanted, by worker processes if need be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_lab.feeds.order import Order, Place
from kd_lab.inputs import Inputs, moved
from kd_lab.seeds import of_samples
from kd_lab.types import Augment, Batch, Data


class StreamingFeed(Order):
    """The batches of a training, each read when its turn comes; see `kd_lab.types.Feed` and `Order`.

    The batches are those of a `MemoryFeed` of the same data, whatever the number of workers.

    Args:
        data: the dataset; what it reads a row as follows from the row alone.
        rows: [R] int64, the rows to draw from, as in `data.train`.
        batch_size: B, over all processes together.
        total_steps: how many batches there are over all epochs.
        seed: of the order and of the augmentation.
        augment: whether `data.augment` is applied; where the data has none, nothing is.
        views: each makes one more view of a batch, from the samples as the dataset has them.
        workers: how many processes read and augment; 0: this one.

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
        workers: int = 0,
    ) -> None:
        super().__init__(data.targets, rows, batch_size=batch_size, total_steps=total_steps, seed=seed)
        self._data = data
        self._augments = (data.augment if augment else None, *views)
        self._workers = workers

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        places = list(self.places())
        loader: DataLoader[tuple[Inputs, ...]] = DataLoader(
            _Reads(self._data, self._augments, [(place.index.cpu(), place.seeds.cpu()) for place in places]),
            batch_size=None,
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )
        for place, read in zip(places, loader, strict=True):
            yield self._batch(place, read)

    def _batch(self, place: Place, read: Sequence[Inputs]) -> Batch:
        prepare = self._data.prepare
        on_device = [moved(one, self.device) for one in read]
        inputs, *views = on_device if prepare is None else map(prepare, on_device)
        return Batch(inputs, place.targets, place.index, tuple(views), place.share)


@dataclass(frozen=True)
class _Reads(Dataset[tuple[Inputs, ...]]):
    """What a worker does: the samples of one batch, and its views, before they are prepared."""

    data: Data
    augments: tuple[Augment | None, ...]
    places: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, step: int) -> tuple[Inputs, ...]:
        index, seeds = self.places[step]
        raw = self.data.read(index)
        own, *others = self.augments
        views = [view(raw, of_samples(n, seeds)) for n, view in enumerate(others, start=1) if view is not None]
        return (raw if own is None else own(raw, seeds), *views)
