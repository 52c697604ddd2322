import math

import pytest

from kd_lab.losses.nkd import NKD
from tests.losses.of_logits import evaluate, probabilities

SETTINGS = [{"gamma": 0.0}, {"gamma": 1.5, "temperature": 1.0}]
REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"gamma": -1}, r"Expected `gamma` to be a finite number >= 0, but got -1\.0\."),
]


def test_nkd__three_classes_by_hand() -> None:
    """T = 1, label 0. Teacher 1/2, 1/4, 1/4, student 1/4, 1/4, 1/2.

    Target: -1/2 ln 1/4 = ln 2. Others: teacher 1/2, 1/2, student 1/3, 2/3: -1/2 ln 2/9.
    """
    teacher, student = probabilities([0.5, 0.25, 0.25]), probabilities([0.25, 0.25, 0.5])

    for gamma in (0.0, 1.0, 3.5):
        value, _ = evaluate(NKD(temperature=1.0, gamma=gamma), student, teacher, [0])
        assert value == pytest.approx(math.log(2) + gamma * 0.5 * math.log(9 / 2), rel=1e-9)
