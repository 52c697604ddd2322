import pytest
import torch

from kd_lab.losses.ab import AB
from kd_lab.losses.common.loss import Stage
from tests.contracts.loss_cases import STAGES, make
from tests.losses.of_layers import value

SAME = (((4, 3, 3),), ((4, 3, 3),))
SHAPES = [
    STAGES,
    SAME,  # without a connector
    (((3, 7, 5),), ((4, 3, 3),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((5,), (4,)), ((7,), (4,))),  # vectors
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((4, 2, 5),), ((4, 4, 5),)),  # other resolution alone: no connector
    (((3, 4),), ((5, 9),)),
]
SETTINGS = [{"margin": 0.3}, {"margin": 4.0, "stage_epochs": 0}]
REFUSED = [
    ({"stage_epochs": -1}, r"Expected `stage_epochs` to be a whole number >= 0, but got -1"),
    ({"stage_epochs": 2.5}, r"Expected `stage_epochs` to be a whole number >= 0, but got 2\.5"),
    ({"stage_epochs": True}, r"Expected `stage_epochs` to be a whole number >= 0, but got True"),
    ({"margin": 0}, r"Expected `margin` to be > 0, but got 0\.0\."),
    ({"shapes": (((32,),), ((8, 4, 4),))}, r"two layers with as many axes, but got \[32\] and \[8, 4, 4\]\."),
]


def test_ab__hand_computed() -> None:
    """margin 1, one sample: t > 0 asks for s >= 1, else s <= -1.

    t = (2, 2, -3, 0), s = (3, 0.5, 0.5, -2): (0, 0.5, 1.5, 0) are missing, 3/1000 (0.25 + 2.25) = 0.0075.
    """
    own, theirs = torch.tensor([[3.0, 0.5, 0.5, -2.0]]), torch.tensor([[2.0, 2.0, -3.0, 0.0]])

    assert value(AB, own, theirs).item() == pytest.approx(0.0075)


def test_ab__connectors_are_there_where_the_channels_differ() -> None:
    loss = AB(student_shapes=((4, 3, 3), (5, 2, 2)), teacher_shapes=((4, 3, 3), (6, 2, 2)))

    assert [name for name, p in loss.named_parameters() if p.ndim == 4] == ["connectors.1.0.weight"]


def test_ab__first_stage_trains_the_student_and_leaves_no_term() -> None:
    loss = make("ab", stage_epochs=7)

    assert loss.first_stage() == Stage(loss, epochs=7, trains_student=True, only=True)
    assert make("ab", stage_epochs=0).first_stage() is None
