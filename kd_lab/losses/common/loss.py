"""What every loss is: declarations that the contract tests check, and one `compute`.

Legend: B batch, K classes, C channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from kd_lab.losses.common.masked import MOST, any_masked, unmasked
from kd_lab.losses.common.outputs import detached, in_float32, mapped, widened
from kd_lab.types import Augment, Batch, Outputs

Layers = Literal["embedding", "pooled", "last", "hint", "stages", "attention", "transformer"]
"""Which layers a loss compares where the user names none: the vector that the classifier reads; the map whose average
that vector is (the vector itself, where one network has no such map); the last map; one in the middle of the depth; the
end of every stage (each resolution, or evenly spaced blocks); of transformers, query, key and value of the last
attention, or query, key and state of every block."""


class Loss(nn.Module):
    """A term of the objective. A subclass declares what it is and writes `compute`.

    Its constructor takes keywords only: the settings of its YAML, and what it wants to know of the two networks. Of
    these it names what it needs, and is given it: `student_shapes` and `teacher_shapes` (a tuple of `Shape`, one for
    each pair of layers), `num_classes`, `num_samples` (rows of the dataset, for a memory that `batch.index` points
    into), `targets` ([num_samples] int64, `UNLABELLED` where there is no label), `transfer` (the rows that the student
    trains on, int64), `student_head` and `teacher_head` (the classifiers, modules of the networks, never to be trained
    or registered here), `teacher_norms` (the BatchNorm before each tapped layer of the teacher, or None). What does not
    fit raises a ValueError that says what was expected.

    - zero_at_equality: 0, its minimum, when the student's outputs equal the teacher's.
    - shift_invariant: a constant added to all logits of a sample changes nothing.
    - symmetric: student and teacher may change places.
    - batch_relational: compares samples of a batch, so it is not the mean of its values on each sample alone. Such a
      loss has the setting `gather`: under DDP, whether it sees the batches of all processes together.
    - batch_normalized: its own parts normalise over the batch, as BatchNorm does in any network: under DDP, each
      process by itself.
    - draws: draws at random from torch's own generator, so that two calls differ and a seed fixes them.
    - has_memory: keeps something of what it saw in buffers, by `batch.index`; a call changes it.
    - needs_teacher: False for a regularizer that is used as a control.
    - labelled_only: a mean over the labelled samples alone, 0 where there is none.
    - reads_labels: another label of a sample is another value, so that samples of two labels have none.
    - layers: which layers it compares, None for the logits alone. maps: these must have positions, not vectors alone.
      places: it compares these positions, so a pair that has one in common is not proposed.
      pre_activation: it wants them before their activation function.
    - tokens: it knows of texts which positions are padding (`kd_lab.losses.common.tokens`). Others are shown the mean
      over the rest; those that need positions are refused.
    - deploys: the dotted path of the network that takes the student's place, where the method changes what is deployed
      (a `kd_lab.models.common.deployed.Deployed`).
    - learns: what of its `readings` it learns, and from which part of the data, in a phrase; empty: nothing.
    - refuses_masked: why a class of logit -inf is refused; None where it counts as one of probability 0.
    """

    zero_at_equality: ClassVar[bool]
    shift_invariant: ClassVar[bool]
    symmetric: ClassVar[bool]
    batch_relational: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    has_memory: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    labelled_only: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = None
    maps: ClassVar[bool] = False
    places: ClassVar[bool] = False
    pre_activation: ClassVar[bool] = False
    tokens: ClassVar[bool] = False
    deploys: ClassVar[str | None] = None
    learns: ClassVar[str] = ""
    gather: bool = False
    refuses_masked: str | None = None
    _masked: bool | None = None
    """Whether a class of logit -inf was seen; None before the first batch."""

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        """The loss of one batch: `compute` in float32 at least, whatever autocast says, the teacher detached.

        A class of logit -inf is looked for in the first batch, where the value is no number: what comes later is a
        network that diverges, and looking would be a wait at every step.

        Args:
            student: logits [B, K] and features, channels first.
            teacher: the same of the teacher; None where the loss needs none.
            batch: targets [B], `UNLABELLED` where there is no label, and index [B].

        Returns:
            Scalar, mean over the samples, float32 for half-precision outputs. A loss with parameters computes float64
            outputs in the precision of these.

        Raises:
            ValueError: there is no teacher, but the loss needs one; the two networks' logits are compared but are not
                of as many classes; a logit is -inf where that makes the loss infinite, or no number.
        """
        if teacher is None and self.needs_teacher:
            raise ValueError(f"Expected a teacher for {type(self).__name__}, but got None.")
        wide, taught = self._wide(student), cast("Outputs", teacher and detached(self._wide(teacher)))
        if self.layers is None and self.needs_teacher:
            own, theirs = wide.logits.shape[-1], taught.logits.shape[-1]
            if own != theirs:
                raise ValueError(
                    f"Expected as many classes of the student as of the teacher, but got {own} and {theirs}."
                )
        value = self._value(wide, taught, batch)
        if self._masked is not None or torch.compiler.is_compiling():
            return value
        self._masked = False
        return value if abs(value.item()) <= MOST else self._looked_into(value, wide, taught, batch)

    def _value(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        if self._masked:
            student, teacher = unmasked(student), teacher and unmasked(teacher)
        device = student.logits.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self.compute(student, teacher, batch)
        return self.compute(student, teacher, batch)

    def _looked_into(self, value: Tensor, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The value without the -inf that made it no number; as it is, if there are none."""
        if not any_masked(student, *([teacher] if self.needs_teacher else [])):
            return value
        if self.refuses_masked is not None:
            raise ValueError(f"Expected finite logits, because {self.refuses_masked}, but got -inf.")
        self._masked = True
        value = self._value(student, teacher, batch)
        if abs(value.item()) <= MOST:
            return value
        self._masked = False
        raise ValueError(
            f"Expected {type(self).__name__} to be finite, but got a class with a logit of -inf that has a probability "
            "in the other network or in the labels."
        )

    def _wide(self, outputs: Outputs) -> Outputs:
        """The outputs in float32, or in float64 where they and the loss's own parameters are."""
        wide = in_float32(outputs)
        if wide.logits.dtype == torch.float64:  # and so are the features of the same network
            own = next((p.dtype for p in self.parameters()), torch.float64)
            if own != torch.float64:
                return mapped(wide, lambda tensor: tensor.to(own))
        return wide

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The loss of one batch, of outputs in float32 or float64; the teacher's carry no graph."""
        raise NotImplementedError

    def read_teacher(self) -> None:
        """Take what it keeps of the teacher's own weights; called once more when the teacher is trained."""

    def first_stage(self) -> "Stage | None":
        """A training of its own before the student's, for the methods published with one."""
        return None

    def views(self) -> Sequence[Augment]:
        """What makes further views of each sample, of which it wants both networks' logits (`Outputs.views`)."""
        return ()

    def readings(self) -> dict[str, float]:
        """What is worth a curve beside the loss itself, such as a learned temperature."""
        return {}


