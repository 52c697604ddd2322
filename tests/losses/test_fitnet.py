import pytest
import torch

from kd_lab.losses.fitnet import FitNet
from tests.contracts.loss_cases import MAP
from tests.losses.of_layers import said

SHAPES = [
    MAP,
    (((3, 8, 8),), ((4, 4, 4),)),  # twice the resolution
    (((3, 2, 2),), ((4, 4, 4),)),  # half
    (((3, 7, 5),), ((4, 3, 3),)),  # neither, larger
    (((3, 3, 3),), ((4, 5, 7),)),  # neither, smaller
    (((3, 9),), ((4, 4),)),  # sequences
    (((3,),), ((4,),)),  # vectors
]
REFUSED = [
    ({"shapes": (((32,),), ((8, 4, 4),))}, r"as many axes, but got \[32\] and \[8, 4, 4\]\."),
]


def test_fitnet__by_hand() -> None:
    """The regressor doubles: (2, 6) against (1, 2), the mean of 1 and 16."""
    loss = FitNet(student_shapes=((2,),), teacher_shapes=((2,),))
    with torch.no_grad():
        loss.regressor.weight.copy_(2 * torch.eye(2))
        loss.regressor.bias.zero_()

    assert said(loss, (torch.tensor([[1.0, 3.0]]),), (torch.tensor([[1.0, 2.0]]),)).item() == pytest.approx(8.5)
