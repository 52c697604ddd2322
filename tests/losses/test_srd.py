import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.srd import SRD
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.reference.losses.srd import reference

__all__ = ["reference"]

SHAPES = [VECTOR, (((6,),), ((6,),)), (((3, 2, 4),), ((7,),)), (((5, 3),), ((4, 3, 2),))]
SETTINGS = [{"alpha": 1.0}, {"alpha": 2.0}, {"alpha": 5.5}]


def projecting_nothing(features: int, alpha: float) -> SRD:
    """The projector says what it is given."""
    loss = SRD(student_shapes=((features,),), teacher_shapes=((features,),), alpha=alpha).double()
    with torch.no_grad():
        loss.projector.weight.copy_(torch.eye(features))
        loss.projector.bias.zero_()
    return loss


def value(loss: SRD, own: Tensor, theirs: Tensor) -> Tensor:
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_srd__two_features_by_hand(alpha: float) -> None:
    """Two samples, so a normalised feature is 1 and -1 (but for the 1e-4). The first rises where the teacher's does,
    0 apart; the second falls there, 2 apart in both samples: log of 2^alpha."""
    theirs = 100 * torch.tensor([[1.0, 0], [3, 5]], dtype=torch.float64)
    own = 100 * torch.tensor([[0.0, 9], [7, 2]], dtype=torch.float64)

    assert value(projecting_nothing(2, alpha), own, theirs).item() == pytest.approx(alpha * math.log(2), rel=1e-5)


def test_srd__is_the_same_for_scaled_and_shifted_features() -> None:
    generator = torch.Generator().manual_seed(0)
    own, theirs = (100 * torch.randn(6, 3, dtype=torch.float64, generator=generator) for _ in range(2))

    moved = value(projecting_nothing(3, 4.0), 3 * own + 50, 0.5 * theirs - 7)

    torch.testing.assert_close(moved, value(projecting_nothing(3, 4.0), own, theirs), rtol=1e-6, atol=0)


def test_srd__a_student_that_says_the_same_has_a_finite_gradient() -> None:
    own = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    result = value(projecting_nothing(3, 4.0), own, own.detach())
    result.backward()

    assert result.item() == pytest.approx(math.log(1e-5), rel=1e-12)
    assert own.grad is not None
    assert own.grad.abs().max() == 0


def test_srd__one_sample_counts_0_in_training_and_is_compared_in_evaluation() -> None:
    case = Case.of("srd", rows=1)
    assert case.value() == 0

    case.loss.eval()

    assert case.value() != 0


def test_srd__in_evaluation_both_are_normalised_by_what_training_saw() -> None:
    loss = projecting_nothing(3, 4.0)
    generator = torch.Generator().manual_seed(0)
    own, theirs = (4 * torch.randn(500, 3, dtype=torch.float64, generator=generator) + 9 for _ in range(2))
    for _ in range(60):
        trained = value(loss, own, theirs)

    loss.eval()

    torch.testing.assert_close(value(loss, own, theirs), trained, rtol=1e-2, atol=0)


def test_srd__a_map_is_averaged_over_its_positions() -> None:
    case = Case.of("srd", (((3, 2, 4),), ((7, 3),)))
    averaged = [Outputs(o.logits, (o.features[0].flatten(2).mean(2),)) for o in (case.student, case.teacher)]

    torch.testing.assert_close(case.value(student=averaged[0], teacher=averaged[1]), case.value(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("alpha", "message"), [(0.5, r"Expected `alpha` to be >= 1, but got 0\.5\."), (-1, "Expected `alpha` to be > 0")]
)
def test_srd__alpha_is_at_least_1(alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SRD(student_shapes=((4,),), teacher_shapes=((4,),), alpha=alpha)


def test_srd__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        SRD(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
