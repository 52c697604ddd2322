import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.itrd import ITRD
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.reference.losses.itrd import reference

__all__ = ["reference"]

SHAPES = [VECTOR, (((6,),), ((6,),)), (((3, 2, 2),), ((7,),)), (((5, 3),), ((2, 4, 3),))]
SETTINGS = [{"lambda_corr": 0.0}, {"lambda_mutual": 0.0}, {"alpha_it": 1.5}]


def value(own: Tensor, theirs: Tensor, *, corr: float, mutual: float, alpha: float = 1.01) -> Tensor:
    """The linear layer says what it is given."""
    loss = ITRD(
        student_shapes=(tuple(own.shape[1:]),),
        teacher_shapes=(tuple(theirs.shape[1:]),),
        lambda_corr=corr,
        lambda_mutual=mutual,
        alpha_it=alpha,
    ).double()
    with torch.no_grad():
        loss.embed.weight.copy_(torch.eye(*loss.embed.weight.shape))
        loss.embed.bias.zero_()
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


@pytest.mark.parametrize("alpha", [0.5, 1.01, 1.5])
def test_itrd__correlations_by_hand(alpha: float) -> None:
    """Four samples. The first feature rises with the teacher's, correlation 1 times 3/4 (n - 1 over n); the second is
    its opposite, -3/4; the third has nothing to do with it, 0. So |c - 1| is 1/4, 7/4 and 1."""
    theirs = torch.tensor([[1.0, 1, 1], [2, 2, -1], [3, 3, -1], [4, 4, 1]], dtype=torch.float64)
    own = torch.stack([5 * theirs[:, 0] + 3, -theirs[:, 1], torch.tensor([1.0, 1, -1, -1])], dim=1)

    found = value(own, theirs, corr=1, mutual=0, alpha=alpha)

    expected = math.log2(0.25 ** (2 * alpha) + 1.75 ** (2 * alpha) + 1)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_itrd__information_by_hand() -> None:
    """Student: two samples alike, cosines all 1, divided by the trace 2: squares 4 / 4. Teacher: at a right angle, so
    the product is the identity, divided by 2: squares 2 / 4."""
    own = torch.tensor([[3.0, 0], [1, 0]], dtype=torch.float64)
    theirs = torch.tensor([[1.0, 0], [0, 2]], dtype=torch.float64)

    assert value(own, theirs, corr=0, mutual=1).item() == pytest.approx(1 - 0.5, rel=1e-12)


def test_itrd__information_is_0_where_the_teachers_samples_are_parallel_to_each_other() -> None:
    """Then G_t is 1 (or -1) everywhere, and squared it takes nothing away."""
    own = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = torch.tensor([[1.0, 2, 3]], dtype=torch.float64) * torch.tensor([[1.0], [-2], [3], [4]])

    assert value(own, theirs, corr=0, mutual=1).abs() < 1e-12


def test_itrd__is_the_weighted_sum_of_its_two_parts() -> None:
    case = Case.of("itrd")
    parts = [Case.of("itrd", lambda_corr=float(i == 0), lambda_mutual=float(i == 1)).value() for i in range(2)]

    torch.testing.assert_close(case.value(), 2 * parts[0] + 1 * parts[1], rtol=1e-12, atol=0)


def test_itrd__correlation_does_not_see_scale_nor_shift_of_a_feature() -> None:
    generator = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(8, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    moved = torch.tensor([0.5, 3, 40], dtype=torch.float64) * own + 7

    torch.testing.assert_close(
        value(moved, theirs, corr=1, mutual=0), value(own, theirs, corr=1, mutual=0), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("sizes", [((5,), (7,)), ((6,), (6,))], ids=["two sizes", "one size"])
def test_itrd__the_linear_layer_learns_from_the_information_only_where_the_sizes_differ(
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    case = Case.of("itrd", ((sizes[0],), (sizes[1],)), lambda_corr=0.0)

    case.loss(case.student, case.teacher, case.batch).backward()

    embed = case.loss.get_submodule("embed").weight.grad
    assert isinstance(embed, Tensor)
    assert (embed.abs().sum() > 0).item() is (sizes[0] != sizes[1])


def test_itrd__constant_features_have_correlation_0() -> None:
    """All correlations 0: log2 of the number of features, here 2."""
    own = torch.full((4, 2), 0.3, dtype=torch.float64, requires_grad=True)
    theirs = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    result = value(own, theirs, corr=1, mutual=1)
    result.backward()

    assert value(own, theirs, corr=1, mutual=0).item() == pytest.approx(1.0, rel=1e-6)
    assert own.grad is not None
    assert own.grad.isfinite().all()


@pytest.mark.parametrize("name", ["lambda_corr", "lambda_mutual"])
def test_itrd__weights_are_not_negative(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be a finite number >= 0, but got -1\.0\."):
        Case.of("itrd", **{name: -1})


def test_itrd__alpha_is_above_0() -> None:
    with pytest.raises(ValueError, match=r"Expected `alpha_it` to be > 0, but got 0\.0\."):
        Case.of("itrd", alpha_it=0)


def test_itrd__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        ITRD(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
