"""Batches of a dataset that is read when a batch is wanted, by worker processes if need be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_lab.errors import UserError
from kd_lab.feeds.order import Order, augmented
from kd_lab.inputs import Inputs, moved
from kd_lab.types import Augment, Batch, Source


class StreamingFeed(Order):
    """The batches of a training, each read when its turn comes; see `kd_lab.types.Feed` and `Order`.

    What the dataset reads as a row follows from the row alone. The batches are those of a `MemoryFeed` of the same
    data, whatever the number of workers.

    Raises:
        UserError: a row cannot be read; whoever reads it, the message is the source's own.
    """

    _workers = 0

    def read_by(self, workers: int) -> Self:
        """So many processes read and augment from now on; 0: this one."""
        self._workers = workers
        return self

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        places = list(self.places())
        loader: DataLoader[tuple[Inputs, ...] | UserError] = DataLoader(
            _Reads(self._source, self._augments, [(place.index.cpu(), place.seeds.cpu()) for place in places]),
            batch_size=None,
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )
        for place, read in zip(places, loader, strict=True):
            if isinstance(read, UserError):
                raise read
            yield self.batch(place, [moved(one, self.device) for one in read])


@dataclass(frozen=True)
class _Reads(Dataset[tuple[Inputs, ...] | UserError]):
    """What a worker does: the samples of one batch, and its views, before they are prepared."""

    source: Source
    augments: Sequence[Augment | None]
    places: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, step: int) -> tuple[Inputs, ...] | UserError:
        """An error is handed over as it is: one that is raised here would reach the training as a traceback."""
        index, seeds = self.places[step]
        try:
            return augmented(self.source, index, seeds, self.augments)
        except UserError as error:
            return error


def lost_worker(error: str) -> str | None:
    """What a user is told if this is what PyTorch says of a process that reads and is gone; else None."""
    if "DataLoader worker" not in error or not ("killed by signal" in error or "exited unexpectedly" in error):
        return None
    return (
        "a worker, one of the processes that read the data, was killed or ended by itself, most likely for want of "
        "memory; take fewer workers (trainer.workers=1, or 0 for none) or smaller batches, or give more memory, "
        "/dev/shm included"
    )
