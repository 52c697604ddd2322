import math

import pytest
import torch

from kd_lab.losses.kd import KD
from tests.losses.of_logits import evaluate, probabilities

REFUSED = [
    ({"temperature": -1}, r"Expected `temperature` to be > 0, but got -1\.0\."),
    ({"temperature": math.nan}, r"Expected `temperature` to be > 0, but got nan\."),
    ({"temperature": math.inf}, r"Expected `temperature` to be finite, but got inf\."),
]


def test_kd__two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/2 to 1/2: KL = ln 2 - H(1/4) = 0.75 ln 3 - ln 2. At T = 2 the weights 9 and 1
    become 3 and 1: the same KL, times 4."""
    even, teacher = probabilities([0.5, 0.5]), probabilities([0.75, 0.25])

    value, gradient = evaluate(KD(temperature=1.0), even, teacher)

    assert value == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, 0.25]], dtype=torch.float64))
    assert evaluate(KD(temperature=2.0), even, probabilities([0.9, 0.1]))[0] == pytest.approx(4 * value, rel=1e-12)
