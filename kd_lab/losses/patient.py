"""Patient KD: the first token's state, [CLS], layer by layer, as directions.

Matches, block by block, the state of the token that stands before the text, scaled to length 1. Source: Sun et al. 2019
(arXiv:1908.09355), equation 7; the mean over the channels is that of the authors' code, where the paper has a sum.

Helps where a student of the same width begins with the teacher's first layers; the authors report about a point on
large tasks of GLUE, and less or nothing on small ones. Costs a linear layer where the widths
differ. Defaults: blocks evenly spaced, the last included, weight 100 (of the authors' 10 to 1000), hard
labels 1.

Differs: the paper leaves the last layer to the logits' loss, here it counts too: a student may have one block alone.
Where the widths differ, which the paper does not know, a linear layer brings the student's to the teacher's, as in
TinyBERT (Jiao et al. 2020).

Legend: B batch, C channels, L positions.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import same_number
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.tokens import check_tokens
from kd_lab.losses.common.units import units
from kd_lab.types import Batch, Outputs, Shape


class Patient(Loss):
    """`mean_{pairs, b, c} (u_s - u_t)^2`, u the state of position 0 [B, C] of length 1.

    Args:
        student_shapes: of the student's layers, sequences.
        teacher_shapes: of the teacher's layers, of the same lengths.

    Raises:
        ValueError: a layer is no sequence, or those of a pair have not one length.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True
    tokens: ClassVar[bool] = True

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        same_number(student_shapes, teacher_shapes)
        check_tokens(student_shapes, teacher_shapes)
        self.projectors = nn.ModuleList(
            nn.Identity() if own[0] == theirs[0] else nn.Linear(own[0], theirs[0])
            for own, theirs in zip(student_shapes, teacher_shapes, strict=True)
        )

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not; position 0 is never padding."""
        losses = [
            F.mse_loss(units(project(own[:, :, 0]), 1), units(theirs[:, :, 0], 1))
            for project, own, theirs in zip(self.projectors, student.features, teacher.features, strict=True)
        ]
        return torch.stack(losses).mean()
