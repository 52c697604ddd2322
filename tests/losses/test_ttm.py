import math

import pytest
import torch

from kd_lab.losses.ttm import TTM
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"gamma": 0.4}, {"gamma": 1.0}, {"gamma": 2.0}]
REFUSED = [
    ({"gamma": 0}, r"Expected `gamma` to be > 0, but got 0\.0\."),
    ({"gamma": math.inf}, r"Expected `gamma` to be finite, but got inf\."),
]


def test_ttm__two_classes_by_hand() -> None:
    """Teacher 4/5 to 1/5 to the power 1/2 is 2/3 to 1/3; the student says 1/2 to 1/2: 2/3 ln 4/3 + 1/3 ln 2/3.

    Gradient p_s - q. The student is not softened: there is no gamma and no T^2 in it.
    """
    value, gradient = evaluate(TTM(gamma=0.5), probabilities([0.5, 0.5]), probabilities([0.8, 0.2]))

    assert value == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3), rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.0]], dtype=torch.float64) / 6)


def test_ttm__small_gamma_asks_for_the_same_probability_everywhere() -> None:
    """KL(uniform || p_s) = -ln K - mean_k log p_s."""
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    value, _ = evaluate(TTM(gamma=1e-9), student, teacher)

    assert value == pytest.approx(-math.log(5) - student.log_softmax(1).mean().item(), rel=1e-6)
