import pytest
import torch

from kd_lab.losses.cc import CC
from tests.contracts.loss_cases import VECTOR
from tests.losses.of_layers import said

SHAPES = [VECTOR, (((3, 2, 2),), ((7,),)), (((5, 3),), ((2, 4, 3),))]
SETTINGS = [{"dim": 3}]
REFUSED = [
    ({"dim": 0}, "Expected `dim` to be an integer >= 1, but got 0"),
    ({"dim": 2.5}, "Expected `dim` to be an integer >= 1, but got 2.5"),
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected one layer of each network, but got 2"),
]


def test_cc__three_samples_by_hand() -> None:
    """Distances (1, 2), (3, 0), (2, 5): 1 * 3 + 2 * 0 = 3 for the first two, 3 * 2 + 0 * 5 = 6 for the last."""
    own = torch.tensor([[1.0, -2], [0, 7], [4, 0]])
    theirs = torch.tensor([[0.0, 0], [3, 7], [6, 5]])
    loss = CC(student_shapes=((2,),), teacher_shapes=((2,),), dim=2)
    with torch.no_grad():
        for layer in (loss.student_embed, loss.teacher_embed):  # both are the feature itself
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()

    assert said(loss, (own,), (theirs,)).item() == pytest.approx((3 + 6) / 2)
