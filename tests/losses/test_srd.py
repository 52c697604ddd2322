import math

import pytest
import torch

from kd_lab.losses.srd import SRD
from tests.contracts.loss_cases import VECTOR, Case
from tests.losses.of_layers import said

SHAPES = [VECTOR, (((6,),), ((6,),)), (((3, 2, 4),), ((7,),)), (((5, 3),), ((4, 3, 2),))]
SETTINGS = [{"alpha": 1.0}, {"alpha": 2.0}, {"alpha": 5.5}]
REFUSED = [
    ({"alpha": 0.5}, r"Expected `alpha` to be >= 1, but got 0\.5\."),
    ({"alpha": -1}, "Expected `alpha` to be > 0"),
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected one layer of each network, but got 2"),
]


def projecting_nothing(features: int, alpha: float) -> SRD:
    """The projector says what it is given."""
    loss = SRD(student_shapes=((features,),), teacher_shapes=((features,),), alpha=alpha).double()
    with torch.no_grad():
        loss.projector.weight.copy_(torch.eye(features))
        loss.projector.bias.zero_()
    return loss


def test_srd__two_features_by_hand() -> None:
    """Two samples, so a normalised feature is 1 and -1 (but for the 1e-4). The first rises where the teacher's does,
    0 apart; the second falls there, 2 apart in both samples: log of 2^alpha."""
    theirs = 100 * torch.tensor([[1.0, 0], [3, 5]], dtype=torch.float64)
    own = 100 * torch.tensor([[0.0, 9], [7, 2]], dtype=torch.float64)

    assert said(projecting_nothing(2, 4.0), (own,), (theirs,)).item() == pytest.approx(4 * math.log(2), rel=1e-5)


def test_srd__a_student_that_says_the_same_has_a_finite_gradient() -> None:
    own = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    result = said(projecting_nothing(3, 4.0), (own,), (own.detach(),))
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
        trained = said(loss, (own,), (theirs,))

    loss.eval()

    torch.testing.assert_close(said(loss, (own,), (theirs,)), trained, rtol=1e-2, atol=0)
