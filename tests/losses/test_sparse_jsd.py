import math

import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.mixtures import generalized_jsd
from kd_lab.losses.sparse_jsd import SparseJSD
from kd_lab.losses.sparse_kl import SparseKL
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.sparse_jsd import reference

__all__ = ["reference"]

SETTINGS = [{"k": 1}, {"k": 3, "temperature": 0.9, "beta": 0.2}, {"k": 3, "beta": 0.0}, {"k": 3, "beta": 1.0}, {"k": 7}]


def value(loss: Loss, student: Tensor, teacher: Tensor) -> float:
    return float(loss(Outputs(student), Outputs(teacher), batch(len(student), classes=student.shape[1])))


def test_sparse_jsd__three_classes_by_hand() -> None:
    """Teacher 1/2 | 1/4, 1/4 and student 1/4 | 1/4, 1/2, k = 1, beta = 1/2: m = [3/8, 5/8].

    1/2 (1/2 ln 4/3 + 1/2 ln 4/5) + 1/2 (1/4 ln 2/3 + 3/4 ln 6/5).
    """
    teacher = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64).log()

    expected = (math.log(4 / 3) + math.log(4 / 5)) / 4 + (math.log(2 / 3) + 3 * math.log(6 / 5)) / 8
    assert value(SparseJSD(k=1), student, teacher) == pytest.approx(expected, rel=1e-12)


def test_sparse_jsd__ends_are_the_two_divergences_without_a_squared_temperature() -> None:
    student, teacher = noise(8, 7, seed=0), noise(8, 7, seed=1)

    forward = value(SparseJSD(temperature=2.0, beta=0.0, k=3), student, teacher)
    backward = value(SparseJSD(temperature=2.0, beta=1.0, k=3), student, teacher)

    assert forward == pytest.approx(value(SparseKL(temperature=2.0, k=3), student, teacher) / 4, rel=1e-12)
    near = value(SparseJSD(temperature=2.0, beta=1 - 1e-6, k=3), student, teacher) / 1e-6
    assert backward == pytest.approx(near, rel=1e-4)
    assert forward != pytest.approx(backward, rel=1e-2)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_sparse_jsd__is_bounded_by_the_entropy_of_beta(beta: float) -> None:
    """Teacher and student are certain of different classes: the divergence is at its bound."""
    teacher, student = torch.tensor([[1e4, 0, 0, 0.0]]), torch.tensor([[0, 1e4, 0, 0.0]])

    bound = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert value(SparseJSD(beta=beta, k=1), student, teacher) == pytest.approx(bound, rel=1e-6)


def test_sparse_jsd__exchanging_the_two_needs_the_same_classes() -> None:
    """With all classes the divergence of beta = 1/2 is symmetric; the teacher's choice of k classes is not."""
    student, teacher = noise(8, 7, seed=0), noise(8, 7, seed=1)

    whole = value(SparseJSD(k=7), student, teacher)

    assert value(SparseJSD(k=7), teacher, student) == pytest.approx(whole, rel=1e-10)
    assert value(SparseJSD(k=2), teacher, student) != pytest.approx(value(SparseJSD(k=2), student, teacher), rel=1e-3)


def test_generalized_jsd__mirrors() -> None:
    one, other = noise(8, 7, seed=0).log_softmax(1), noise(8, 7, seed=1).log_softmax(1)

    for beta in (0.0, 0.3, 1.0):
        torch.testing.assert_close(
            generalized_jsd(one, other, beta), generalized_jsd(other, one, 1 - beta), rtol=1e-10, atol=0
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 1.5}, r"Expected `beta` to be from 0 to 1, but got 1\.5\."),
        ({"beta": math.nan}, r"Expected `beta` to be from 0 to 1, but got nan\."),
        ({"temperature": -1.0}, r"Expected `temperature` to be > 0, but got -1\.0\."),
        ({"k": 0}, r"Expected `k` to be a whole number >= 1, but got 0\."),
    ],
)
def test_sparse_jsd__bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseJSD(**settings)  # type: ignore[arg-type]


def test_sparse_jsd__print_shows_the_settings() -> None:
    assert repr(SparseJSD()) == "SparseJSD(temperature=1.0, beta=0.5, k=5)"
