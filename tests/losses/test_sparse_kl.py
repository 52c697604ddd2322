import math

import pytest

from kd_lab.losses.sparse_kl import SparseKL
from tests.losses.of_logits import evaluate, probabilities

SETTINGS = [{"k": 1}, {"k": 3, "temperature": 4.0}, {"k": 6}, {"k": 7}, {"k": 100}]
REFUSED = [
    ({"k": 0}, r"Expected `k` to be a whole number >= 1, but got 0"),
    ({"k": 2.0}, r"Expected `k` to be a whole number >= 1, but got 2\.0"),
    ({"k": True}, r"Expected `k` to be a whole number >= 1, but got True"),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_sparse_kl__four_classes_by_hand() -> None:
    """Teacher 1/2 | 1/4, 1/8, 1/8 and student 1/8 | 1/2, 1/4, 1/8 with k = 1: KL([1/2, 1/2] || [1/8, 7/8]).

    That is 1/2 ln 4 + 1/2 ln 4/7.
    """
    teacher, student = probabilities([0.5, 0.25, 0.125, 0.125]), probabilities([0.125, 0.5, 0.25, 0.125])

    expected = 0.5 * math.log(4) + 0.5 * math.log(4 / 7)
    assert evaluate(SparseKL(k=1), student, teacher)[0] == pytest.approx(expected, rel=1e-12)
