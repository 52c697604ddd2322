import math

import pytest
import torch

from kd_lab.losses.soft_label import SoftLabel
from tests.losses.of_logits import evaluate, probabilities


def test_soft_label__two_classes_by_hand() -> None:
    """-1/2 log(3/4) - 1/2 log(1/4); equal to the teacher it is the teacher's entropy, and not 0."""
    even, student = probabilities([0.5, 0.5]), probabilities([0.75, 0.25])

    value, gradient = evaluate(SoftLabel(), student, even)

    assert value == pytest.approx(-0.5 * math.log(3 / 16), rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, -0.25]], dtype=torch.float64))
    assert evaluate(SoftLabel(), even, even)[0] == pytest.approx(math.log(2), rel=1e-12)
