import math

import pytest
import torch

from kd_lab.losses.hard_label import HardLabel
from tests.losses.of_logits import evaluate, probabilities


def test_hard_label__two_samples_by_hand() -> None:
    """The teacher says 1 and 0; the student gives these 1/2 and 1/5: the mean of ln 2 and ln 5."""
    teacher, student = probabilities([0.3, 0.7], [0.6, 0.4]), probabilities([0.5, 0.5], [0.2, 0.8])

    value, gradient = evaluate(HardLabel(), student, teacher)

    assert value == pytest.approx((math.log(2) + math.log(5)) / 2, rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, -0.25], [-0.4, 0.4]], dtype=torch.float64))


def test_hard_label__of_equal_classes_the_first_counts() -> None:
    student = probabilities([0.1, 0.6, 0.3])

    assert evaluate(HardLabel(), student, probabilities([0.2, 0.4, 0.4]))[0] == pytest.approx(-math.log(0.6), rel=1e-12)
