import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.mse_logits import MSELogits
from tests.losses.of_logits import evaluate, logits
from tests.reference.losses.mse_logits import reference

__all__ = ["reference"]

SETTINGS = [{"centre": True}]


def test_mse_logits__by_hand() -> None:
    """Differences 1, -2, 0 and 0, 0, 3: squares 1 + 4 + 9 over 6 numbers. Centred: 4/3, -5/3, 1/3 and -1, -1, 2."""
    student = torch.tensor([[1.0, 0.0, 5.0], [2.0, 2.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0, 2.0, 5.0], [2.0, 2.0, 0.0]], dtype=torch.float64)

    value, gradient = evaluate(MSELogits(), student, teacher)

    assert value == pytest.approx(14 / 6, rel=1e-12)
    torch.testing.assert_close(gradient, (student - teacher) / 3)
    assert evaluate(MSELogits(centre=True), student, teacher)[0] == pytest.approx((42 / 9 + 6) / 6, rel=1e-12)


def test_mse_logits__centred_does_not_see_a_constant_and_plain_does() -> None:
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)
    centred, plain = MSELogits(centre=True), MSELogits()

    assert evaluate(centred, student + 7, teacher)[0] == pytest.approx(
        evaluate(centred, student, teacher)[0], rel=1e-12
    )
    assert evaluate(plain, teacher + 7, teacher)[0] == pytest.approx(49, rel=1e-12)


def test_mse_logits__half_of_the_centred_one_is_kd_at_a_high_temperature() -> None:
    """Hinton et al. 2015, equation 4."""
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)

    value, gradient = evaluate(MSELogits(centre=True), student, teacher)
    limit, limit_gradient = evaluate(KD(temperature=1e5), student, teacher)

    assert limit == pytest.approx(value / 2, rel=1e-3)
    torch.testing.assert_close(limit_gradient, gradient / 2, rtol=1e-3, atol=1e-4)


def test_mse_logits__the_number_of_classes_does_not_rescale_it() -> None:
    """Mean over classes, not a sum: twice as many equal differences are the same loss."""
    student, teacher = logits(4, 5, 0), logits(4, 5, 1)
    more = torch.cat([student, student], 1), torch.cat([teacher, teacher], 1)

    assert evaluate(MSELogits(), *more)[0] == pytest.approx(evaluate(MSELogits(), student, teacher)[0], rel=1e-12)


def test_mse_logits__print_shows_the_setting() -> None:
    assert repr(MSELogits(centre=True)) == "MSELogits(centre=True)"
