import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.nst import NST
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import STAGES, Case
from tests.reference.losses.nst import reference

__all__ = ["reference"]

SHAPES = [
    STAGES,  # more positions than channels, and fewer
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((2, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((16, 3, 3),), ((2, 3, 3),)),  # positions between the two numbers of channels
]


def value(own: Tensor, theirs: Tensor) -> Tensor:
    loss = NST(student_shapes=(tuple(own.shape[1:]),), teacher_shapes=(tuple(theirs.shape[1:]),))
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


@pytest.mark.parametrize("positions", [2, 5], ids=["by positions", "by channels"])
def test_nst__two_channels_by_hand(positions: int) -> None:
    """Teacher: two channels that respond at different places, mean k(t, t) = (1 + 0 + 0 + 1) / 4. Student: both respond
    at the first, mean k(s, s) = 1. Between them half of the pairs are alike: 1/2 + 1 - 2 * 1/2."""
    theirs = torch.zeros(1, 2, positions, dtype=torch.float64)
    theirs[0, 0, 0] = theirs[0, 1, 1] = 3
    own = torch.zeros_like(theirs)
    own[0, :, 0] = 2

    assert value(own, theirs).item() == pytest.approx(0.5, rel=1e-12)


def test_nst__a_channel_that_says_nothing_is_like_no_other() -> None:
    """Teacher e_1 and 0: mean k = 1/4. Student e_1 alone: 1. Between them 1/2: 1/4 + 1 - 1."""
    theirs = torch.tensor([[[1.0, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    own = torch.tensor([[[1.0, 0, 0]]], dtype=torch.float64)

    assert value(own, theirs).item() == pytest.approx(0.25, rel=1e-12)


def test_nst__does_not_see_the_order_nor_the_scale_nor_the_sign_of_channels() -> None:
    shape = (4, 3, 3)
    case = Case.of("nst", ((shape,), (shape,)))
    scale = torch.tensor([3.0, -1.0, 0.5, 7.0], dtype=torch.float64)[:, None, None]
    moved = (scale * case.teacher.features[0]).flip(1)

    assert case.value(student=Outputs(case.student.logits, (moved,))).abs() < 1e-12


def test_nst__both_forms_are_one_number() -> None:
    """Maps with zeros around have more positions than channels, and the same products."""
    case = Case.of("nst", (((8, 2, 3),), ((9, 2, 3),)))
    own, theirs = (Outputs(o.logits, (F.pad(o.features[0], (4, 4, 4, 4)),)) for o in (case.student, case.teacher))

    torch.testing.assert_close(case.value(student=own, teacher=theirs), case.value(), rtol=1e-10, atol=0)


def test_nst__adds_the_pairs() -> None:
    both = Case.of("nst")
    alone = []
    for i, (own, theirs) in enumerate(zip(*STAGES, strict=True)):
        case = Case.of("nst", ((own,), (theirs,)))
        student, teacher = (Outputs(o.logits, (o.features[i],)) for o in (both.student, both.teacher))
        alone.append(case.value(student=student, teacher=teacher))

    torch.testing.assert_close(both.value(), torch.stack(alone).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("own", "theirs"), [((32,), (32,)), ((32,), (8, 4, 4)), ((8, 16), (8, 4, 4))])
def test_nst__layers_without_the_same_axes_are_refused(own: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        NST(student_shapes=(own,), teacher_shapes=(theirs,))
