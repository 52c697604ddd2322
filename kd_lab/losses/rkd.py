"""RKD: relational KD, the geometry of a batch: distances between samples and angles between triples of them.

Matches what no single sample has, so the embeddings need not have the same size, and any rotation or scaling of the
student's is as good.
Source: Park et al. 2019 (arXiv:1904.05068), equations 5, 6, 8 and 9, with the authors' weights 25 and 50.

Helps in metric learning; on classifiers in CRD's benchmark (Tian et al. 2020) it did less than KD. Costs B^2 distances
and B^3 angles: the angles are computed for a few samples at a time, and again in the backward pass, where all of them
would take more than 64 MiB. Defaults: the vector that the classifier reads, weight 1, hard labels 1.

Differs: means run over all B^2 and B^3 entries, zeros included, as in the authors' code; a batch of one has no relation
and counts 0. Two equal embeddings of the student have no direction between them: as published their gradient is of the
order 1e11, here of that of the others. Under DDP `gather=true` compares the samples of all processes; without it each
compares its own.

Legend: B batch, D features.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kd_lab.losses.common.checks import not_negative, one_pair
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.units import units
from kd_lab.types import Batch, Outputs, Shape

MOST_ANGLES = 2**24
"""So many numbers at a time: 64 MiB in float32."""


class RKD(Loss):
    """`25 * mean SL1(d_s / mu_s, d_t / mu_t) + 50 * mean SL1(a_s, a_t)`, SL1 the Huber loss with beta 1.

    d: Euclidean distances [B, B], mu the mean of those above 0. a: the cosine of the angle at j, for all i, j, k.

    Args:
        distance_weight: of the distances.
        angle_weight: of the angles.
        gather: under DDP, compare the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: a weight is negative, or there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    batch_relational: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "embedding"

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        gather: bool = False,
    ) -> None:
        super().__init__()
        one_pair(student_shapes, teacher_shapes)
        self.distance_weight = not_negative("distance_weight", distance_weight)
        self.angle_weight = not_negative("angle_weight", angle_weight)
        self.gather = gather

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD, theirs_BD = student.features[0].flatten(1), teacher.features[0].flatten(1)
        if self.gather:
            own_BD, theirs_BD = gathered(own_BD), gathered(theirs_BD)
        if len(own_BD) < 2:
            return own_BD.sum() * 0.0
        distances = F.smooth_l1_loss(_relative_distances(own_BD), _relative_distances(theirs_BD))
        return self.distance_weight * distances + self.angle_weight * _angle_loss(own_BD, theirs_BD)


def _relative_distances(features_BD: Tensor) -> Tensor:
    """Euclidean distances [B, B] divided by the mean of those above 0; equal samples are 1e-6 apart, as published."""
    squares_B = features_BD.square().sum(dim=1)
    squared_BB = squares_B[:, None] + squares_B[None, :] - 2 * features_BD @ features_BD.T
    itself_BB = torch.eye(len(features_BD), dtype=torch.bool, device=features_BD.device)
    distances_BB = squared_BB.clamp(min=1e-12).sqrt().masked_fill(itself_BB, 0.0)
    return distances_BB / (distances_BB.sum() / (len(features_BD) * (len(features_BD) - 1)))


def _angle_loss(own_BD: Tensor, theirs_BD: Tensor) -> Tensor:
    """The mean over [B, B, B], so many samples j at a time that no more than MOST_ANGLES numbers are kept."""
    batch = len(own_BD)
    at_a_time = max(1, MOST_ANGLES // (batch * max(batch, own_BD.shape[1], theirs_BD.shape[1])))
    if at_a_time >= batch:
        return _angles_apart(own_BD, theirs_BD, own_BD, theirs_BD) / batch**3
    parts = zip(torch.split(own_BD, at_a_time), torch.split(theirs_BD, at_a_time), strict=True)
    sums = [checkpoint(_angles_apart, s, t, own_BD, theirs_BD, use_reentrant=False) for s, t in parts]
    return torch.stack(sums).sum() / batch**3


def _angles_apart(corners_s: Tensor, corners_t: Tensor, own_BD: Tensor, theirs_BD: Tensor) -> Tensor:
    """The summed Huber loss of the angles at these corners."""
    with torch.no_grad():
        angles_t = _angles(corners_t, theirs_BD)
    return F.smooth_l1_loss(_angles(corners_s, own_BD), angles_t, reduction="sum")


def _angles(corners_JD: Tensor, features_BD: Tensor) -> Tensor:
    """cos of the angle at j between i and k: [J, B, B]."""
    sides_JBD = units(features_BD[None, :, :] - corners_JD[:, None, :], 2)
    return sides_JBD @ sides_JBD.mT
