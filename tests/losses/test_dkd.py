import math

import pytest
import torch

from kd_lab.losses.dkd import DKD
from kd_lab.types import Batch, Outputs

SETTINGS = [{"alpha": 0.0}, {"beta": 0.0}, {"alpha": 2.5, "beta": 0.5, "temperature": 1.0}]
REFUSED = [
    ({"alpha": -1}, r"Expected `alpha` to be a finite number >= 0, but got -1\.0\."),
    ({"beta": -1}, r"Expected `beta` to be a finite number >= 0, but got -1\.0\."),
]


def value(loss: torch.nn.Module, student: torch.Tensor, teacher: torch.Tensor, targets: list[int]) -> float:
    seen = Batch(torch.zeros(len(targets), 1), torch.tensor(targets), torch.arange(len(targets)))
    return float(loss(Outputs(student), Outputs(teacher), seen))


def probabilities(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_dkd__three_classes_by_hand() -> None:
    """Teacher 1/2, 1/4, 1/4 and student 1/4, 1/4, 1/2 at T = 1, label 0.

    TCKD: [1/2, 1/2] against [1/4, 3/4] is 1/2 ln 2 + 1/2 ln 2/3. NCKD: [1/2, 1/2] against [1/3, 2/3] is 1/2 ln 9/8.
    """
    teacher, student = probabilities([0.5, 0.25, 0.25]), probabilities([0.25, 0.25, 0.5])

    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (3.0, 2.0)):
        expected = alpha * (0.5 * math.log(2) + 0.5 * math.log(2 / 3)) + beta * 0.5 * math.log(9 / 8)
        found = value(DKD(temperature=1.0, alpha=alpha, beta=beta), student, teacher, [0])
        assert found == pytest.approx(expected, rel=1e-9)
