import math

import pytest
import torch

from kd_lab.losses.jsd import JSD
from kd_lab.losses.kd import KD
from kd_lab.losses.reverse_kl import ReverseKL
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"beta": b} for b in (0.0, 0.01, 0.1, 0.9, 0.99, 1.0)]
REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"beta": -0.1}, r"Expected `beta` to be from 0 to 1, but got -0\.1\."),
    ({"beta": math.nan}, r"Expected `beta` to be from 0 to 1, but got nan\."),
]


def test_jsd__two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/4 to 3/4: m is 1/2 to 1/2 at beta = 1/2, and both halves are ln 2 - H(1/4).

    Gradient (1 - beta) p_s,k (log p_s,k / m_k - sum_j p_s,j log p_s,j / m_j): 3/32 ln(1/2 / 3/2) for class 0.
    """
    value, gradient = evaluate(JSD(), probabilities([0.25, 0.75]), probabilities([0.75, 0.25]))

    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert value == pytest.approx(math.log(2) - entropy, rel=1e-12)
    slope = 3 / 32 * math.log(3)
    torch.testing.assert_close(gradient, torch.tensor([[-slope, slope]], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1e-9, 1e-12, 1e-16])
@pytest.mark.parametrize("end", [0, 1])
def test_jsd__near_an_end_it_is_the_kl_there_times_the_distance(end: int, beta: float, dtype: torch.dtype) -> None:
    """JSD / beta goes to KL(t || s). In the sum of probabilities a share of 1e-9 would be lost in float32."""
    student, teacher = logits(4, 5, 0, dtype), logits(4, 5, 1, dtype)
    limit, limit_gradient = evaluate(ReverseKL() if end else KD(temperature=1.0), student, teacher)
    at, distance = (1 - beta, 1 - (1 - beta)) if end else (beta, beta)  # of the number nearest to 1 - beta

    value, gradient = evaluate(JSD(beta=at), student, teacher)

    assert value / distance == pytest.approx(limit, rel=1e-5)
    torch.testing.assert_close(gradient / distance, limit_gradient, rtol=1e-4, atol=1e-5)


def test_jsd__is_bounded_by_the_entropy_of_beta() -> None:
    """Reached by two that have nothing in common; their ratio of probabilities is one that no float holds."""
    student, teacher = torch.tensor([[1e4, 0.0]]).double(), torch.tensor([[0.0, 1e4]]).double()

    for beta in (1e-3, 0.3, 0.5, 0.9):
        bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert evaluate(JSD(beta=beta), student, teacher)[0] == pytest.approx(bound, rel=1e-12)
        assert 0 < evaluate(JSD(beta=beta), logits(4, 5, 0), logits(4, 5, 1))[0] < bound
