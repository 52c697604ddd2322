import math

import pytest
import torch

from kd_lab.losses.hard_label import HardLabel
from kd_lab.losses.soft_label import SoftLabel
from kd_lab.types import UNLABELLED
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.hard_label import reference

__all__ = ["reference"]


def test_hard_label__two_samples_by_hand() -> None:
    """The teacher says 1 and 0; the student gives these 1/2 and 1/5: the mean of ln 2 and ln 5."""
    teacher, student = probabilities([0.3, 0.7], [0.6, 0.4]), probabilities([0.5, 0.5], [0.2, 0.8])

    value, gradient = evaluate(HardLabel(), student, teacher)

    assert value == pytest.approx((math.log(2) + math.log(5)) / 2, rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, -0.25], [-0.4, 0.4]], dtype=torch.float64))


def test_hard_label__does_not_see_the_labels() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    values = {evaluate(HardLabel(), student, teacher, [label] * 4)[0] for label in (0, 3, UNLABELLED)}

    assert len(values) == 1


def test_hard_label__does_not_see_how_sure_the_teacher_is() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    assert evaluate(HardLabel(), student, 1e-3 * teacher)[0] == evaluate(HardLabel(), student, 50 * teacher)[0]


def test_hard_label__is_the_soft_label_of_a_certain_teacher() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    value, gradient = evaluate(HardLabel(), student, teacher)
    soft, soft_gradient = evaluate(SoftLabel(), student, 1e4 * teacher)

    assert value == pytest.approx(soft, rel=1e-12)
    torch.testing.assert_close(gradient, soft_gradient, rtol=1e-12, atol=1e-15)


def test_hard_label__of_equal_classes_the_first_counts() -> None:
    student = probabilities([0.1, 0.6, 0.3])

    assert evaluate(HardLabel(), student, probabilities([0.2, 0.4, 0.4]))[0] == pytest.approx(-math.log(0.6), rel=1e-12)
