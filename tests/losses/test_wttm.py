import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.ttm import TTM
from kd_lab.losses.wttm import WTTM
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.wttm import reference

__all__ = ["reference"]

SETTINGS = [{"gamma": 0.1}, {"gamma": 1.0}, {"gamma": 2.0}]


def test_wttm__two_classes_by_hand() -> None:
    """Teacher 4/5 to 1/5 to the power 1/2: (2 + 1) / sqrt 5 is the weight, 2/3 to 1/3 the target (see test_ttm)."""
    weight = 3 / math.sqrt(5)

    value, gradient = evaluate(WTTM(gamma=0.5), probabilities([0.5, 0.5]), probabilities([0.8, 0.2]))

    assert value == pytest.approx(weight * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)), rel=1e-12)
    torch.testing.assert_close(gradient, weight * torch.tensor([[-1.0, 1.0]], dtype=torch.float64) / 6)


def test_wttm__is_ttm_times_the_summed_powers_sample_by_sample() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)
    weights = (teacher.softmax(1) ** 0.3).sum(1)

    alone = [evaluate(TTM(gamma=0.3), student[i : i + 1], teacher[i : i + 1])[0] for i in range(4)]

    expected = sum(w.item() * loss for w, loss in zip(weights, alone, strict=True)) / 4
    assert evaluate(WTTM(gamma=0.3), student, teacher)[0] == pytest.approx(expected, rel=1e-12)


def test_wttm__a_certain_teacher_has_weight_1_and_one_that_knows_nothing_the_most() -> None:
    """K^(1 - gamma) of 4 equal classes: 4^(1/2) = 2. The sum of powers does not see the level of the logits."""
    student = logits(1, 4, 0)
    certain, knows_nothing = torch.tensor([[1e4, 0, 0, 0]]).double(), torch.full((1, 4), 3.0).double()

    for teacher, weight in ((certain, 1.0), (knows_nothing, 2.0)):
        assert evaluate(WTTM(gamma=0.5), student, teacher)[0] == pytest.approx(
            weight * evaluate(TTM(gamma=0.5), student, teacher)[0], rel=1e-12
        )


def test_wttm__gamma_of_1_is_kd_at_temperature_1() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    assert evaluate(WTTM(gamma=1.0), student, teacher)[0] == pytest.approx(
        evaluate(KD(temperature=1.0), student, teacher)[0], rel=1e-12
    )


def test_wttm__bad_gamma_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `gamma` to be > 0, but got -1\.0\."):
        WTTM(gamma=-1)


def test_wttm__print_shows_the_setting() -> None:
    assert repr(WTTM(gamma=1)) == "WTTM(gamma=1.0)"
