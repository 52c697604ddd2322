"""The user's own `torch.utils.data.Dataset`, map style or iterable, with its transforms."""

from typing import Any

import torch
from torch import Tensor

from kd_lab.datasets.common.held_out import check_test, cut_off
from kd_lab.datasets.common.samples import Samples
from kd_lab.datasets.common.scaled import Scaled
from kd_lab.datasets.common.splits import (
    SplitSettings,
    assemble_read,
    check_every_class,
    cut,
)
from kd_lab.errors import UserError
from kd_lab.types import Augment, Data


class TorchDataset:
    """Samples (input, label) of a dataset for PyTorch, and if wanted of another one for the test.

    An input is a tensor, an array, a picture or a mapping of names to tensors, each of one shape in all samples; labels
    are whole numbers 0 to K-1. uint8 is scaled to 0..1. Samples lie in memory where they take at most `memory_mb`, else
    workers read them; what is iterable is read once, into memory.

    Transforms have to give the same sample every time: random ones belong to dataset/augment, where they are drawn from
    the seed and can be repeated.
    """

    def __init__(
        self,
        *,
        train: Any,
        test: Any = 0.2,
        labels: int | None = None,
        validation: int | float = 0,
        limit: int | None = None,
        memory_mb: int = 256,
        seed: int = 0,
        augment: Augment | None = None,
    ) -> None:
        """Checks the settings, reads nothing.

        Args:
            train: the dataset to learn from.
            test: that for the test; or a number of samples of `train`, or a fraction of them, rounded up.
            labels: how many labels are kept, stratified; None keeps all.
            validation: a number of labelled points or a fraction of them, cut from train before labels are hidden.
            limit: so many samples are taken of each dataset, from its start; None takes all.
            memory_mb: the most that lies in memory, in MiB, of each dataset.
            seed: fixes the parts.
            augment: the batch transform that training may apply.

        Raises:
            ValueError: a value that no dataset can meet.
        """
        self._settings = SplitSettings(labels, validation, seed, augment)
        if isinstance(test, int | float):
            check_test(test)
        if limit is not None and limit < 1:
            raise ValueError(f"Expected `limit` to be >= 1, or null for all, but got {limit}.")
        if memory_mb < 0:
            raise ValueError(f"Expected `memory_mb` to be >= 0, but got {memory_mb}.")
        self._train, self._test, self._limit, self._memory_mb = train, test, limit, memory_mb

    def load(self) -> Data:
        """Reads the labels, and the samples where they lie in memory, and cuts the points.

        Raises:
            UserError: no dataset for PyTorch, samples of another kind, or the settings ask for more than there are.
        """
        given = not isinstance(self._test, int | float)
        samples = self._samples("dataset.train", self._train)
        own, rows = torch.arange(len(samples.targets)), None
        if given:
            self._check_classes()
            samples = samples.and_then(self._samples("dataset.test", self._test), "dataset.test")
            rows = torch.arange(len(own), len(samples.targets))
        num_classes = _num_classes(samples.targets, own)
        if rows is None:
            own, rows = cut_off(samples.targets, own, self._test, self._settings.seed, "samples")
        targets, parts = cut(samples.targets, own, rows, num_classes, self._settings)
        first = samples.source.read(torch.tensor([0]))
        in_bytes = isinstance(first, Tensor) and first.dtype == torch.uint8
        return assemble_read(
            "torch",
            samples.source,
            samples.digest,
            targets,
            parts,
            num_classes=num_classes,
            augment=self._settings.augment,
            prepare=Scaled() if in_bytes else None,
        )

    def _check_classes(self) -> None:
        """Where both name their classes, as torchvision's datasets do, these have to be the same."""
        named = [getattr(dataset, "classes", None) for dataset in (self._train, self._test)]
        own, other = ([str(name) for name in names] if isinstance(names, list | tuple) else None for names in named)
        if own is not None and other is not None and own != other:
            unlike = next((pair for pair in zip(own, other, strict=False) if pair[0] != pair[1]), (own[-1], other[-1]))
            raise UserError(
                f"dataset.test: its {len(other)} classes are not the {len(own)} of dataset.train, the first other one "
                f"is {unlike[1]}, not {unlike[0]}; expected the same ones in the same order."
            )

    def _samples(self, key: str, dataset: Any) -> Samples:
        return Samples.of(key, dataset, limit=self._limit, memory_mb=self._memory_mb)


def _num_classes(targets: Tensor, own: Tensor) -> int:
    """The number of classes, each of which must have an example among those to learn from."""
    found = int(targets.max()) + 1
    if found < 2:
        raise UserError("dataset.train: all its samples are of one class, expected at least 2.")
    check_every_class(targets, own, found, "dataset.train")
    return found
