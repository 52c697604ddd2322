import pytest
import torch

from kd_lab.losses.dist import DIST
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"beta": 0.0}, {"gamma": 0.0}, {"temperature": 1.0, "beta": 2.0, "gamma": 0.5}]

ROWS = {"temperature": 1.0, "gamma": 0.0}
COLUMNS = {"temperature": 1.0, "beta": 0.0}
REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"beta": -1}, r"Expected `beta` to be a finite number >= 0, but got -1\.0\."),
    ({"gamma": -1}, r"Expected `gamma` to be a finite number >= 0, but got -1\.0\."),
]


def test_dist__one_row_by_hand() -> None:
    """Teacher 3/6, 2/6, 1/6 is (1, 0, -1) / 6 about its mean; student 2/6, 3/6, 1/6 is (0, 1, -1) / 6: rho = 1/2."""
    student, teacher = probabilities([2 / 6, 3 / 6, 1 / 6]), probabilities([3 / 6, 2 / 6, 1 / 6])

    assert evaluate(DIST(**ROWS), student, teacher)[0] == pytest.approx(0.5, abs=1e-6)


def test_dist__columns_by_hand() -> None:
    """Three samples, two classes. Class 0 has the numbers of the test above, class 1 their mirror image."""
    student = probabilities([2 / 6, 4 / 6], [3 / 6, 3 / 6], [1 / 6, 5 / 6])
    teacher = probabilities([3 / 6, 3 / 6], [2 / 6, 4 / 6], [1 / 6, 5 / 6])

    assert evaluate(DIST(**COLUMNS), student, teacher)[0] == pytest.approx(0.5, abs=1e-6)


def test_dist__a_batch_of_one_has_no_columns() -> None:
    """That term is gamma T^2 and has no gradient; the row's is as it is in any batch."""
    student, teacher = logits(1, 5, 0), logits(1, 5, 1)

    both, rows = evaluate(DIST(gamma=0.7), student, teacher), evaluate(DIST(gamma=0.0), student, teacher)

    assert both[0] == pytest.approx(rows[0] + 0.7 * 16, rel=1e-12)
    torch.testing.assert_close(both[1], rows[1], rtol=1e-12, atol=0)
    assert both[1].abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flat", ["student", "teacher", "both"])
def test_dist__what_does_not_vary_correlates_with_nothing(flat: str, dtype: torch.dtype) -> None:
    """The same even guess for every sample: lengths 0, whose square root has no derivative. rho is 0, all is finite."""
    even, varied = torch.zeros(4, 8, dtype=dtype), logits(4, 8, 0, dtype)

    value, gradient = evaluate(DIST(), varied if flat == "teacher" else even, varied if flat == "student" else even)

    assert value == pytest.approx(2 * 16, rel=1e-5)
    assert gradient.isfinite().all()


def test_dist__a_student_that_says_nothing_yet_is_shown_the_way() -> None:
    """Divided by 1e-8 alone, its gradient would be of the order 1e7 here, and no number at all in half precision."""
    student, teacher = torch.zeros(4, 8), logits(4, 8, 1, torch.float32)

    value, gradient = evaluate(DIST(), student, teacher)

    assert 1e-3 < gradient.abs().max() < 10
    assert evaluate(DIST(), student - 0.1 * gradient, teacher)[0] < value - 1
