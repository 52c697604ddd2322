import pytest
import torch

from kd_lab.losses.tvd import TVD
from tests.losses.of_logits import evaluate, logits, probabilities


def test_tvd__three_classes_by_hand() -> None:
    """|1/2 - 1/4| + |1/4 - 1/4| + |1/4 - 1/2| = 1/2, halved.

    Gradient p_s,k (sign_k - sum_j p_s,j sign_j) / 2, where the signs are 1, 0, -1 (0 at the kink, both say 1/4) and the
    sum is 1/4: the halves of 1/2 * 3/4, 1/4 * -1/4 and 1/4 * -5/4.
    """
    value, gradient = evaluate(TVD(), probabilities([0.5, 0.25, 0.25]), probabilities([0.25, 0.25, 0.5]))

    assert value == pytest.approx(0.25, rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[6.0, -1.0, -5.0]], dtype=torch.float64) / 32)


def test_tvd__is_from_0_to_1() -> None:
    teacher = torch.tensor([[1e4, 0.0, 0.0]])

    assert evaluate(TVD(), teacher, teacher)[0] == 0
    assert evaluate(TVD(), teacher.flip(1), teacher)[0] == 1
    assert 0 < evaluate(TVD(), logits(4, 5, 0), logits(4, 5, 1))[0] < 1


def test_tvd__an_equal_student_stays_where_it_is() -> None:
    """The derivative of |x| at 0 is taken as 0, not as 1 or NaN."""
    both = logits(4, 5, 0, torch.float32)

    assert evaluate(TVD(), both, both.clone())[1].abs().max() == 0
