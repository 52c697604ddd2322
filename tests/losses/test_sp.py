import pytest
import torch
from torch import Tensor

from kd_lab.losses.sp import SP
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import MAP, Case
from tests.reference.losses.sp import reference

__all__ = ["reference"]

SHAPES = [
    MAP,
    (((3, 8, 8),), ((4, 5, 3),)),  # other channels and resolution
    (((3, 9),), ((2, 4, 4),)),  # a sequence beside a map
    (((6,),), ((4,),)),  # vectors
    (((1,),), ((64,),)),
]


def value(own: Tensor, theirs: Tensor) -> Tensor:
    loss = SP(student_shapes=(tuple(own.shape[1:]),), teacher_shapes=(tuple(theirs.shape[1:]),))
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


def test_sp__two_samples_by_hand() -> None:
    """Teacher [1, 0] and [0, 1]: products I, rows already of length 1. Student 1 and 1: products all 1, rows
    (1, 1) / sqrt(2). The four differences are 1 - 1 / sqrt(2) twice and 1 / sqrt(2) twice, so the mean of their squares
    is [(1 - r)^2 + r^2] / 2 with r = 1 / sqrt(2), which is 1 - r."""
    theirs, own = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)

    assert value(own, theirs).item() == pytest.approx(1 - 0.5**0.5, rel=1e-12)


def test_sp__does_not_see_rotation_nor_scale() -> None:
    case = Case.of("sp", (((6,),), ((4,),)))
    turn, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))

    same = case.value(student=Outputs(case.student.logits, (7 * case.student.features[0] @ turn,)))

    torch.testing.assert_close(same, case.value(), rtol=1e-10, atol=0)


def test_sp__does_not_follow_the_order_of_the_samples() -> None:
    case = Case.of("sp")
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    own, theirs = (Outputs(o.logits, (o.features[0][order],)) for o in (case.student, case.teacher))

    torch.testing.assert_close(case.value(student=own, teacher=theirs), case.value(), rtol=1e-12, atol=0)


def test_sp__one_sample_has_nobody_to_be_like() -> None:
    result, gradients = Case.of("sp", rows=1).value_and_gradients()

    assert result == 0
    assert gradients[1].abs().max() < 1e-12


def test_sp__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        SP(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
