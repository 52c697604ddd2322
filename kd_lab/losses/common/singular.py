"""The leading left singular vectors of many matrices, with a gradient that is finite wherever they are.

Legend: B batch, C rows, S columns, R the smaller of C and S, N how many are wanted.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def leading_singular(matrices_BCS: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest singular values [B, N], without gradient, and their left vectors [B, N, C], of length 1.

    N is `count`, or R if that is less. The signs are arbitrary. Where a matrix has a lower rank, vector and gradient
    are 0, and two vectors of almost equal values, of which only the plane is determined, have no gradient towards each
    other; that of `torch.linalg.svd` is NaN in both cases.

    They are the eigenvectors of the Gram matrix (of rows or columns, whichever are fewer), found three times as fast on
    a CPU as by the singular value decomposition. The squares of the entries must not leave the range of their type.
    """
    squares_BR, vectors_BCR = _decomposition(matrices_BCS.detach())
    n = min(count, squares_BR.shape[1])
    vectors_BCN = cast("Tensor", _Leading.apply(matrices_BCS, squares_BR, vectors_BCR, n))
    return squares_BR[:, -n:].flip(1).sqrt(), vectors_BCN.mT


@torch.no_grad()
def _decomposition(matrices_BCS: Tensor) -> tuple[Tensor, Tensor]:
    """The squared singular values [B, R], rising, and all left vectors [B, C, R]; 0 for those beyond the rank."""
    tall = matrices_BCS.shape[1] > matrices_BCS.shape[2]
    gram_BRR = matrices_BCS.mT @ matrices_BCS if tall else matrices_BCS @ matrices_BCS.mT
    # What is not finite has no decomposition, which would be an error here: the vectors become NaN instead.
    finite_B11 = gram_BRR.isfinite().all(dim=2, keepdim=True).all(dim=1, keepdim=True)
    squares_BR, vectors_BXR = torch.linalg.eigh(gram_BRR.where(finite_B11, 0.0))
    rounding = torch.finfo(squares_BR.dtype).eps * squares_BR.shape[1]  # of a sum of R numbers as large as the largest
    exists_BR = squares_BR > rounding * squares_BR[:, -1:]
    squares_BR = torch.where(exists_BR, squares_BR, 0.0)
    if tall:
        vectors_BXR = matrices_BCS @ (vectors_BXR / torch.where(exists_BR, squares_BR, 1.0).sqrt()[:, None, :])
    vectors_BCR = torch.where(exists_BR[:, None, :], vectors_BXR, 0.0)
    return squares_BR, vectors_BCR.where(finite_B11, torch.nan)


class _Leading(torch.autograd.Function):
    """The last `count` of the vectors, in falling order, as a function of the matrices that they were found of."""

    @staticmethod
    def forward(ctx: Any, matrices_BCS: Tensor, squares_BR: Tensor, vectors_BCR: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(matrices_BCS, squares_BR, vectors_BCR)
        ctx.count = count
        return vectors_BCR[:, :, -count:].flip(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """The first order of the perturbation of an eigenvector.

        v_n moves by `sum_i v_i <v_i, d_n> / (s_n - s_i)`, s the squares, where d_n is the change of the Gram matrix
        `M M^T` times v_n: `dM (M^T v_n) + M dM^T v_n`. A map between these two that is its own transpose, so the
        gradient goes back by it.
        """
        matrices_BCS, squares_BR, vectors_BCR = ctx.saved_tensors
        vectors_BCN, squares_BN = vectors_BCR[:, :, -ctx.count :].flip(2), squares_BR[:, -ctx.count :].flip(1)
        moved_BCN = _moved(gradients[0], squares_BN, squares_BR, vectors_BCR)
        both_BCX, turned_BCX = torch.cat([moved_BCN, vectors_BCN], 2), torch.cat([vectors_BCN, moved_BCN], 2)
        return both_BCX @ (turned_BCX.mT @ matrices_BCS), None, None, None


def _moved(change_BCN: Tensor, squares_BN: Tensor, squares_BR: Tensor, vectors_BCR: Tensor) -> Tensor:
    """`sum_i v_i <v_i, d_n> / (s_n - s_i)`; in the directions that no v_i has the matrix, and so s_i, is 0."""
    # Of a smaller gap rounding leaves less than half the digits.
    least_B11 = squares_BR[:, -1:, None] * torch.finfo(squares_BR.dtype).eps ** 0.5
    along_BRN = vectors_BCR.mT @ change_BCN
    gaps_BRN = squares_BN[:, None, :] - squares_BR[:, :, None]
    within_BCN = vectors_BCR @ (along_BRN * _inverse(gaps_BRN, least_B11))
    outside_BCN = change_BCN - vectors_BCR @ along_BRN
    return within_BCN + outside_BCN * _inverse(squares_BN[:, None, :], least_B11)


def _inverse(numbers: Tensor, least: Tensor) -> Tensor:
    """1 / x, and 0 where |x| is no more than `least`."""
    small = numbers.abs() <= least
    return torch.where(small, 0.0, 1 / torch.where(small, 1.0, numbers))