@dataclass(frozen=True)
class Stage:
    """A first stage: `loss` alone is minimised for so many epochs.

    By the student, if it is trained, and by the parts of `loss`, which are frozen afterwards. Without the student,
    `loss` is shown the teacher's features alone. only: the work is done then, no term is left in the student's
    objective.
    """

    loss: Loss
    epochs: int
    trains_student: bool
    only: bool


def standardized(outputs: Outputs) -> Outputs:
    """Logit standardization: `z <- (z - mean) / (std + 1e-7)`, over the classes of each sample.

    Source: Sun et al. 2024 (arXiv:2403.01427), algorithm 1. The standard
    deviation is that of the authors' code, divided by K - 1. It composes with any loss of the logits.

    Raises:
        ValueError: a logit is -inf (on a CPU, where looking is no wait; elsewhere the sample's scores are no numbers).
    """
    return replace(outputs, logits=_z_scores(outputs.logits), views=tuple(map(_z_scores, outputs.views)))


def _z_scores(logits_BK: Tensor) -> Tensor:
    wide_BK = widened(logits_BK)
    mean_B1 = wide_BK.mean(dim=-1, keepdim=True)
    if mean_B1.device.type == "cpu" and not torch.compiler.is_compiling() and mean_B1.min().item() == -math.inf:
        raise ValueError("Expected finite logits to standardize, because -inf has no distance to a mean, but got -inf.")
    centred_BK = wide_BK - mean_B1
    variance_B1 = centred_BK.square().sum(dim=-1, keepdim=True) / max(wide_BK.shape[-1] - 1, 1)
    # The square root has no derivative at 0, where all logits of a sample are equal: 0 / 1e-7 there, gradient finite.
    flat_B1 = variance_B1 == 0
    std_B1 = torch.where(flat_B1, 1.0, variance_B1).sqrt().masked_fill(flat_B1, 0.0)
    return centred_BK / (std_B1 + 1e-7)
