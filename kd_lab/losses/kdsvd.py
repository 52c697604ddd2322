"""KDSVD: the leading singular vectors of each stage, and how they change from stage to stage.

Matches, for neighbouring stages, how alike the channels' shares in the strongest patterns are: of a map as a matrix
[channels, positions] the first left singular vectors, one number for each channel, are compared with those of the next
stage by a Gaussian of their distance (RBF), and the student's comparison is to be the teacher's. Source: Lee, Kim and
Song 2018 (arXiv:1807.06819); layout, alignment, `k + 3` vectors of the student and the sum over channels are those of
CRD's code (Tian et al. 2020).

Helps: little is known. CRD's benchmark has code for it but no row, and few use it. It costs one decomposition for each
sample, stage and network, more than any other loss without parameters.
Defaults: every stage, k = 1, weight 1, hard labels 1.

Differs: the sign of a singular vector is arbitrary, so the teacher's is chosen such that its entries sum to 0 or more,
and the student's such that its cosine with the teacher's is not negative; CRD's code leaves the first to the library.
Of two equally good vectors of the student the first is taken; CRD's code adds them. A map of 0 has the vector 0, and no
gradient is NaN (see `leading_singular`). The map may have any axes; CRD's code wants it square.

Legend: B batch, C channels, S positions, K vectors.
"""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.channels import with_equal_channels
from kd_lab.losses.common.checks import with_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.singular import leading_singular
from kd_lab.types import Batch, Outputs, Shape

SPARE = 3
"""So many more vectors of the student, among which each of the teacher's finds its own."""

POWERS = 12
"""Of the series of exp(x), |x| <= 1/4: what is left out is below 0.25^12 / 12! = 1.3e-16."""


class KDSVD(Loss):
    """`sum_{i,j,k} mean_b [r(u_i, v_j) - r(u'_i, v'_j)]^2`, `r(u, v) = exp(-(u - v)^2 / 8)`, over neighbouring stages.

    u, v: entries i, j of vector k of the student's two stages, u', v' of the teacher's. Vector k of both networks has
    the length of the teacher's k-th singular value, these scaled to length 1.

    Args:
        k: how many singular vectors are matched.
        student_shapes: of the student's layers, channels first, at least two.
        teacher_shapes: of the teacher's layers, with as many axes and channels.

    Raises:
        ValueError: `k` is not an integer from 1 to the smallest number of channels or positions of the teacher, there
            are fewer than two pairs, a layer has no positions, or the two of a pair have not as many axes or channels.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], k: int = 1) -> None:
        super().__init__()
        with_positions(student_shapes, teacher_shapes)
        with_equal_channels(student_shapes, teacher_shapes)
        if len(teacher_shapes) < 2:
            raise ValueError("Expected at least two layers of each network, to compare them, but got 1.")
        most = min(min(channels, torch.Size(positions).numel()) for channels, *positions in teacher_shapes)
        if int(k) != k or not 1 <= k <= most:
            raise ValueError(f"Expected `k` to be an integer from 1 to {most}, but got {k}.")
        self.k = int(k)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        stages = [self._series(s, t) for s, t in zip(student.features, teacher.features, strict=True)]
        losses = [_apart(one, other) for one, other in pairwise(stages)]
        return torch.stack(losses).sum() / len(teacher.logits)

    def _series(self, own: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """What the Gaussians are made of, for student and teacher, see `_series`."""
        values_BK, theirs_BKC = leading_singular(theirs.flatten(2), self.k)
        theirs_BKC = theirs_BKC * torch.where(theirs_BKC.sum(dim=2, keepdim=True) < 0, -1.0, 1.0)
        own_BKC = _aligned(leading_singular(own.flatten(2), self.k + SPARE)[1], theirs_BKC)
        lengths_BK1 = F.normalize(values_BK, dim=1)[:, :, None]
        return _series(own_BKC * lengths_BK1), _series(theirs_BKC * lengths_BK1)


def _aligned(own_BNC: Tensor, theirs_BKC: Tensor) -> Tensor:
    """For each vector of the teacher the most parallel one of the student, turned to the same side."""
    cosines_BKN = theirs_BKC @ own_BNC.detach().mT
    best_BK1 = cosines_BKN.abs().argmax(dim=2, keepdim=True)
    signs_BK1 = torch.where(cosines_BKN.gather(2, best_BK1) < 0, -1.0, 1.0)
    return own_BNC.gather(1, best_BK1.expand(theirs_BKC.shape)) * signs_BK1


def _series(vectors_BKC: Tensor) -> Tensor:
    """[..., C] to [..., C, P] with `series(u) @ series(v) = exp(-(u - v)^2 / 8)`, for numbers of size 1 at the most.

    For `exp(-(u - v)^2 / 8) = exp(-u^2 / 8) exp(-v^2 / 8) sum_p (uv / 4)^p / p!`. So the Gaussians of two stages, a
    matrix [C, C] for each sample, are never written down.
    """
    powers = [(vectors_BKC.square() / -8).exp()]
    for p in range(1, POWERS):
        powers.append(powers[-1] * vectors_BKC * (1 / (4 * p)) ** 0.5)
    return torch.stack(powers, dim=-1)


def _apart(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """`||U V^T - U' V'^T||^2` of student and teacher, summed over samples and vectors.

    As `[U - U', U'] [V, V - V']^T`, whose squared norm needs small matrices alone: nothing large cancels.
    """
    (own_u, theirs_u), (own_v, theirs_v) = one, other
    left, right = torch.cat([own_u - theirs_u, theirs_u], dim=-1), torch.cat([own_v, own_v - theirs_v], dim=-1)
    return ((left.mT @ left) * (right.mT @ right)).sum()
