import pytest
import torch

from kd_lab.losses.common.loss import Stage
from kd_lab.losses.fsp import FSP
from tests.contracts.loss_cases import Shapes, make
from tests.losses.of_layers import said, shapes

STAGES: Shapes = (((4, 8, 8), (6, 4, 4), (8, 2, 2)), ((4, 8, 8), (6, 4, 4), (8, 2, 2)))
SHAPES: list[Shapes] = [
    STAGES,
    (((3, 5, 7), (2, 5, 7)), ((3, 5, 7), (2, 5, 7))),
    (((3, 7, 4), (2, 3, 5)), ((3, 6, 6), (2, 2, 2))),  # each axis pooled by itself; other resolutions of the teacher
    (((3, 2, 2), (2, 4, 4)), ((3, 2, 2), (2, 4, 4))),  # the later map is the larger one
    (((3, 9), (4, 5)), ((3, 8), (4, 8))),  # sequences
]
SETTINGS = [{"stage_epochs": 0}]
REFUSED = [
    ({"stage_epochs": -1}, r"Expected `stage_epochs` to be a whole number >= 0, but got -1"),
    ({"shapes": (((3, 4, 4),), ((3, 4, 4),))}, r"Expected at least two layers of each network, .* but got 1\."),
    (
        {"shapes": (((3, 4, 4), (5, 2, 2)), ((3, 4, 4), (6, 2, 2)))},
        r"as many channels as the teacher's, but got \[5, 2, 2\] and \[6, 2, 2\]\.",
    ),
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected both layers of a pair to be maps"),
]


def test_fsp__hand_computed() -> None:
    """One sample, two positions, f_1 = [(1, 3)], f_2 = [(2, 4), (0, 2)]: G = [(1*2 + 3*4)/2, (0 + 3*2)/2] = [7, 3].

    Against a teacher of zeros: (7^2 + 3^2) / 2 = 29.
    """
    own = (torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 4.0], [0.0, 2.0]]]))
    loss = FSP(student_shapes=shapes(*own), teacher_shapes=shapes(*own))

    assert said(loss, own, tuple(map(torch.zeros_like, own))).item() == pytest.approx(29.0)


def test_fsp__first_stage_trains_the_student_and_leaves_no_term() -> None:
    loss = make("fsp", stage_epochs=7)

    assert loss.first_stage() == Stage(loss, epochs=7, trains_student=True, only=True)
    assert make("fsp", stage_epochs=0).first_stage() is None
