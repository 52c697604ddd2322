"""CC: correlation congruence, as CRD's code computes it: the distances of neighbouring samples, times each other.

Matches the embeddings of both networks after a trained linear layer each, through the products of the absolute
differences of two samples that follow each other in the batch. Source: Peng et al. 2019 (arXiv:1904.01802); this form,
its layers of 128 and its weight are those of CRD's benchmark (Tian et al. 2020), whose authors have it from the
paper's. The paper's own loss is another: the squared difference of the two networks' Gaussian kernels between samples.

Helps little: in CRD's benchmark it ends below KD on all 13 pairs, and below the student alone on 2 of them. It costs
two linear layers. Defaults: the vector that the classifier reads, dim = 128, weight 0.02, hard labels 1.

Differs: in nothing from that code. Know what it rewards: the teacher's layer is trained too, and nothing keeps both
layers from answering 0, where the loss is 0. The order of the batch matters, as only neighbours are compared; the first
and the last sample have one neighbour, so they count half, and a batch of one counts 0. Under DDP `gather=true` makes
one batch of those of all processes, in their order; without it a process knows no neighbour in another.

Legend: B batch, D embedding.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lab.losses.common.checks import one_pair
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.types import Batch, Outputs, Shape


class CC(Loss):
    """`mean_{i < B} sum_d |delta_{i,d}| |delta_{i+1,d}|`, `delta = W_s f_s + b_s - W_t f_t - b_t`, [B, D].

    Args:
        dim: D, to which both linear layers lead.
        gather: under DDP, compare the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: `dim` is not an integer above 0, or there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_relational: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "embedding"

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        dim: int = 128,
        gather: bool = False,
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        if int(dim) != dim or dim < 1:
            raise ValueError(f"Expected `dim` to be an integer >= 1, but got {dim}.")
        self.dim = int(dim)
        self.gather = gather
        self.student_embed = nn.Linear(torch.Size(own).numel(), self.dim)
        self.teacher_embed = nn.Linear(torch.Size(theirs).numel(), self.dim)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD = self.student_embed(student.features[0].flatten(1))
        distance_BD: Tensor = (own_BD - self.teacher_embed(teacher.features[0].flatten(1))).abs()
        if self.gather:
            distance_BD = gathered(distance_BD)
        # Without a pair the sum is 0, with a gradient of 0.
        return (distance_BD[:-1] * distance_BD[1:]).sum() / max(len(distance_BD) - 1, 1)
