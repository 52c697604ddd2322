import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.singular import leading_singular
from kd_lab.losses.kdsvd import KDSVD
from tests.losses.of_layers import said, shapes

SHAPES = [
    (((4, 6, 6), (6, 4, 4), (8, 2, 2)), ((4, 6, 6), (6, 4, 4), (8, 2, 2))),
    (((4, 3, 5), (9, 2, 2)), ((4, 6, 5), (9, 3, 2))),  # other resolutions, more channels than positions
    (((3, 9), (5, 4)), ((3, 9), (5, 7))),  # sequences
    (((2, 3, 3), (2, 3, 3)), ((2, 3, 3), (2, 3, 3))),  # fewer vectors than k + 3
]
SETTINGS = [{"k": 2}]
FEW = ((4, 5, 5), (8, 1, 2))
REFUSED = [
    ({"k": 0, "shapes": (FEW, FEW)}, "Expected `k` to be an integer from 1 to 2, but got 0"),
    ({"k": 3, "shapes": (FEW, FEW)}, "Expected `k` to be an integer from 1 to 2, but got 3"),
    ({"k": 1.5, "shapes": (FEW, FEW)}, "Expected `k` to be an integer from 1 to 2, but got 1.5"),
    ({"shapes": (((4, 5, 5),), ((4, 5, 5),))}, "at least two layers of each network, to compare them, but got 1"),
    (
        {"shapes": (((8, 2, 2), (4, 2, 2)), ((8, 2, 2), (8, 2, 2)))},
        r"as many channels in both layers .*\[4, 2, 2\] and \[8, 2, 2\]",
    ),
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected both layers of a pair to be maps"),
]


def rank_one(positions: list[float], channels: list[float]) -> Tensor:
    """A map [1, C, S] that is one pattern over the channels, as strong as `positions` says."""
    return torch.outer(torch.tensor(channels, dtype=torch.float64), torch.tensor(positions, dtype=torch.float64))[None]


def test_kdsvd__two_stages_by_hand() -> None:
    """Of rank-one maps the vector is the pattern. Teacher: (1, 0), then (1, 0). Student: (1, 0), then (0, 1). The
    teacher's differences are [[0, 1], [1, 0]], the student's [[1, 0], [0, 1]]: four Gaussians that are 1 against
    exp(-1/8), or the other way round. The student's second vector is at a right angle to the teacher's: sign +."""
    first = rank_one([1, 2, 2], [3, 0])
    theirs = (first, rank_one([2, 1], [1, 0]))
    own = (first, rank_one([2, 1], [0, 5]))

    loss = KDSVD(student_shapes=shapes(*own), teacher_shapes=shapes(*theirs))
    assert said(loss, own, theirs).item() == pytest.approx(4 * (1 - math.exp(-1 / 8)) ** 2, rel=1e-12)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6), (6, 1)], ids=str)
def test_leading_singular__vectors_and_gradient_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, *shape, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.randn(3, min(shape), shape[0], dtype=torch.float64, generator=generator)

    values, vectors = leading_singular(matrices, 9)
    columns, expected_values, _ = torch.linalg.svd(matrices, full_matrices=False)
    expected = columns.mT
    signs = torch.sign((vectors * expected).sum(2, keepdim=True)).detach()

    torch.testing.assert_close(vectors * signs, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(values, expected_values, rtol=1e-10, atol=1e-12)
    found, wanted = (torch.autograd.grad((weights * v).sin().sum(), matrices)[0] for v in (vectors * signs, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(3, 4), torch.ones(3, 4), torch.eye(4)[:3], torch.eye(4), torch.ones(4, 3), torch.eye(4)[:, :3]],
    ids=["zero", "wide of rank one", "wide equal", "equal", "tall of rank one", "tall equal"],
)
def test_leading_singular__degenerate_matrices_have_a_finite_gradient(matrix: Tensor) -> None:
    matrices = torch.stack([matrix, matrix]).requires_grad_()

    vectors = leading_singular(matrices, 4)[1]
    vectors.square().cumsum(dim=2).sum().backward()

    assert matrices.grad is not None
    assert matrices.grad.isfinite().all()
    lengths = vectors.norm(dim=2)
    torch.testing.assert_close(lengths, lengths.round())  # 1, or 0 beyond the rank
    assert lengths[0].round().sum() == torch.linalg.matrix_rank(matrix)


def test_leading_singular__what_is_not_finite_is_seen_in_the_vectors() -> None:
    matrices = torch.tensor([[[1.0, math.inf], [0.0, 1.0]], [[1.0, math.nan], [0.0, 1.0]]], requires_grad=True)

    assert not leading_singular(matrices, 1)[1].isfinite().any()
