import copy

import pytest
import torch
from torch import nn

from kd_lab.types import Outputs
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import MAP, Case, Shapes, leaves

SHAPES: list[Shapes] = [
    MAP,
    (((3, 5, 7),), ((4, 3, 4),)),  # odd sizes, other resolutions
    (((3, 1, 4),), ((2, 5, 5),)),  # one axis does not reach the resolution
    (((3, 9),), ((5, 4),)),  # sequences
    (((3, 3, 2),), ((2, 1, 5),)),  # neither does along another one
]
SETTINGS = [{"normalize": False}, {"resolution": 4}, {"resolution": 3, "normalize": False}]
REFUSED = [
    ({"resolution": 0}, r"Expected `resolution` to be a whole number >= 1, but got 0"),
    ({"resolution": 2.5}, r"Expected `resolution` to be a whole number >= 1, but got 2\.5"),
    ({"student_shapes": ((5,),)}, "Expected both layers of a pair to be maps"),
]


def heads(case: Case) -> tuple[nn.Linear, nn.Linear]:
    own, theirs = case.loss._heads
    return own, theirs


def test_catkd__hand_computed() -> None:
    """One class; 2 x 2 maps. Student: weights (1, 2), channels (3, 0, 0, 0) and (0, 2, 0, 0): A = (3, 4, 0, 0), scaled
    (0.6, 0.8, 0, 0). Teacher: weight 5, channel (0, 0, 0, 1): (0, 0, 0, 1). Squares 0.36 + 0.64 + 1 = 2, mean 0.5.
    """
    shapes: Shapes = (((2, 2, 2),), ((1, 2, 2),))
    case = Case.of("catkd", shapes, classes=1)
    own, theirs = heads(case)
    with torch.no_grad():
        own.weight.copy_(torch.tensor([[1.0, 2.0]]))
        theirs.weight.fill_(5.0)
    student = Outputs(case.student.logits[:1], (torch.tensor([[[[3.0, 0], [0, 0]], [[0, 2.0], [0, 0]]]]).double(),))
    teacher = Outputs(case.teacher.logits[:1], (torch.tensor([[[[0, 0], [0, 1.0]]]]).double(),))

    assert case.value(student=student, teacher=teacher).item() == pytest.approx(0.5, rel=1e-12)
    case.loss.normalize = False  # (3, 4, 0, 0) against (0, 0, 0, 5): (9 + 16 + 25) / 4
    assert case.value(student=student, teacher=teacher).item() == pytest.approx(12.5, rel=1e-12)


def test_catkd__the_students_classifier_learns_and_the_teachers_does_not() -> None:
    case = Case.of("catkd")
    own, theirs = heads(case)

    case.loss(case.student, case.teacher, case.batch).backward()

    assert own.weight.grad is not None
    assert own.weight.grad.abs().sum() > 0
    assert own.bias.grad is None
    assert theirs.weight.grad is None


@pytest.mark.parametrize("shapes", SHAPES)
def test_catkd__gradient_of_the_students_classifier_is_the_references(shapes: Shapes) -> None:
    case = Case.of("catkd", shapes, rows=5)

    agree(case, also={"student_head.weight": heads(case)[0].weight})


def test_catkd__classifiers_are_not_parts_of_it() -> None:
    loss = Case.of("catkd").loss

    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_catkd__follows_the_students_classifier() -> None:
    """It holds the module, not a copy of its weights; a copy of network and loss together belongs together."""
    case = Case.of("catkd")
    network, loss = copy.deepcopy((heads(case)[0], case.loss))
    student = leaves(case.student)

    loss(student, case.teacher, case.batch).backward()

    assert network.weight.grad is not None
    assert heads(case)[0].weight.grad is None


def test_catkd__map_below_the_resolution_keeps_its_size() -> None:
    loss = Case.of("catkd", (((3, 1, 4),), ((2, 5, 5),))).loss

    assert loss.positions == (1, 2)


def test_catkd__one_position_alone_is_not_normalised() -> None:
    shapes: Shapes = (((3, 1, 1),), ((2, 4, 4),))
    with pytest.raises(ValueError, match=r"more than one position .* but got \[3, 1, 1\] and \[2, 4, 4\]"):
        Case.of("catkd", shapes)
    assert Case.of("catkd", shapes, normalize=False).value().isfinite()
