import pytest

from kd_lab.losses.sparse_tvd import SparseTVD
from tests.losses.of_logits import evaluate, probabilities

SETTINGS = [{"k": 1}, {"k": 3}, {"k": 6}, {"k": 7}]
REFUSED = [
    ({"k": 0}, r"Expected `k` to be a whole number >= 1, but got 0"),
]


def test_sparse_tvd__four_classes_by_hand() -> None:
    """Teacher 1/2, 1/4 | 1/8, 1/8 and student 1/8, 1/2 | 1/4, 1/8, k = 2: 1/2 (3/8 + 1/4 + 1/8)."""
    teacher = probabilities([0.5, 0.25, 0.125, 0.125])
    student = probabilities([0.125, 0.5, 0.25, 0.125])

    assert evaluate(SparseTVD(k=2), student, teacher)[0] == pytest.approx(3 / 8, rel=1e-12)
