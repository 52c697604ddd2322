"""PKT: probabilistic knowledge transfer, how probable each sample makes every other of its batch.

Matches, by a KL divergence, the distribution that each sample's cosines with all samples make when they are shifted to
0 .. 1 and scaled to sum 1. Embeddings need not have the same size. Source: Passalis and Tefas 2018 (arXiv:1803.10837),
the cosine kernel and the KL divergence, with the mean over all pairs of the authors' code; layer and weight are those
of CRD's benchmark (Tian et al. 2020).

Helps about as KD does, within a family and between families: it ends above the student alone on all 13 pairs of CRD's
benchmark, and above KD on 3 of them. No parameters; it costs two products [B, D] x [D, B] of the embeddings.
Defaults: the vector that the classifier reads, weight 30000 (the mean over B^2 pairs of what is summed over B makes the
value small), hard labels 1.

Differs: a sample whose embedding is 0 is at a right angle to all; in the authors' code its gradient is not a number,
and here of the size of the others'. Under DDP `gather=true` compares the samples of all processes; without it each
process compares its own, and its distributions run over those alone.

Legend: B batch, D features.
"""

from typing import ClassVar

import torch
from torch import Tensor

from kd_lab.losses.common.checks import one_pair
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.types import Batch, Outputs, Shape

EPSILON = 1e-7
"""Added to every norm and to every probability in the logarithm, as published."""


class PKT(Loss):
    """`mean_{i,j} p_t log((p_t + 1e-7) / (p_s + 1e-7))` in nats, p the rows [B, B] of `(cos + 1) / 2`, of sum 1.

    Args:
        gather: under DDP, compare the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_relational: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "embedding"

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], gather: bool = False
    ) -> None:
        super().__init__()
        one_pair(student_shapes, teacher_shapes)
        self.gather = gather

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD, theirs_BD = student.features[0].flatten(1), teacher.features[0].flatten(1)
        if self.gather:
            own_BD, theirs_BD = gathered(own_BD), gathered(theirs_BD)
        p_s_BB, p_t_BB = _probabilities(own_BD), _probabilities(theirs_BD)
        return (p_t_BB * ((p_t_BB + EPSILON) / (p_s_BB + EPSILON)).log()).mean()


def _probabilities(features_BD: Tensor) -> Tensor:
    # The norm's derivative at 0 is taken as 0 by PyTorch; that of a written-out square root would be 0 / 0.
    lengths_B1: Tensor = torch.linalg.vector_norm(features_BD, dim=1, keepdim=True)
    # Where an embedding is 0, so is what is divided; divided by epsilon alone, its slope would be 1e7.
    units_BD = features_BD / (lengths_B1.masked_fill(lengths_B1 == 0, 1.0) + EPSILON)
    alike_BB = (units_BD @ units_BD.T + 1) / 2
    return alike_BB / alike_BB.sum(dim=1, keepdim=True)
