import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from kd_lab.losses.srrl import SRRL
from kd_lab.types import Outputs
from tests.contracts.loss_cases import CLASSES, MAP, VECTOR, Case, leaves, make

SHAPES = [
    MAP,
    VECTOR,
    (((3, 7, 5),), ((4, 3, 3),)),  # resolutions need not agree
    (((3, 9),), ((4, 4),)),  # sequences
    (((3, 1, 1),), ((4, 2, 2),)),  # one position
    (((3,),), ((4, 2, 2),)),  # a vector beside a map
]
SETTINGS = [{"alpha": 0.0}, {"beta": 0.0}, {"alpha": 0.5, "beta": 5.0}]
REFUSED = [
    ({"alpha": -1}, r"Expected `alpha` to be a finite number >= 0, but got -1\.0\."),
    ({"beta": math.inf}, r"Expected `beta` to be a finite number >= 0, but got inf\."),
    ({"teacher_shapes": ((8, 4, 4),)}, r"to have the 7 channels that its classifier reads, but got \[8, 4, 4\]\."),
    ({"student_shapes": ()}, "Expected as many layers .* at least one"),
    ({"shapes": (((5,), (5,)), ((7,), (7,)))}, "Expected one layer of each network"),
]


def by_hand(**settings: Any) -> tuple[SRRL, Outputs, Outputs]:
    """Two samples of two channels; a connector that changes nothing but negative numbers, in eval mode.

    Student [1, 3] and [2, -4], so h_s = [1, 3] and [2, 0]. Teacher [2, 3] and [0, 0]. Its classifier gives the sum of
    the channels, plus 1, as the only logit: 5 and 3 for the student. The teacher's logits are 6 and 1.
    """
    head = nn.Linear(2, 1)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.fill_(1.0)
    loss = SRRL(student_shapes=((2,),), teacher_shapes=((2,),), teacher_head=head, **settings).eval()
    with torch.no_grad():
        loss.connector[0].weight.copy_(torch.eye(2))
        loss.connector[1].eps = 0.0
    student = Outputs(torch.zeros(2, 1), (torch.tensor([[1.0, 3.0], [2.0, -4.0]]),))
    teacher = Outputs(torch.tensor([[6.0], [1.0]]), (torch.tensor([[2.0, 3.0], [0.0, 0.0]]),))
    return loss, student, teacher


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [
        (1.0, 0.0, 5 / 4),  # mean of (1 - 2)^2, 0, 2^2, 0
        (0.0, 1.0, 5 / 2),  # mean of (5 - 6)^2, (3 - 1)^2
        (0.5, 2.0, 0.5 * 5 / 4 + 2 * 5 / 2),
    ],
)
def test_srrl__value_by_hand(alpha: float, beta: float, expected: float) -> None:
    loss, student, teacher = by_hand(alpha=alpha, beta=beta)

    assert loss(student, teacher, None).item() == pytest.approx(expected)


def test_srrl__the_classifier_is_neither_trained_nor_part_of_the_state() -> None:
    head = nn.Linear(7, CLASSES).double()
    loss = make("srrl", teacher_head=head)
    case = Case.of("srrl")

    loss(leaves(case.student), case.teacher, case.batch).backward()

    assert head.weight.grad is None
    assert head.bias.grad is None
    assert not {id(p) for p in head.parameters()} & {id(p) for p in loss.parameters()}
    assert all(key.startswith("connector.") for key in loss.state_dict())


def test_srrl__follows_the_classifier_that_it_was_given() -> None:
    """Weights that are loaded into the teacher later count; a head without bias is one too."""
    head = nn.Linear(7, CLASSES, bias=False).double()
    case = Case.of("srrl")
    loss = make("srrl", teacher_head=head)
    before = copy.deepcopy(loss)(case.student, case.teacher, case.batch)
    with torch.no_grad():
        head.weight.mul_(2)

    assert not torch.allclose(loss(case.student, case.teacher, case.batch), before)


@pytest.mark.parametrize("shapes", [VECTOR, (((5, 1, 1),), ((7, 1, 1),)), (((5, 1),), ((7, 1),))])
def test_srrl__one_value_per_channel_does_not_stop_a_training(shapes: Any) -> None:
    loss = Case.of("srrl", shapes, rows=1)
    statistics = loss.loss.connector[1].running_mean  # type: ignore[union-attr, index]

    value, gradients = loss.value_and_gradients()

    assert value.isfinite()
    assert gradients[1].isfinite().all()
    assert torch.equal(statistics, torch.zeros(7, dtype=torch.float64))
