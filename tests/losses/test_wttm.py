import math

import pytest
import torch

from kd_lab.losses.ttm import TTM
from kd_lab.losses.wttm import WTTM
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"gamma": 0.1}, {"gamma": 1.0}, {"gamma": 2.0}]
REFUSED = [
    ({"gamma": -1}, r"Expected `gamma` to be > 0, but got -1\.0\."),
]


def test_wttm__two_classes_by_hand() -> None:
    """Teacher 4/5 to 1/5 to the power 1/2: (2 + 1) / sqrt 5 is the weight, 2/3 to 1/3 the target (see test_ttm)."""
    weight = 3 / math.sqrt(5)

    value, gradient = evaluate(WTTM(gamma=0.5), probabilities([0.5, 0.5]), probabilities([0.8, 0.2]))

    assert value == pytest.approx(weight * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)), rel=1e-12)
    torch.testing.assert_close(gradient, weight * torch.tensor([[-1.0, 1.0]], dtype=torch.float64) / 6)


def test_wttm__a_certain_teacher_has_weight_1_and_one_that_knows_nothing_the_most() -> None:
    """K^(1 - gamma) of 4 equal classes: 4^(1/2) = 2. The sum of powers does not see the level of the logits."""
    student = logits(1, 4, 0)
    certain, knows_nothing = torch.tensor([[1e4, 0, 0, 0]]).double(), torch.full((1, 4), 3.0).double()

    for teacher, weight in ((certain, 1.0), (knows_nothing, 2.0)):
        assert evaluate(WTTM(gamma=0.5), student, teacher)[0] == pytest.approx(
            weight * evaluate(TTM(gamma=0.5), student, teacher)[0], rel=1e-12
        )
