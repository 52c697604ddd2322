import math

import pytest
import torch
from torch import Tensor, nn

from kd_lab.losses.ctkd import CTKD
from kd_lab.losses.kd import KD
from kd_lab.schedules.constant import constant
from kd_lab.types import Outputs
from tests.contracts.loss_cases import batch, noise
from tests.contracts.plugins import settings

SETTINGS = [{"reversal": 0.0}, {"reversal": 0.3}, {"instance_wise": True}, {"instance_wise": True, "reversal": 0.3}]

START = 1 + 20 / (1 + math.exp(-1))
REFUSED = [
    ({"reversal": -1}, r"Expected `reversal` to be a finite number >= 0, but got -1\.0\."),
    ({"reversal": math.inf}, r"Expected `reversal` to be a finite number >= 0, but got inf\."),
    ({"reversal": math.nan}, r"Expected `reversal` to be a finite number >= 0, but got nan\."),
]


def made(*, classes: int = 7, instance_wise: bool = False, reversal: float = 1.0) -> CTKD:
    torch.manual_seed(0)
    return CTKD(num_classes=classes, instance_wise=instance_wise, reversal=reversal).double()


def logits(rows: int = 6) -> tuple[Tensor, Tensor]:
    return noise(rows, 7, seed=0).requires_grad_(), noise(rows, 7, seed=1)


def test_ctkd__starts_as_kd_at_its_first_temperature() -> None:
    """For the student, value and gradient are those of KD at T = 1 + 20 sigmoid(1), T^2 included."""
    student, teacher = logits()
    found = [loss(Outputs(student), Outputs(teacher), batch(6)) for loss in (made(), KD(temperature=START))]

    gradients = [torch.autograd.grad(value, student)[0] for value in found]

    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-14)


def test_ctkd__theta_gets_the_reversed_derivative_and_the_student_does_not() -> None:
    student, teacher = logits()
    loss = made(reversal=0.5)

    def at(theta: float) -> float:
        temperature = 1 + 20 / (1 + math.exp(-theta))
        return KD(temperature=temperature)(Outputs(student), Outputs(teacher), batch(6)).item()

    slope = (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5
    loss(Outputs(student), Outputs(teacher), batch(6)).backward()

    assert loss.theta.grad is not None
    assert float(loss.theta.grad) == pytest.approx(-0.5 * slope, rel=1e-4)
    assert abs(slope) > 1e-3


def test_ctkd__each_sample_has_its_own_temperature_and_counts_as_kd_at_it() -> None:
    student, teacher = logits()
    loss = made(instance_wise=True)
    alone = []
    for row in range(6):
        one = Outputs(student[row : row + 1]), Outputs(teacher[row : row + 1]), batch(1)
        value, temperature = loss(*one), loss.readings()["temperature"]
        torch.testing.assert_close(value, KD(temperature=temperature)(*one), rtol=1e-6, atol=0)
        alone.append((value.item(), temperature))

    together = loss(Outputs(student), Outputs(teacher), batch(6))

    assert together.item() == pytest.approx(sum(v for v, _ in alone) / 6, rel=1e-10)
    assert loss.readings()["temperature"] == pytest.approx(sum(t for _, t in alone) / 6, rel=1e-10)
    assert len({round(t, 9) for _, t in alone}) == 6
    assert all(1 < t < 21 for _, t in alone)


@pytest.mark.parametrize("instance_wise", [False, True])
def test_ctkd__the_temperature_stays_between_1_and_21(instance_wise: bool) -> None:
    loss = made(instance_wise=instance_wise)
    student, teacher = logits()
    for extreme, expected in ((-1e4, 1.0), (1e4, 21.0)):
        for parameter in loss.parameters():
            nn.init.constant_(parameter, extreme if parameter.numel() == 1 else 0.0)
        value = loss(Outputs(student), Outputs(teacher), batch(6))
        torch.testing.assert_close(value, KD(temperature=expected)(Outputs(student), Outputs(teacher), batch(6)))
        assert loss.readings() == {"temperature": expected}


def test_ctkd__says_nothing_of_a_temperature_before_the_first_batch() -> None:
    assert made(instance_wise=True).readings() == {}


def test_ctkd__its_curriculum_rises_as_half_a_cosine_over_10_of_240_epochs() -> None:
    """In the authors' code the factor of epoch i is (1 - cos(pi i / 10)) / 2, up to epoch 10."""
    given = settings("loss", "ctkd")["schedules"]["reversal"]
    shape = {k: v for k, v in given.items() if not k.startswith("_")}

    steps = [constant(t, base=1.0, total_steps=2400, **shape) for t in range(2400)]

    expected = [(1 - math.cos(math.pi * i / 10)) / 2 for i in range(1, 10)]
    assert [steps[10 * i - 1] for i in range(1, 10)] == pytest.approx(expected, abs=0.02)
    assert steps[110:] == [1.0] * 2290
