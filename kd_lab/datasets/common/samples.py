"""Samples (input, label) of a dataset for PyTorch: read by their row, or once into memory."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kd_lab.datasets.common.sampled import evenly
from kd_lab.errors import UserError
from kd_lab.inputs import Inputs, equal
from kd_lab.types import InMemory, Source

Sample = tuple[Inputs, int]
TWICE = 16
"""So many samples are asked for twice."""
MIB = 2**20


@dataclass(frozen=True)
class Samples:
    """Where samples lie, their targets [N] int64, and what stands for their content in a fingerprint."""

    source: Source
    targets: Tensor
    digest: bytes

    @classmethod
    def of(cls, key: str, dataset: Any, *, limit: int | None, memory_mb: int) -> "Samples":
        """Those of a dataset: in memory where they take at most `memory_mb` MiB, as what is iterable has to.

        Args:
            key: the setting that messages start with, as in `dataset.train`.
            dataset: of either style.
            limit: so many are taken, from the start; None takes all.
            memory_mb: the most that lies in memory.

        Raises:
            UserError: no dataset, no end, samples that are no pairs, not of one shape, or other ones when asked again.
        """
        if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__getitem__"):
            return cls._kept(_iterated(key, dataset, limit, memory_mb))
        rows = Indexed(key, dataset, limit)
        rows.check()
        if len(rows) * _bytes(rows.first) <= memory_mb * MIB:
            return cls(InMemory(inputs := rows.read(torch.arange(len(rows)))), rows.targets(), _digest(inputs))
        return cls(rows, rows.targets(), _digest(rows.read(evenly(len(rows)))))

    @classmethod
    def _kept(cls, samples: Sequence[Sample]) -> "Samples":
        inputs = _stacked([one for one, _ in samples])
        return cls(InMemory(inputs), torch.tensor([label for _, label in samples]), _digest(inputs))

    def and_then(self, other: "Samples", key: str) -> "Samples":
        """These and others, whose rows follow.

        Raises:
            UserError: the others, which are those of `key`, have another shape or type.
        """
        one, two = (samples.source.read(torch.tensor([0])) for samples in (self, other))
        if _kind(one) != _kind(two):
            raise UserError(f"{key}: its samples are {_kind(two)}, but those of dataset.train {_kind(one)}.")
        targets, digest = torch.cat([self.targets, other.targets]), self.digest + other.digest
        joined = Joined(self.source, len(self.targets), other.source)
        if isinstance(self.source, InMemory) and isinstance(other.source, InMemory):
            return Samples(InMemory(joined.read(torch.arange(len(targets)))), targets, digest)
        return Samples(joined, targets, digest)


class Indexed:
    """A dataset of map style, read by row."""

    def __init__(self, key: str, dataset: Any, limit: int | None) -> None:
        self._key, self._dataset = key, dataset
        length = len(dataset) if hasattr(dataset, "__len__") else limit
        if length is None:
            raise UserError(f"{key}: has no length, expected dataset.limit=N to take its first N samples.")
        self._length = length if limit is None else min(limit, length)
        if not self._length:
            raise UserError(f"{key}: is empty, expected samples.")

    def __len__(self) -> int:
        return self._length

    def sample(self, row: int) -> Sample:
        """One of them.

        Raises:
            UserError: the dataset raises an error of its own, or it is no pair of an input and a label.
        """
        try:
            found = self._dataset[row]
        except Exception as error:  # a user's dataset may raise anything
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self._key}: sample {row} cannot be read ({type(error).__name__}: {reason}).") from error
        return _pair(self._key, row, found)

    @cached_property
    def first(self) -> Inputs:
        """The input of sample 0, which all others have to be like."""
        return self.sample(0)[0]

    def read(self, rows: Tensor) -> Inputs:
        """The rows [R]: inputs [R, ...]."""
        numbers = rows.tolist()
        inputs = [self.sample(row)[0] for row in numbers]
        for row, one in zip(numbers, inputs, strict=True):
            _check_alike(self._key, row, self.first, one)
        return _stacked(inputs)

    def check(self) -> None:
        """Ask for the first samples twice.

        Raises:
            UserError: another one comes the second time.
        """
        for row in range(min(TWICE, len(self))):
            one, other = self.sample(row), self.sample(row)
            _check_alike(self._key, row, self.first, one[0])
            if one[1] != other[1] or not equal(one[0], other[0]):
                raise UserError(
                    f"{self._key}: sample {row} is another one when it is asked for again; leave random transforms "
                    "away and choose dataset/augment=NAME, such as random_resized_crop, whose draws follow the seed"
                )

    def targets(self) -> Tensor:
        """[N] int64: what it names itself, as torchvision's datasets do, where that is its samples'; else read."""
        named = getattr(self._dataset, "targets", None)
        count = min(TWICE, len(self))
        first = [self.sample(row)[1] for row in range(count)]
        if named is not None and len(named) >= len(self):
            targets = torch.as_tensor(named)[: len(self)]
            if targets.ndim == 1 and not targets.is_floating_point() and targets[:count].tolist() == first:
                return targets.to(torch.int64)
        return torch.tensor([self.sample(row)[1] for row in range(len(self))])


@dataclass(frozen=True)
class Joined:
    """Rows of one source, and behind them those of another."""

    first: Source
    count: int
    second: Source

    def read(self, rows: Tensor) -> Inputs:
        """The rows [R]: inputs [R, ...]."""
        of_first = rows < self.count
        place = torch.cat([torch.nonzero(of_first), torch.nonzero(~of_first)]).squeeze(1).argsort()
        parts = []
        if bool(of_first.any()):
            parts.append(self.first.read(rows[of_first]))
        if not bool(of_first.all()):
            parts.append(self.second.read(rows[~of_first] - self.count))
        return _joined(parts, place)


def _joined(parts: Sequence[Inputs], place: Tensor) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])[place]
    return {name: torch.cat([part[name] for part in parts if not isinstance(part, Tensor)])[place] for name in first}


def _iterated(key: str, dataset: Iterable[Any], limit: int | None, memory_mb: int) -> list[Sample]:
    """All samples, or the first of them."""
    if not hasattr(dataset, "__iter__"):
        raise UserError(
            f"{key}._target_: a {type(dataset).__name__} is no dataset for PyTorch; expected one with __getitem__ and "
            "__len__, or __iter__."
        )
    if limit is None and not hasattr(dataset, "__len__"):
        raise UserError(
            f"{key}: is iterable and does not say how long it is; it is read once, into memory, so set dataset.limit=N "
            "to take its first N samples."
        )
    samples: list[Sample] = []
    left = memory_mb * MIB
    for row, found in enumerate(itertools.islice(iter(dataset), limit)):
        inputs, label = _pair(key, row, found)
        _check_alike(key, row, samples[0][0] if samples else inputs, inputs)
        samples.append((inputs, label))
        left -= _bytes(inputs)
        if left < 0:
            raise UserError(
                f"{key}: is iterable, so its samples lie in memory, and the first {row + 1:,} take more than "
                f"dataset.memory_mb={memory_mb}; raise that, or set dataset.limit={row or 1} or less."
            )
    if not samples:
        raise UserError(f"{key}: is empty, expected samples.")
    return samples


def _pair(key: str, row: int, found: Any) -> Sample:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise UserError(f"{key}: sample {row} is a {type(found).__name__}, expected a pair of an input and a label.")
    value, label = found
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, int | np.integer) or label < 0:
        raise UserError(f"{key}: sample {row} has the label {label!r:.60}, expected a whole number from 0: the class.")
    if isinstance(value, Mapping):
        return {str(name): _tensor(key, row, one) for name, one in value.items()}, int(label)
    return _tensor(key, row, value), int(label)


def _tensor(key: str, row: int, value: Any) -> Tensor:
    """float64 becomes float32, a picture [C, H, W] uint8; all else stays what it is."""
    from torchvision.transforms.v2 import functional as F

    if isinstance(value, Image.Image):
        made: Tensor = F.pil_to_tensor(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        made = torch.from_numpy(value)
    elif isinstance(value, Tensor):
        made = value
    else:
        raise UserError(
            f"{key}: sample {row} is a {type(value).__name__}, expected a tensor, an array, a picture, or some of "
            "these by name."
        )
    return made.float() if made.dtype in {torch.float64, torch.float16, torch.bfloat16} else made


def _check_alike(key: str, row: int, first: Inputs, other: Inputs) -> None:
    if _kind(first, 0) != _kind(other, 0):
        raise UserError(
            f"{key}: sample {row} is {_kind(other, 0)}, but sample 0 {_kind(first, 0)}; expected all alike, by a "
            "transform that resizes or pads."
        )


def _kind(inputs: Inputs, begin: int = 1) -> str:
    """`[3, 32, 32] uint8`, by name where a sample has several parts."""

    def one(tensor: Tensor) -> str:
        return f"{list(tensor.shape[begin:])} {str(tensor.dtype).removeprefix('torch.')}"

    if isinstance(inputs, Tensor):
        return one(inputs)
    return ", ".join(f"{name} {one(tensor)}" for name, tensor in inputs.items())


def _stacked(samples: Sequence[Inputs]) -> Inputs:
    first = samples[0]
    if isinstance(first, Tensor):
        return torch.stack([one for one in samples if isinstance(one, Tensor)])
    return {name: torch.stack([one[name] for one in samples if not isinstance(one, Tensor)]) for name in first}


def _bytes(inputs: Inputs) -> int:
    parts = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    return sum(part.numel() * part.element_size() for part in parts)


def _digest(inputs: Inputs) -> bytes:
    digest = hashlib.sha256()
    for name, one in ({"": inputs} if isinstance(inputs, Tensor) else inputs).items():
        digest.update(f"{name} {one.dtype} {list(one.shape)};".encode())
        digest.update(one.contiguous().numpy().data)
    return digest.digest()
