import math

import pytest
import torch

from kd_lab.losses.alpha_divergence import AlphaDivergence
from kd_lab.losses.kd import KD
from kd_lab.losses.reverse_kl import ReverseKL
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"alpha": a} for a in (0.0, 0.01, 0.3, 0.7, 0.99, 1.0)]

ENDS = [(0.0, ReverseKL), (1.0, KD)]
REFUSED = [
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ({"alpha": 1.1}, r"Expected `alpha` to be from 0 to 1, but got 1\.1\."),
    ({"alpha": -0.1}, r"Expected `alpha` to be from 0 to 1, but got -0\.1\."),
]


def test_alpha_divergence__two_classes_by_hand() -> None:
    """Teacher 9/10 to 1/10, student 1/2 to 1/2, alpha 1/2: sum sqrt(p_t p_s) = (3 + 1) / sqrt 20 = 2 / sqrt 5.

    Gradient by z_0 of -4 sum sqrt(p_t p_s): -4 * 1/2 * sum_k sqrt(p_t,k p_s,k) (1[k = 0] - p_s,0)
    = -(3 - 1) / sqrt 20 = -1 / sqrt 5.
    """
    value, gradient = evaluate(AlphaDivergence(), probabilities([0.5, 0.5]), probabilities([0.9, 0.1]))

    assert value == pytest.approx(4 * (1 - 2 / math.sqrt(5)), rel=1e-12)
    expected = torch.tensor([[-1.0, 1.0]], dtype=torch.float64) / math.sqrt(5)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [1e-7, 1e-16, 1e-19, 1e-45, 1e-310])
@pytest.mark.parametrize(("alpha", "end"), ENDS)
def test_alpha_divergence__goes_to_its_ends(
    alpha: float, end: type[KD] | type[ReverseKL], distance: float, dtype: torch.dtype
) -> None:
    """1 - sum p_t^a p_s^(1 - a), taken as it stands, has no digit left at 1e-7 in float32."""
    student, teacher = logits(4, 5, 0, dtype), logits(4, 5, 1, dtype)
    near = alpha - distance if alpha else distance

    value, gradient = evaluate(AlphaDivergence(alpha=near), student, teacher)
    limit, limit_gradient = evaluate(end(temperature=1.0), student, teacher)

    assert value == pytest.approx(limit, rel=1e-5)
    torch.testing.assert_close(gradient, limit_gradient, rtol=1e-4, atol=1e-5)


def test_alpha_divergence__does_not_jump_in_the_middle() -> None:
    """The sum is taken over the other network's probabilities above 1/2."""
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    value, gradient = evaluate(AlphaDivergence(alpha=0.5), student, teacher)
    above, gradient_above = evaluate(AlphaDivergence(alpha=0.5 + 1e-12), student, teacher)

    assert above == pytest.approx(value, rel=1e-10)
    torch.testing.assert_close(gradient_above, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.7])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_alpha_divergence__networks_with_nothing_in_common(alpha: float, size: float, dtype: torch.dtype) -> None:
    """p_t / p_s is up to exp(1e4), which no float holds; of the sum of powers an exponential of each class is left."""
    student, teacher = torch.tensor([[size, 0.0]], dtype=dtype), torch.tensor([[0.0, size]], dtype=dtype)
    left = math.exp(-alpha * size) + math.exp(-(1 - alpha) * size)

    value, gradient = evaluate(AlphaDivergence(alpha=alpha), student, teacher)

    assert value == pytest.approx((1 - left) / (alpha * (1 - alpha)), rel=1e-5)
    assert gradient.isfinite().all()
