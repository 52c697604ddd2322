import math

import pytest
import torch

from kd_lab.losses.label_smoothing import LabelSmoothing
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch

SETTINGS = [{"epsilon": 0.0}, {"epsilon": 0.6}, {"epsilon": 1.0}]
REFUSED = [
    ({"epsilon": -0.1}, r"Expected `epsilon` to be from 0 to 1, but got -0\.1\."),
    ({"epsilon": 1.1}, r"Expected `epsilon` to be from 0 to 1, but got 1\.1\."),
]


def test_label_smoothing__three_classes_by_hand() -> None:
    """Student 1/2, 1/4, 1/4 with label 0 and epsilon 0.3: targets 0.8, 0.1, 0.1, so 0.8 ln 2 + 0.2 ln 4."""
    student = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()

    found = LabelSmoothing(epsilon=0.3)(Outputs(student), None, batch(1))

    assert found.item() == pytest.approx(1.2 * math.log(2), rel=1e-12)
