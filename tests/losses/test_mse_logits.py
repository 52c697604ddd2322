import pytest
import torch

from kd_lab.losses.mse_logits import MSELogits
from tests.losses.of_logits import evaluate

SETTINGS = [{"centre": True}]


def test_mse_logits__by_hand() -> None:
    """Differences 1, -2, 0 and 0, 0, 3: squares 1 + 4 + 9 over 6 numbers. Centred: 4/3, -5/3, 1/3 and -1, -1, 2."""
    student = torch.tensor([[1.0, 0.0, 5.0], [2.0, 2.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0, 2.0, 5.0], [2.0, 2.0, 0.0]], dtype=torch.float64)

    value, gradient = evaluate(MSELogits(), student, teacher)

    assert value == pytest.approx(14 / 6, rel=1e-12)
    torch.testing.assert_close(gradient, (student - teacher) / 3)
    assert evaluate(MSELogits(centre=True), student, teacher)[0] == pytest.approx((42 / 9 + 6) / 6, rel=1e-12)
