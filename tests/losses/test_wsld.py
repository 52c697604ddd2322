import math

import pytest
import torch
from torch.nn import functional as F

from kd_lab.losses.wsld import WSLD
from kd_lab.types import UNLABELLED
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.wsld import reference

__all__ = ["reference"]


def test_wsld__two_classes_by_hand() -> None:
    """T = 1, label 0: the student says 1/4, the teacher 1/2, so w = 1 - exp(-ln 4 / ln 2) = 1 - exp(-2).

    Cross-entropy -1/2 ln 1/4 - 1/2 ln 3/4, its gradient p_s - p_t = (-1/4, 1/4): w only scales it.
    """
    weight = 1 - math.exp(-2)

    value, gradient = evaluate(WSLD(temperature=1.0), probabilities([0.25, 0.75]), probabilities([0.5, 0.5]), [0])

    assert value == pytest.approx(-weight * (math.log(1 / 4) + math.log(3 / 4)) / 2, rel=1e-6)
    expected = weight * torch.tensor([[-0.25, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_wsld__gradient_takes_the_weight_as_a_constant(temperature: float) -> None:
    """T w_b (p_s^T - p_t^T) / B: T^2 of the loss and 1 / T of the softening. The weight is at T = 1."""
    student, teacher, targets = logits(4, 5, 0), logits(4, 5, 1), torch.tensor([0, 1, 2, 3])
    hard = [F.cross_entropy(z, targets, reduction="none") for z in (student, teacher)]
    weight = 1 - torch.exp(-hard[0] / (hard[1] + 1e-7))
    expected = weight[:, None] * ((student / temperature).softmax(1) - (teacher / temperature).softmax(1))

    _, gradient = evaluate(WSLD(temperature=temperature), student, teacher, targets.tolist())

    torch.testing.assert_close(gradient, temperature * expected / 4, rtol=1e-9, atol=1e-15)


def test_wsld__a_student_far_behind_counts_in_full_and_one_ahead_not_at_all() -> None:
    teacher = probabilities([0.5, 0.5])

    behind, _ = evaluate(WSLD(temperature=1.0), probabilities([1e-20, 1.0]), teacher, [0])
    ahead, gradient = evaluate(WSLD(temperature=1.0), probabilities([1.0, 1e-20]), teacher, [0])

    assert behind == pytest.approx(-math.log(1e-20) / 2, rel=1e-9)
    assert ahead == pytest.approx(0, abs=1e-15)
    assert gradient.abs().max() < 1e-15


def test_wsld__without_a_label_the_teachers_first_choice_stands_in() -> None:
    student, teacher = probabilities([0.1, 0.7, 0.2]), probabilities([0.5, 0.3, 0.2])

    assert evaluate(WSLD(), student, teacher, [UNLABELLED])[0] == evaluate(WSLD(), student, teacher, [0])[0]
    assert evaluate(WSLD(), student, teacher, [UNLABELLED])[0] != evaluate(WSLD(), student, teacher, [1])[0]


def test_wsld__a_teacher_without_doubt_divides_by_nothing() -> None:
    """Its cross-entropy is 0: w is 1 for any student but an equal one, and everything is finite."""
    teacher = torch.tensor([[1e4, 0.0]])

    value, gradient = evaluate(WSLD(temperature=1.0), torch.zeros(1, 2), teacher, [0])

    assert value == pytest.approx(math.log(2), rel=1e-6)
    assert evaluate(WSLD(temperature=1.0), teacher, teacher, [0])[0] == 0
    assert gradient.isfinite().all()


def test_wsld__bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `temperature` to be > 0, but got 0\.0\."):
        WSLD(temperature=0)


def test_wsld__print_shows_the_setting() -> None:
    assert repr(WSLD(temperature=2)) == "WSLD(temperature=2.0)"
