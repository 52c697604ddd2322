import pytest
import torch

from kd_lab.losses.sp import SP
from tests.contracts.loss_cases import MAP
from tests.losses.of_layers import value

SHAPES = [
    MAP,
    (((3, 8, 8),), ((4, 5, 3),)),  # other channels and resolution
    (((3, 9),), ((2, 4, 4),)),  # a sequence beside a map
    (((6,),), ((4,),)),  # vectors
    (((1,),), ((64,),)),
]
REFUSED = [
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected one layer of each network, but got 2"),
]


def test_sp__two_samples_by_hand() -> None:
    """Teacher [1, 0] and [0, 1]: products I, rows already of length 1. Student 1 and 1: products all 1, rows
    (1, 1) / sqrt(2). The four differences are 1 - 1 / sqrt(2) twice and 1 / sqrt(2) twice, so the mean of their squares
    is [(1 - r)^2 + r^2] / 2 with r = 1 / sqrt(2), which is 1 - r."""
    theirs, own = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)

    assert value(SP, own, theirs).item() == pytest.approx(1 - 0.5**0.5, rel=1e-12)
