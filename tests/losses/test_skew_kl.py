import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.skew_kl import SkewKL
from tests.losses.of_logits import evaluate, logits, probabilities

SETTINGS = [{"alpha": a} for a in (0.0, 1e-3, 0.5, 0.99)]
REFUSED = [
    ({"alpha": -0.1}, r"Expected `alpha` to be from 0 to below 1, but got -0\.1\."),
    ({"alpha": 1}, r"Expected `alpha` to be from 0 to below 1, but got 1\.0\."),
    ({"alpha": math.nan}, r"Expected `alpha` to be from 0 to below 1, but got nan\."),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_skew_kl__two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/4 to 3/4, alpha 1/2: the mixture is even, KL = ln 2 - H(1/4).

    Gradient by z_0, with dm_0 = (1 - alpha) p_s,0 p_s,1 = 3/32: -(3/4 - 1/4) / (1/2) * 3/32.
    """
    value, gradient = evaluate(SkewKL(alpha=0.5), probabilities([0.25, 0.75]), probabilities([0.75, 0.25]))

    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert value == pytest.approx(math.log(2) - entropy, rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[-3.0, 3.0]], dtype=torch.float64) / 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [1e-9, 1e-20, 1e-300])
def test_skew_kl__goes_to_kd_as_the_skew_goes_to_0(alpha: float, dtype: torch.dtype) -> None:
    student, teacher = logits(4, 5, 0, dtype), logits(4, 5, 1, dtype)

    value, gradient = evaluate(SkewKL(alpha=alpha), student, teacher)
    limit, limit_gradient = evaluate(KD(temperature=1.0), student, teacher)

    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    assert value == pytest.approx(limit, rel=tolerance)
    torch.testing.assert_close(gradient, limit_gradient, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("alpha", [1e-4, 0.1, 0.9])
def test_skew_kl__is_bounded_by_minus_log_alpha(alpha: float) -> None:
    """Reached by two that have nothing in common, where KD has no bound."""
    student, teacher = torch.tensor([[1e4, 0.0]]).double(), torch.tensor([[0.0, 1e4]]).double()

    assert evaluate(SkewKL(alpha=alpha), student, teacher)[0] == pytest.approx(-math.log(alpha), rel=1e-12)
    assert 0 < evaluate(SkewKL(alpha=alpha), logits(4, 5, 0), logits(4, 5, 1))[0] < -math.log(alpha)
