"""FSP: the flow of the solution procedure, how one stage's channels go together with the next one's.

Matches, for every two neighbouring stages, the matrix of inner products between the channels of the first and those of
the second, averaged over the positions: not what a stage says but how it is made of the one before. The matrices do not
know the resolution, only the channels, which must therefore agree. Source: Yim et al. 2017 (CVPR), equations 1 and 2;
mean instead of sum, average pooling and weight are those of CRD's benchmark (Tian et al. 2020).

Helps as an initialisation: a first stage trains the student's body on this loss alone, then the labels take over and
the loss is gone. In CRD's benchmark it does less than KD on the six pairs where the channels agree. No parameters;
costs one matrix product of the channels at all positions per pair of stages, and the epochs of the first stage.
Defaults: the ends of all stages but the stem, 30 epochs of first stage, weight 50, hard labels 1.

Differs: stage_epochs=0 trains it together with the labels instead; the weight counts only then, because in its own
stage it is alone. The larger of two neighbouring maps is average-pooled, axis by axis; the paper takes the largest
value of each window. CRD's benchmark also compares the stem: name its layer to have that.

Legend: B batch, C channels of a stage, D of the next, S positions.
"""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from kd_lab.losses.common.checks import with_positions
from kd_lab.losses.common.loss import Layers, Loss, Stage
from kd_lab.losses.common.maps import at_the_smaller
from kd_lab.losses.common.stages import stage_epochs as checked_epochs
from kd_lab.types import Batch, Outputs, Shape


class FSP(Loss):
    """`sum_stages mean_{b,c,d} (G_s - G_t)^2`, G [C, D] the mean over S of f_i[c] * f_(i+1)[d] for each sample.

    Args:
        stage_epochs: of the first stage; 0 for none, then the loss is a term beside the labels.
        student_shapes: of the student's layers, channels first, at least two.
        teacher_shapes: of the teacher's layers, each with the channels of the student's.

    Raises:
        ValueError: `stage_epochs` is out of range, there are fewer than two layers, one has no positions, or the
            channels of a pair differ.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], stage_epochs: int = 30
    ) -> None:
        super().__init__()
        with_positions(student_shapes, teacher_shapes)
        if len(student_shapes) < 2:
            raise ValueError(
                f"Expected at least two layers of each network, for a matrix between them, but got "
                f"{len(student_shapes)}."
            )
        for own, theirs in zip(student_shapes, teacher_shapes, strict=True):
            if own[0] != theirs[0]:
                raise ValueError(
                    f"Expected the student's layers to have as many channels as the teacher's, but got {list(own)} "
                    f"and {list(theirs)}."
                )
        self.stage_epochs = checked_epochs(stage_epochs)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses = []
        for own, theirs in zip(pairwise(student.features), pairwise(teacher.features), strict=True):
            losses.append((_flow(*own) - _flow(*theirs)).square().mean())
        return torch.stack(losses).sum()

    def first_stage(self) -> Stage | None:
        """The student's body learns the matrices; nothing is left for the labels' training."""
        if self.stage_epochs == 0:
            return None
        return Stage(loss=self, epochs=self.stage_epochs, trains_student=True, only=True)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"stage_epochs={self.stage_epochs}"


def _flow(first: Tensor, second: Tensor) -> Tensor:
    """[B, C, *positions] and [B, D, *positions] to [B, C, D]."""
    smaller, other = at_the_smaller(first, second)
    first_BCS, second_BDS = smaller.flatten(2), other.flatten(2)
    return torch.bmm(first_BCS, second_BDS.mT) / first_BCS.shape[2]
