import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.pkt import PKT
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.reference.losses.pkt import reference

__all__ = ["reference"]

SHAPES = [VECTOR, (((3, 4, 4),), ((7,),)), (((5, 3),), ((2, 4, 3),)), (((1,),), ((64,),))]


def value(own: Tensor, theirs: Tensor) -> Tensor:
    loss = PKT(student_shapes=(tuple(own.shape[1:]),), teacher_shapes=(tuple(theirs.shape[1:]),))
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


def test_pkt__two_samples_by_hand() -> None:
    """Teacher at a right angle: rows (1, 1/2), as probabilities (2/3, 1/3). Student all alike: (1/2, 1/2). Each row has
    2/3 log(4/3) + 1/3 log(2/3) nats, and the mean is over 4 entries of 2 rows. The 1e-7 are seen in digit 7."""
    theirs, own = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    row = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)

    assert value(own, theirs).item() == pytest.approx(row / 2, rel=1e-5)


def test_pkt__does_not_see_rotation_nor_the_length_of_any_sample() -> None:
    case = Case.of("pkt", (((6,),), ((4,),)))
    generator = torch.Generator().manual_seed(3)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))
    length = torch.rand(8, 1, dtype=torch.float64, generator=generator) + 0.5
    moved = Outputs(case.student.logits, (length * case.student.features[0] @ turn,))

    torch.testing.assert_close(case.value(student=moved), case.value(), rtol=1e-5, atol=0)  # the norms have + 1e-7


@pytest.mark.parametrize("own", [[0.0, 0.0], [-1.0, 1.0]], ids=["zero", "opposite"])
def test_pkt__a_zero_or_opposite_sample_has_a_finite_gradient(own: list[float]) -> None:
    """The first sample says nothing, or is the opposite of the second, with a probability of 0."""
    features = torch.tensor([own, [1.0, -1.0], [1.0, 0.5]], requires_grad=True)

    result = value(features, torch.eye(3))
    result.backward()

    assert result.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_pkt__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        PKT(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
