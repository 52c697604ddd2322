import pytest
import torch

from kd_lab.losses.at import AT
from tests.contracts.loss_cases import STAGES
from tests.losses.of_layers import value
from tests.losses.of_texts import check_padding_does_not_count

SHAPES = [
    STAGES,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((2, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
]
REFUSED = [
    ({"shapes": (((32,),), ((32,),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((8, 16),), ((8, 4, 4),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((8, 4, 4),), ())}, "Expected as many layers of the student as of the teacher"),
]


def test_at__by_hand() -> None:
    """Squares (1, 0) and (1, 1), over their lengths (1, 0) and (r, r) with r = 1/sqrt 2: squared differences (1 - r)^2
    and r^2, whose mean is 1 - r. Channels are averaged after the square: (9 + 1) / 2 and (0 + 50) / 2 is (1, 5)."""
    own, theirs = torch.tensor([[[-1.0, 0.0]]]), torch.tensor([[[1.0, -1.0]]])
    channels, one = torch.tensor([[[3.0, 0.0], [-1.0, 50**0.5]]]), torch.tensor([[[1.0, 5**0.5]]])

    assert value(AT, own, theirs).item() == pytest.approx(1 - 0.5**0.5)
    assert value(AT, channels, one).item() == pytest.approx(0, abs=1e-12)


def test_at__pools_the_feature_and_not_its_square() -> None:
    """(1, -1, 2, 2) becomes (0, 2), whose map is (0, 1); the pooled squares would be (1, 4)."""
    own, theirs = torch.tensor([[[1.0, -1.0, 2.0, 2.0]]]), torch.tensor([[[0.0, -3.0]]])

    assert value(AT, own, theirs).item() == pytest.approx(0, abs=1e-12)


def test_at__padding_of_texts_does_not_count() -> None:
    check_padding_does_not_count(AT(student_shapes=((4, 5),), teacher_shapes=((6, 5),)), [4], [6])
