import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.nkd import NKD
from kd_lab.types import UNLABELLED
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.nkd import reference

__all__ = ["reference"]

SETTINGS = [{"gamma": 0.0}, {"gamma": 1.5, "temperature": 1.0}]


def test_nkd__three_classes_by_hand() -> None:
    """T = 1, label 0. Teacher 1/2, 1/4, 1/4, student 1/4, 1/4, 1/2.

    Target: -1/2 ln 1/4 = ln 2. Others: teacher 1/2, 1/2, student 1/3, 2/3: -1/2 ln 2/9.
    """
    teacher, student = probabilities([0.5, 0.25, 0.25]), probabilities([0.25, 0.25, 0.5])

    for gamma in (0.0, 1.0, 3.5):
        value, _ = evaluate(NKD(temperature=1.0, gamma=gamma), student, teacher, [0])
        assert value == pytest.approx(math.log(2) + gamma * 0.5 * math.log(9 / 2), rel=1e-9)


def test_nkd__temperature_is_not_on_the_target_and_its_square_neither() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    values = [evaluate(NKD(temperature=t, gamma=0.0), student, teacher, [0, 1, 2, 3])[0] for t in (0.5, 1.0, 8.0)]

    assert values == pytest.approx([values[0]] * 3, rel=1e-12)


def test_nkd__gradient_of_the_others_is_that_of_kd_among_them() -> None:
    """Without the label's column, a cross-entropy and a divergence differ by a constant. The column gets nothing."""
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    both = evaluate(NKD(gamma=2.0), student, teacher, [0] * 4)[1]
    target = evaluate(NKD(gamma=0.0), student, teacher, [0] * 4)[1]
    others = evaluate(KD(temperature=3.0), student[:, 1:], teacher[:, 1:])[1]

    torch.testing.assert_close((both - target)[:, 1:], 2 * others, rtol=1e-9, atol=1e-15)
    assert (both - target)[:, 0].abs().max() < 1e-15


def test_nkd__two_classes_have_no_others_to_rank() -> None:
    """One class beside the label has probability 1: ln 1 = 0."""
    student, teacher = logits(4, 2, 0), logits(4, 2, 1)

    with_others, without = (evaluate(NKD(gamma=gamma), student, teacher) for gamma in (9.0, 0.0))

    assert with_others[0] == without[0]
    assert torch.equal(with_others[1], without[1])


def test_nkd__without_a_label_the_teachers_first_choice_stands_in() -> None:
    student, teacher = probabilities([0.1, 0.7, 0.2]), probabilities([0.5, 0.3, 0.2])

    assert evaluate(NKD(), student, teacher, [UNLABELLED])[0] == evaluate(NKD(), student, teacher, [0])[0]
    assert evaluate(NKD(), student, teacher, [UNLABELLED])[0] != evaluate(NKD(), student, teacher, [1])[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
        ({"gamma": -1}, r"Expected `gamma` to be a finite number >= 0, but got -1\.0\."),
    ],
)
def test_nkd__bad_setting_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NKD(**settings)


def test_nkd__print_shows_the_settings() -> None:
    assert repr(NKD(temperature=1)) == "NKD(temperature=1.0, gamma=3.5)"
