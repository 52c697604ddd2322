import math

import pytest
import torch

from kd_lab.losses.tf_kd import TFKD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch

SETTINGS = [{"correct": 0.5}, {"correct": 0.0}, {"correct": 1.0, "temperature": 0.1}]
REFUSED = [
    ({"correct": 1.2}, r"Expected `correct` to be from 0 to 1, but got 1\.2\."),
    ({"temperature": 0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
]


def test_tf_kd__two_classes_by_hand() -> None:
    """u = [3/4, 1/4] at T = 1/2: logits 3/2 and 1/2, so v = [e, 1] / (e + 1). The student says 1/2 to 1/2.

    KL = ln 2 - H(v), and H(v) = ln(e + 1) - e / (e + 1).
    """
    student = torch.zeros(1, 2, dtype=torch.float64)

    found = TFKD(temperature=0.5, correct=0.75)(Outputs(student), None, batch(1))

    expected = math.log(2) - math.log(math.e + 1) + math.e / (math.e + 1)
    assert found.item() == pytest.approx(expected, rel=1e-12)
