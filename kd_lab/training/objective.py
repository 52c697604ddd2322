"""What a step minimises: `hard_weight * CE + sum_i weight_i * loss_i`, and each part by its name.

Legend: B batch, K classes.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import UNLABELLED, Batch, LossTerms, Outputs

HARD = "hard"
"""The name of the hard-label cross-entropy among the terms."""

_RESERVED = (HARD, "total")


class Loss(Protocol):
    """A soft term: an `nn.Module` class with keyword-only settings, whose declarations the contract tests check.

    zero_at_equality: 0, its minimum, when the student's outputs equal the teacher's.
    shift_invariant: a constant added to all logits of a sample changes nothing.
    batch_relational: compares samples of a batch, so it is not the mean of its values on each sample alone.
    """

    zero_at_equality: ClassVar[bool]
    shift_invariant: ClassVar[bool]
    batch_relational: ClassVar[bool]

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, mean over the samples, with gradient for the student and none for the teacher."""


class Objective(nn.Module):
    """The weighted sum of the hard-label cross-entropy and named soft terms.

    The terms are submodules: what they train is in `parameters()` and in the checkpoint. A hard weight of 0 leaves the
    cross-entropy out; a soft term of weight 0 is still computed, so that its curve can be compared over a sweep.

    Args:
        terms: name to (loss, weight); empty to train on hard labels alone.
        hard_weight: weight of the cross-entropy with the labels.
        label_smoothing: share of the label's probability spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: a weight is negative or not finite, all weights are 0, `label_smoothing` is out of range, or a term
            has a name that cannot be used.
    """

    def __init__(
        self, terms: Mapping[str, tuple[nn.Module, float]], hard_weight: float, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        _check_weight("`hard_weight`", hard_weight)
        for name, (_, weight) in terms.items():
            _check_weight(f"`weight` of the term `{name}`", weight)
        if hard_weight == 0 and all(weight == 0 for _, weight in terms.values()):
            soft = ", ".join(f"the `weight` of `{name}`" for name in terms) or "there is no soft term"
            raise ValueError(f"Expected at least one weight to be > 0, but got `hard_weight` 0 and {soft}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"Expected `label_smoothing` to be in [0, 1), but got {label_smoothing}.")
        self.hard_weight = float(hard_weight)
        self.label_smoothing = float(label_smoothing)
        self.terms = nn.ModuleDict()
        for name, (loss, _) in terms.items():
            _check_name(name, self.terms)
            self.terms[name] = loss
        self.weights = tuple(float(weight) for _, weight in terms.values())

    def forward(
        self,
        student: Outputs,
        teacher: Outputs | None,
        batch: Batch,
        *,
        hard_scale: float | Tensor = 1.0,
        soft_scale: float | Tensor = 1.0,
    ) -> LossTerms:
        """The objective of one batch.

        Where ranks hold batches of different size, each passes `world * own count / global count` as scale (labelled
        points for `hard_scale`, all points for `soft_scale`): the mean of the ranks' gradients, which DDP takes, is
        then exactly the gradient of the mean over the global batch.

        Args:
            student: logits [B, K].
            teacher: logits [B, K], or None where there is no soft term.
            batch: targets [B], `UNLABELLED` where there is no label.
            hard_scale: factor on the hard term in the total.
            soft_scale: factor on every soft term in the total.

        Returns:
            The total, and the terms before weight and scale, in nats: "hard" (absent when its weight is 0) and each
            soft term by name. Terms still carry gradient: the caller detaches what it logs.

        Raises:
            ValueError: there are soft terms, but no teacher.
        """
        terms: dict[str, Tensor] = {}
        parts: list[Tensor] = []
        if self.hard_weight > 0:
            terms[HARD] = self._cross_entropy(student.logits, batch.targets)
            parts.append(_times(terms[HARD], self.hard_weight * hard_scale))
        for (name, loss), weight in zip(self.terms.items(), self.weights, strict=True):
            if teacher is None:
                raise ValueError(f"Expected a teacher for the term `{name}`, but got None.")
            terms[name] = cast("Loss", loss)(student, teacher, batch)
            parts.append(_times(terms[name], weight * soft_scale))
        return LossTerms(total=sum(parts[1:], start=parts[0]), terms=terms)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the labelled points; 0 with a gradient of 0 when there is none."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if targets.device.type == "cpu" and int(targets.min()) >= 0:
            # Where looking needs no synchronisation it is cheaper than the count below: 55 against 85 us a step.
            return F.cross_entropy(wide, targets, label_smoothing=self.label_smoothing)
        # Not reduction="mean": that is 0/0 in a batch without labels.
        total = F.cross_entropy(
            wide, targets, ignore_index=UNLABELLED, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / (targets != UNLABELLED).sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"hard_weight={self.hard_weight}, weights={self.weights}, label_smoothing={self.label_smoothing}"


def _times(value: Tensor, factor: float | Tensor) -> Tensor:
    # The common factor of 1 costs nothing, forward or backward.
    return value if isinstance(factor, float) and factor == 1.0 else value * factor


def _check_weight(what: str, weight: float) -> None:
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(f"Expected {what} to be a finite number >= 0, but got {weight}.")


def _check_name(name: str, terms: nn.ModuleDict) -> None:
    if name in _RESERVED:
        raise ValueError(
            f"Expected another name for the term `{name}`: `{name}` is a key that the objective itself writes."
        )
    # nn.ModuleDict keeps its modules as attributes, so its own attributes are taken.
    if not name.isidentifier() or hasattr(terms, name):
        raise ValueError(
            f"Expected a plain word that PyTorch does not use itself as the name of a term, but got `{name}`."
        )
