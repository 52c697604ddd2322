import math

import pytest
import torch

from kd_lab.losses.wsld import WSLD
from tests.losses.of_logits import evaluate, probabilities

REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_wsld__two_classes_by_hand() -> None:
    """T = 1, label 0: the student says 1/4, the teacher 1/2, so w = 1 - exp(-ln 4 / ln 2) = 1 - exp(-2).

    Cross-entropy -1/2 ln 1/4 - 1/2 ln 3/4, its gradient p_s - p_t = (-1/4, 1/4): w only scales it.
    """
    weight = 1 - math.exp(-2)

    value, gradient = evaluate(WSLD(temperature=1.0), probabilities([0.25, 0.75]), probabilities([0.5, 0.5]), [0])

    assert value == pytest.approx(-weight * (math.log(1 / 4) + math.log(3 / 4)) / 2, rel=1e-6)
    expected = weight * torch.tensor([[-0.25, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)


def test_wsld__a_student_far_behind_counts_in_full_and_one_ahead_not_at_all() -> None:
    teacher = probabilities([0.5, 0.5])

    behind, _ = evaluate(WSLD(temperature=1.0), probabilities([1e-20, 1.0]), teacher, [0])
    ahead, gradient = evaluate(WSLD(temperature=1.0), probabilities([1.0, 1e-20]), teacher, [0])

    assert behind == pytest.approx(-math.log(1e-20) / 2, rel=1e-9)
    assert ahead == pytest.approx(0, abs=1e-15)
    assert gradient.abs().max() < 1e-15


def test_wsld__a_teacher_without_doubt_divides_by_nothing() -> None:
    """Its cross-entropy is 0: w is 1 for any student but an equal one, and everything is finite."""
    teacher = torch.tensor([[1e4, 0.0]])

    value, gradient = evaluate(WSLD(temperature=1.0), torch.zeros(1, 2), teacher, [0])

    assert value == pytest.approx(math.log(2), rel=1e-6)
    assert evaluate(WSLD(temperature=1.0), teacher, teacher, [0])[0] == 0
    assert gradient.isfinite().all()
