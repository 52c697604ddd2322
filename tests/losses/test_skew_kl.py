import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.skew_kl import SkewKL
from tests.losses.of_logits import evaluate, logits, probabilities
from tests.reference.losses.skew_kl import reference

__all__ = ["reference"]

SETTINGS = [{"alpha": a} for a in (0.0, 1e-3, 0.5, 0.99)]


def test_skew_kl__two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/4 to 3/4, alpha 1/2: the mixture is even, KL = ln 2 - H(1/4).

    Gradient by z_0, with dm_0 = (1 - alpha) p_s,0 p_s,1 = 3/32: -(3/4 - 1/4) / (1/2) * 3/32.
    """
    value, gradient = evaluate(SkewKL(alpha=0.5), probabilities([0.25, 0.75]), probabilities([0.75, 0.25]))

    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert value == pytest.approx(math.log(2) - entropy, rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[-3.0, 3.0]], dtype=torch.float64) / 32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_skew_kl__without_skew_it_is_kd_to_the_last_bit(temperature: float) -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    value, gradient = evaluate(SkewKL(temperature=temperature, alpha=0), student, teacher)
    expected, expected_gradient = evaluate(KD(temperature=temperature), student, teacher)

    assert value == expected
    assert torch.equal(gradient, expected_gradient)


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


def test_skew_kl__more_of_the_teacher_is_less_loss() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)
    values = [evaluate(SkewKL(alpha=a), student, teacher)[0] for a in (0.0, 0.1, 0.5, 0.9, 1 - 1e-12)]

    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize("alpha", [-0.1, 1, math.nan])
def test_skew_kl__bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `alpha` to be from 0 to below 1, but got {float(alpha)}\."):
        SkewKL(alpha=alpha)


def test_skew_kl__bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `temperature` to be > 0, but got 0\.0\."):
        SkewKL(temperature=0)


def test_skew_kl__print_shows_the_settings() -> None:
    assert repr(SkewKL(alpha=0)) == "SkewKL(temperature=1.0, alpha=0.0)"
