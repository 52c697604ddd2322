import math

import pytest
import torch

from kd_lab.losses.cwd import CWD
from tests.losses.of_layers import value

SHAPES = [
    (((5, 6, 6),), ((5, 6, 6),)),
    (((3, 5, 7),), ((3, 5, 7),)),
    (((3, 9),), ((3, 9),)),  # sequences
    (((3, 8, 8),), ((3, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 2),), ((3, 4, 4),)),
]
REFUSED = [
    ({"shapes": (((4, 2, 2),), ((8, 2, 2),))}, r"as many channels in both layers .*\[4, 2, 2\] and \[8, 2, 2\]"),
    ({"shapes": (((4,),), ((4,),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((4, 2), (4, 2)), ((4, 2), (4, 2)))}, "Expected one layer of each network, but got 2"),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_cwd__one_channel_of_two_positions_by_hand() -> None:
    """At T = 2 the teacher's activations 2 log 3 and 0 are the probabilities 3/4 and 1/4, the student's are 1/2 each:
    KL = 3/4 log(3/2) + 1/4 log(1/2), times T^2 = 4. A second channel, where both agree, halves the mean."""
    theirs = torch.tensor([[[2 * math.log(3), 0.0], [1.0, 5.0]]], dtype=torch.float64)
    own = torch.tensor([[[7.0, 7.0], [1.0, 5.0]]], dtype=torch.float64)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)

    assert value(CWD, own, theirs, temperature=2.0).item() == pytest.approx(4 * divergence / 2, rel=1e-12)
