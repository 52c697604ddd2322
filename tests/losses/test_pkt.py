import math

import pytest
import torch

from kd_lab.losses.pkt import PKT
from tests.contracts.loss_cases import VECTOR
from tests.losses.of_layers import value

SHAPES = [VECTOR, (((3, 4, 4),), ((7,),)), (((5, 3),), ((2, 4, 3),)), (((1,),), ((64,),))]
REFUSED = [
    ({"shapes": (((4,), (4,)), ((4,), (4,)))}, "Expected one layer of each network, but got 2"),
]


def test_pkt__two_samples_by_hand() -> None:
    """Teacher at a right angle: rows (1, 1/2), as probabilities (2/3, 1/3). Student all alike: (1/2, 1/2). Each row has
    2/3 log(4/3) + 1/3 log(2/3) nats, and the mean is over 4 entries of 2 rows. The 1e-7 are seen in digit 7."""
    theirs, own = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    row = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)

    assert value(PKT, own, theirs).item() == pytest.approx(row / 2, rel=1e-5)


@pytest.mark.parametrize("own", [[0.0, 0.0], [-1.0, 1.0]], ids=["zero", "opposite"])
def test_pkt__a_zero_or_opposite_sample_has_a_finite_gradient(own: list[float]) -> None:
    """The first sample says nothing, or is the opposite of the second, with a probability of 0."""
    features = torch.tensor([own, [1.0, -1.0], [1.0, 0.5]], requires_grad=True)

    result = value(PKT, features, torch.eye(3))
    result.backward()

    assert result.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()
