import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.singular import leading_singular
from kd_lab.losses.kdsvd import KDSVD
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import Case
from tests.reference.losses.kdsvd import reference

__all__ = ["reference"]

SHAPES = [
    (((4, 6, 6), (6, 4, 4), (8, 2, 2)), ((4, 6, 6), (6, 4, 4), (8, 2, 2))),
    (((4, 3, 5), (9, 2, 2)), ((4, 6, 5), (9, 3, 2))),  # other resolutions, more channels than positions
    (((3, 9), (5, 4)), ((3, 9), (5, 7))),  # sequences
    (((2, 3, 3), (2, 3, 3)), ((2, 3, 3), (2, 3, 3))),  # fewer vectors than k + 3
]
SETTINGS = [{"k": 2}]


def value(own: tuple[Tensor, ...], theirs: tuple[Tensor, ...], k: int = 1) -> Tensor:
    shapes = [tuple(tuple(f.shape[1:]) for f in features) for features in (own, theirs)]
    loss = KDSVD(student_shapes=shapes[0], teacher_shapes=shapes[1], k=k)
    logits = torch.zeros(len(own[0]), 2)
    return loss(Outputs(logits, own), Outputs(logits, theirs), Batch(logits, logits, logits))


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

    assert value(own, theirs).item() == pytest.approx(4 * (1 - math.exp(-1 / 8)) ** 2, rel=1e-12)


def test_kdsvd__does_not_see_the_sign_nor_the_scale_of_a_map() -> None:
    case = Case.of("kdsvd")
    first, second, third = case.student.features
    moved = Outputs(case.student.logits, (-first, 7 * second, third))

    torch.testing.assert_close(case.value(student=moved), case.value(), rtol=1e-10, atol=0)


def test_kdsvd__does_not_see_the_order_of_the_positions() -> None:
    case = Case.of("kdsvd")
    moved = Outputs(case.student.logits, tuple(f.flip(2).transpose(2, 3) for f in case.student.features))

    torch.testing.assert_close(case.value(student=moved), case.value(), rtol=1e-10, atol=0)


def test_kdsvd__the_gaussians_are_those_of_the_vectors() -> None:
    """The series against the Gaussians written out, at k = 3."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, c, 3, 3, dtype=torch.float64, generator=generator) for c in (4, 5, 4, 5)]
    theirs, values, own = [], [], []
    for s, t in zip(maps[:2], maps[2:], strict=True):
        sizes, vectors = leading_singular(t.flatten(2), 3)
        vectors = vectors * torch.where(vectors.sum(2, keepdim=True) < 0, -1, 1)
        candidates = leading_singular(s.flatten(2), 6)[1]
        chosen = torch.zeros_like(vectors)
        for b in range(2):
            for k in range(3):
                cosines = [(c @ vectors[b, k]).item() for c in candidates[b]]
                best = max(range(len(cosines)), key=lambda i: abs(cosines[i]))
                chosen[b, k] = candidates[b, best] * math.copysign(1, cosines[best])
        values.append(sizes / sizes.norm(dim=1, keepdim=True))
        theirs.append(vectors * values[-1][:, :, None])
        own.append(chosen * values[-1][:, :, None])

    def gaussians(pair: list[Tensor]) -> Tensor:
        return (-((pair[0][:, :, :, None] - pair[1][:, :, None, :]) ** 2) / 8).exp()

    expected = (gaussians(own) - gaussians(theirs)).square().sum() / 2
    torch.testing.assert_close(value(tuple(maps[:2]), tuple(maps[2:]), k=3), expected, rtol=1e-12, atol=0)


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


@pytest.mark.parametrize("k", [0, 3, 1.5])
def test_kdsvd__k_is_an_integer_that_every_map_of_the_teacher_has(k: int) -> None:
    shapes = ((4, 5, 5), (8, 1, 2))

    with pytest.raises(ValueError, match=f"Expected `k` to be an integer from 1 to 2, but got {k}"):
        KDSVD(student_shapes=shapes, teacher_shapes=shapes, k=k)


def test_kdsvd__one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected at least two layers of each network, to compare them, but got 1"):
        KDSVD(student_shapes=((4, 5, 5),), teacher_shapes=((4, 5, 5),))


def test_kdsvd__other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected as many channels in both layers .*\[4, 2, 2\] and \[8, 2, 2\]"):
        KDSVD(student_shapes=((8, 2, 2), (4, 2, 2)), teacher_shapes=((8, 2, 2), (8, 2, 2)))


def test_kdsvd__vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        KDSVD(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
