import pytest
import torch

from kd_lab.losses.patient import Patient
from tests.losses.of_layers import value
from tests.losses.of_texts import check_padding_does_not_count

SHAPES = [
    (((4, 5), (4, 5)), ((7, 5), (7, 5))),
    (((4, 5),), ((4, 5),)),  # of one width: no projector
    (((4, 1), (6, 3)), ((6, 1), (6, 3))),
]
REFUSED = [
    ({"shapes": (((32,),), ((32,),))}, r"sequences \[channels, length\] of one length, but got \[32\] and \[32\]"),
    ({"shapes": (((8, 16),), ((8, 4),))}, r"of one length, but got \[8, 16\] and \[8, 4\]"),
    ({"shapes": (((8, 4),), ())}, "Expected as many layers of the student as of the teacher"),
]


def test_patient__by_hand() -> None:
    """The first token's (3, 4) and (0, 2) are (0.6, 0.8) and (0, 1): 0.36 and 0.04, the mean is 0.2."""
    own, theirs = torch.tensor([[[3.0, 9.0], [4.0, 9.0]]]), torch.tensor([[[0.0, -1.0], [2.0, 5.0]]])

    assert value(Patient, own, theirs).item() == pytest.approx(0.2)


def test_patient__padding_does_not_count() -> None:
    torch.manual_seed(0)
    loss = Patient(student_shapes=((4, 5),), teacher_shapes=((6, 5),))
    check_padding_does_not_count(loss, [4], [6])
