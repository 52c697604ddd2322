import math

import pytest
import torch

from kd_lab.losses.confidence_penalty import ConfidencePenalty
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch


def test_confidence_penalty__three_classes_by_hand() -> None:
    """Student 1/2, 1/4, 1/4: -(1/2 ln 2 + 1/2 ln 4)."""
    student = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()

    assert ConfidencePenalty()(Outputs(student), None, batch(1)).item() == pytest.approx(-1.5 * math.log(2), rel=1e-12)
