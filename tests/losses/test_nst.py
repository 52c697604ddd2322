import pytest
import torch

from kd_lab.losses.nst import NST
from tests.contracts.loss_cases import STAGES
from tests.losses.of_layers import value

SHAPES = [
    STAGES,  # more positions than channels, and fewer
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((2, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((16, 3, 3),), ((2, 3, 3),)),  # positions between the two numbers of channels
]
REFUSED = [
    ({"shapes": (((32,),), ((32,),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((8, 16),), ((8, 4, 4),))}, "Expected both layers of a pair to be maps"),
]


@pytest.mark.parametrize("positions", [2, 5], ids=["by positions", "by channels"])
def test_nst__two_channels_by_hand(positions: int) -> None:
    """Teacher: two channels that respond at different places, mean k(t, t) = (1 + 0 + 0 + 1) / 4. Student: both respond
    at the first, mean k(s, s) = 1. Between them half of the pairs are alike: 1/2 + 1 - 2 * 1/2."""
    theirs = torch.zeros(1, 2, positions, dtype=torch.float64)
    theirs[0, 0, 0] = theirs[0, 1, 1] = 3
    own = torch.zeros_like(theirs)
    own[0, :, 0] = 2

    assert value(NST, own, theirs).item() == pytest.approx(0.5, rel=1e-12)


def test_nst__a_channel_that_says_nothing_is_like_no_other() -> None:
    """Teacher e_1 and 0: mean k = 1/4. Student e_1 alone: 1. Between them 1/2: 1/4 + 1 - 1."""
    theirs = torch.tensor([[[1.0, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    own = torch.tensor([[[1.0, 0, 0]]], dtype=torch.float64)

    assert value(NST, own, theirs).item() == pytest.approx(0.25, rel=1e-12)
