import pytest
import torch

from kd_lab.losses.simkd import SimKD
from tests.losses.of_layers import value

SHAPES = [(((7, 4, 4),), ((7, 4, 4),)), (((5,),), ((5,),)), (((7, 2, 3),), ((7, 4, 6),))]
REFUSED = [
    ({"factor": 0}, r"Expected `factor` to be > 0, but got 0\.0\."),
]


def test_simkd__by_hand() -> None:
    """(3, 0) against (1, 1): the mean of 4 and 1."""
    assert value(SimKD, torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item() == pytest.approx(2.5)
