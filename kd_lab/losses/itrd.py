"""ITRD: information-theoretic distillation, the correlation of each feature and the likeness of the samples.

Matches two things. Correlation: after a trained linear layer each feature of the student is to rise and fall over the
batch with the teacher's of the same number. Mutual information: samples that are alike for the student are to be alike
for the teacher too, by Renyi's entropy of order 2 of the products of all pairs of samples. Source: Miles, Lopez
Rodriguez and Mikolajczyk 2022 (arXiv:2112.00459), as in the authors' code, whose names of settings we keep.

Helps, by the authors' table, more than most for what it costs: above KD on all 13 pairs of CRD's benchmark. It costs
one linear layer and the products of all pairs of samples. Defaults: the vector that the classifier reads, lambda_corr
2, lambda_mutual 1, alpha_it 1.01 (1.5 between families: the authors' commands for CIFAR-100), weight 1, hard labels 1.

Differs: a feature that is constant over the batch has correlation 0, and a batch of nothing but zeros a Gram matrix of
zeros, where the authors divide by 0. As in their code a vector of zeros has a product of 0 with all; deviations are
divided by n - 1 and the correlation by n, so that it is (n - 1) / n at the most and the logarithm stays finite; and
where both vectors have one size, the Gram matrix is of the student's own, before the linear layer. Under DDP
`gather=true` compares the samples of all processes; without it each process compares its own, whose correlations are
those of a smaller sample, and larger by chance.

Legend: B batch, D features.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import not_negative, one_pair, positive
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.types import Batch, Outputs, Shape

LEAST = 1e-12
"""The smallest variance of a feature and trace of a Gram matrix that are told from 0."""


class ITRD(Loss):
    """`lambda_corr * log2 sum_d |c_d - 1|^(2 alpha) + lambda_mutual * (||G_s||^2 - ||G_s * G_t||^2)`.

    c: the correlations [D] over the batch of `W f_s + b` and f_t. G: the cosines [B, B] between samples; `G_s` and the
    elementwise product `G_s * G_t` are divided by their traces. The first part is negative where all correlations are
    high.

    Args:
        lambda_corr: weight of the correlation, in bits.
        lambda_mutual: weight of the mutual information.
        alpha_it: alpha, Renyi's order in the correlation: a large one sees the worst features alone.
        gather: under DDP, compare the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: a weight is negative, `alpha_it` is not a finite number above 0, or there is more than one pair of
            layers.
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
        lambda_corr: float = 2.0,
        lambda_mutual: float = 1.0,
        alpha_it: float = 1.01,
        gather: bool = False,
    ) -> None:
        super().__init__()
        own, theirs = (torch.Size(shape).numel() for shape in one_pair(student_shapes, teacher_shapes))
        self.lambda_corr = not_negative("lambda_corr", lambda_corr)
        self.lambda_mutual = not_negative("lambda_mutual", lambda_mutual)
        self.alpha_it = positive("alpha_it", alpha_it)
        self.gather = gather
        self._one_size = own == theirs
        self.embed = nn.Linear(own, theirs)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD, theirs_BD = student.features[0].flatten(1), teacher.features[0].flatten(1)
        embedded_BD: Tensor = self.embed(own_BD)
        compared_BD = own_BD if self._one_size else embedded_BD
        if self.gather:
            embedded_BD, compared_BD, theirs_BD = gathered(embedded_BD), gathered(compared_BD), gathered(theirs_BD)
        correlation = _decorrelation(embedded_BD, theirs_BD, self.alpha_it)
        return self.lambda_corr * correlation + self.lambda_mutual * _information_apart(compared_BD, theirs_BD)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"lambda_corr={self.lambda_corr}, lambda_mutual={self.lambda_mutual}, alpha_it={self.alpha_it}"


def _decorrelation(own_BD: Tensor, theirs_BD: Tensor, alpha: float) -> Tensor:
    correlation_D = (_standardized(own_BD) * _standardized(theirs_BD)).mean(dim=0)
    return (correlation_D - 1).abs().pow(2 * alpha).sum().log2()


def _standardized(features_BD: Tensor) -> Tensor:
    """Each feature with mean 0 and deviation 1 over the batch; 0 where it is constant."""
    variance_D, mean_D = torch.var_mean(features_BD, dim=0, correction=int(len(features_BD) > 1))
    return (features_BD - mean_D) / variance_D.clamp(min=LEAST).sqrt()


def _information_apart(own_BD: Tensor, theirs_BD: Tensor) -> Tensor:
    own_BB, theirs_BB = _cosines(own_BD), _cosines(theirs_BD)
    return _per_trace(own_BB).square().sum() - _per_trace(own_BB * theirs_BB).square().sum()


def _cosines(features_BD: Tensor) -> Tensor:
    units_BD = F.normalize(features_BD, dim=1)
    return units_BD @ units_BD.T


def _per_trace(matrix_BB: Tensor) -> Tensor:
    return matrix_BB / matrix_BB.trace().clamp(min=LEAST)
