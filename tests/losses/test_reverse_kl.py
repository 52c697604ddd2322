import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.reverse_kl import ReverseKL
from tests.losses.of_logits import evaluate, probabilities

REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_reverse_kl__two_classes_by_hand() -> None:
    """Student 1/2 to 1/2, teacher 3/4 to 1/4: 1/2 ln 2/3 + 1/2 ln 2 = 1/2 ln 4/3.

    Gradient p_s (log p_s / p_t - KL): half of ln 2/3 - 1/2 ln 4/3 = -1/2 ln 3, and of its negative.
    """
    value, gradient = evaluate(ReverseKL(), probabilities([0.5, 0.5]), probabilities([0.75, 0.25]))

    assert value == pytest.approx(0.5 * math.log(4 / 3), rel=1e-12)
    slope = 0.25 * math.log(3)
    torch.testing.assert_close(gradient, torch.tensor([[-slope, slope]], dtype=torch.float64))


def test_reverse_kl__a_class_that_the_student_rules_out_costs_nothing() -> None:
    """What is left is the student's 1 beside the teacher's 1/2: ln 2. KD has 1/2 ln(1/2 / 1e-30), about 34."""
    student, teacher = probabilities([1.0, 1e-30]), probabilities([0.5, 0.5])

    assert evaluate(ReverseKL(), student, teacher)[0] == pytest.approx(math.log(2), rel=1e-12)
    assert evaluate(KD(temperature=1.0), student, teacher)[0] > 30
