import math

import pytest
import torch

from kd_lab.losses.sparse_jsd import SparseJSD
from tests.losses.of_logits import evaluate, probabilities

SETTINGS = [{"k": 1}, {"k": 3, "temperature": 0.9, "beta": 0.2}, {"k": 3, "beta": 0.0}, {"k": 3, "beta": 1.0}, {"k": 7}]
REFUSED = [
    ({"beta": 1.5}, r"Expected `beta` to be from 0 to 1, but got 1\.5\."),
    ({"beta": math.nan}, r"Expected `beta` to be from 0 to 1, but got nan\."),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"k": 0}, r"Expected `k` to be a whole number >= 1, but got 0"),
]


def test_sparse_jsd__three_classes_by_hand() -> None:
    """Teacher 1/2 | 1/4, 1/4 and student 1/4 | 1/4, 1/2, k = 1, beta = 1/2: m = [3/8, 5/8].

    1/2 (1/2 ln 4/3 + 1/2 ln 4/5) + 1/2 (1/4 ln 2/3 + 3/4 ln 6/5).
    """
    teacher = probabilities([0.5, 0.25, 0.25])
    student = probabilities([0.25, 0.25, 0.5])

    expected = (math.log(4 / 3) + math.log(4 / 5)) / 4 + (math.log(2 / 3) + 3 * math.log(6 / 5)) / 8
    assert evaluate(SparseJSD(k=1), student, teacher)[0] == pytest.approx(expected, rel=1e-12)


def test_sparse_jsd__is_bounded_by_the_entropy_of_beta() -> None:
    """Teacher and student are certain of different classes: the divergence is at its bound."""
    beta = 0.1
    teacher, student = torch.tensor([[1e4, 0, 0, 0.0]]), torch.tensor([[0, 1e4, 0, 0.0]])

    bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert evaluate(SparseJSD(beta=beta, k=1), student, teacher)[0] == pytest.approx(bound, rel=1e-6)
