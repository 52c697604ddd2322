"""The objects that are handed from layer to layer, each defined once.

Legend: B batch, K classes, N samples of a dataset, C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

UNLABELLED = -100
"""The target of a point without a label; `torch.nn.functional.cross_entropy` ignores the same number."""

Measurement = dict[str, float]
"""What was measured of one network: a key of `kd_lab.names` to its value."""

Shape = tuple[int, ...]
"""The shape of one sample's feature, without the batch: (C,), (C, length) or (C, height, width)."""

Augment = Callable[[Tensor, Tensor], Tensor]
"""A batch transform: inputs [B, ...] and a seed for each sample [B] int64 to inputs of the same shape. What becomes of
a sample follows from it and its seed alone."""


class Batch(NamedTuple):
    """What a training step sees.

    inputs: [B, *input_shape] float32. targets: [B] int64, `UNLABELLED` where there is no label.
    index: [B] int64, the row of each sample in its dataset, the same in every epoch. strong: the same samples under a
    stronger augmentation, where a loss asks for a second view, else None.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a batch
    strong: Tensor | None = None


@dataclass(frozen=True)
class Data:
    """A dataset in memory, cut into its four parts.

    inputs: [N, *input_shape] float32. targets: [N] int64, `UNLABELLED` where the label is unknown or hidden.
    train, transfer, validation, test: int64 row numbers. `train` is labelled; `transfer` is what a student sees while
    it is distilled, labelled and unlabelled points; validation and test are labelled and disjoint from both.
    fingerprint: sha256 (hex) over inputs, targets and parts. augment: the batch transform that keeps this data's
    labels true, or None.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    train: Tensor
    transfer: Tensor
    validation: Tensor
    test: Tensor
    num_classes: int
    fingerprint: str
    augment: Augment | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch dimension."""
        return tuple(self.inputs.shape[1:])


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch.

    logits: [B, K]. features: of the layers that were tapped, in their order, channels first: vectors [B, C],
    sequences [B, C, length] or maps [B, C, height, width]. strong_logits: [B, K] of the batch's second view.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    strong_logits: Tensor | None = None


@dataclass(frozen=True)
class LossTerms:
    """The objective of one step: `total` (scalar, with gradient) and each term by name, before its weight."""

    total: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class NetworkResult:
    """One trained (or loaded) network of a job: its role, where it is kept and what was measured."""

    role: str
    run_id: str
    measurement: Measurement
    weights_sha256: str
    reused: bool


@dataclass(frozen=True)
class RunResult:
    """What one job found: teacher and baseline where there are any, and the student."""

    teacher: NetworkResult | None
    baseline: NetworkResult | None
    student: NetworkResult
    validation_accuracy: float | None

    def networks(self) -> list[NetworkResult]:
        """Those that are there, teacher first."""
        return [n for n in (self.teacher, self.baseline, self.student) if n is not None]
