"""What every loss is: declarations that the contract tests check, and one `compute`.

Legend: B batch, K classes, C channels.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from kd_lab.types import Batch, Outputs

Layers = Literal["embedding", "pooled", "last", "hint", "stages"]
"""Which layers a loss compares where the user names none: the vector that the classifier reads; the map whose average
that vector is (the vector itself, where one network has no such map); the last map; one in the middle of the depth; the
end of every stage (each resolution, or evenly spaced blocks)."""


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
    - layers: which layers it compares, None for the logits alone. maps: these must have positions, not vectors alone.
      pre_activation: it wants them before their activation function.
    - two_views: it wants the logits of a second, stronger view of each sample (`strong_logits`) and takes a setting
      `strong`, the augmentation that makes it.
    - deploys: the dotted path of the network that takes the student's place, where the method changes what is deployed.
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
    layers: ClassVar[Layers | None] = None
    maps: ClassVar[bool] = False
    pre_activation: ClassVar[bool] = False
    two_views: ClassVar[bool] = False
    deploys: ClassVar[str | None] = None
    gather: bool = False

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Tensor:
        """The loss of one batch: `compute` in float32 at least, whatever autocast says, the teacher detached.

        Args:
            student: logits [B, K] and features, channels first.
            teacher: the same of the teacher; None where the loss needs none.
            batch: targets [B], `UNLABELLED` where there is no label, and index [B].

        Returns:
            Scalar, mean over the samples, float32 for half-precision outputs.

        Raises:
            ValueError: there is no teacher, but the loss needs one.
        """
        if teacher is None and self.needs_teacher:
            raise ValueError(f"Expected a teacher for {type(self).__name__}, but got None.")
        wide, taught = _wide(student), cast("Outputs", teacher and _detached(_wide(teacher)))
        device = student.logits.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self.compute(wide, taught, batch)
        return self.compute(wide, taught, batch)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The loss of one batch, of outputs in float32 or float64; the teacher's carry no graph."""
        raise NotImplementedError

    def first_stage(self) -> "Stage | None":
        """A training of its own before the student's, for the methods published with one."""
        return None

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


def _wide(outputs: Outputs) -> Outputs:
    tensors = (outputs.logits, *outputs.features)
    if all(t.dtype in (torch.float32, torch.float64) for t in tensors):
        return outputs  # strong_logits come from the same network at the same precision
    strong = None if outputs.strong_logits is None else widened(outputs.strong_logits)
    return Outputs(widened(outputs.logits), tuple(map(widened, outputs.features)), strong)


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32, or float64 if it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _detached(outputs: Outputs) -> Outputs:
    if not any(t.requires_grad for t in (outputs.logits, *outputs.features)):
        return outputs
    strong = None if outputs.strong_logits is None else outputs.strong_logits.detach()
    return Outputs(outputs.logits.detach(), tuple(f.detach() for f in outputs.features), strong)


def standardized(outputs: Outputs) -> Outputs:
    """Logit standardization: `z <- (z - mean) / (std + 1e-7)`, over the classes of each sample.

    Source: Sun et al. 2024 (arXiv:2403.01427), algorithm 1. The standard
    deviation is that of the authors' code, divided by K - 1. It composes with any loss of the logits.
    """
    strong = None if outputs.strong_logits is None else _z_scores(outputs.strong_logits)
    return replace(outputs, logits=_z_scores(outputs.logits), strong_logits=strong)


def _z_scores(logits_BK: Tensor) -> Tensor:
    wide_BK = widened(logits_BK)
    centred_BK = wide_BK - wide_BK.mean(dim=-1, keepdim=True)
    variance_B1 = centred_BK.square().sum(dim=-1, keepdim=True) / max(wide_BK.shape[-1] - 1, 1)
    # The square root has no derivative at 0, where all logits of a sample are equal: 0 / 1e-7 there, gradient finite.
    flat_B1 = variance_B1 == 0
    std_B1 = torch.where(flat_B1, 1.0, variance_B1).sqrt().masked_fill(flat_B1, 0.0)
    return centred_BK / (std_B1 + 1e-7)
