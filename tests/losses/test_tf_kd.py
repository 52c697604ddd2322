import math

import pytest
import torch

from kd_lab.losses.kd import KD
from kd_lab.losses.label_smoothing import LabelSmoothing
from kd_lab.losses.tf_kd import TFKD
from kd_lab.types import UNLABELLED, Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.tf_kd import reference

__all__ = ["reference"]

SETTINGS = [{"correct": 0.5}, {"correct": 0.0}, {"correct": 1.0, "temperature": 0.1}]


def virtual(targets: torch.Tensor, classes: int, correct: float) -> torch.Tensor:
    """The virtual teacher before its temperature."""
    made = torch.full((len(targets), classes), (1 - correct) / (classes - 1), dtype=torch.float64)
    return made.scatter(1, targets[:, None], correct)


def test_tf_kd__two_classes_by_hand() -> None:
    """u = [3/4, 1/4] at T = 1/2: logits 3/2 and 1/2, so v = [e, 1] / (e + 1). The student says 1/2 to 1/2.

    KL = ln 2 - H(v), and H(v) = ln(e + 1) - e / (e + 1).
    """
    student = torch.zeros(1, 2, dtype=torch.float64)

    found = TFKD(temperature=0.5, correct=0.75)(Outputs(student), None, batch(1))

    expected = math.log(2) - math.log(math.e + 1) + math.e / (math.e + 1)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("correct", [0.05, 1 / 7, 0.6, 1.0])
def test_tf_kd__is_kd_from_the_virtual_teacher(correct: float) -> None:
    """At the temperature 1 for the student, the teacher's logits being u / T."""
    student, seen = Outputs(noise(6, 7, seed=0)), batch(6)
    teacher = Outputs(virtual(seen.targets, 7, correct) / 0.5)

    expected = KD(temperature=1.0)(student, teacher, seen)

    torch.testing.assert_close(TFKD(temperature=0.5, correct=correct)(student, None, seen), expected)


def test_tf_kd__is_label_smoothing_less_a_constant() -> None:
    """The smoothing is K times the virtual probability of another class: same gradient, values apart by H(v)."""
    other = math.exp(0.01 / 6 / 20) / (math.exp(0.99 / 20) + 6 * math.exp(0.01 / 6 / 20))
    student, seen = noise(6, 7, seed=0).requires_grad_(), batch(6)

    ours, smoothed = TFKD(), LabelSmoothing(epsilon=7 * other)
    gradients = [torch.autograd.grad(loss(Outputs(student), None, seen), student)[0] for loss in (ours, smoothed)]

    assert 7 * other == pytest.approx(0.99, abs=0.01)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=0)


def test_tf_kd__does_not_grow_with_the_temperature() -> None:
    """No T^2: the limit is the divergence from the uniform distribution."""
    student = Outputs(noise(6, 7, seed=0))
    uniform = KD(temperature=1.0)(student, Outputs(torch.zeros(6, 7, dtype=torch.float64)), batch(6))

    torch.testing.assert_close(TFKD(temperature=1e9)(student, None, batch(6)), uniform, rtol=1e-6, atol=0)


def test_tf_kd__samples_without_a_label_count_nowhere() -> None:
    student, targets = noise(4, 7, seed=0), torch.tensor([3, UNLABELLED, UNLABELLED, 6])
    known = targets != UNLABELLED

    mixed = TFKD()(Outputs(student), None, batch(4, targets))
    alone = TFKD()(Outputs(student[known]), None, batch(2, targets[known]))

    torch.testing.assert_close(mixed, alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correct": 1.2}, r"Expected `correct` to be from 0 to 1, but got 1\.2\."),
        ({"temperature": 0.0}, r"Expected `temperature` to be > 0, but got 0\.0\."),
    ],
)
def test_tf_kd__bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TFKD(**settings)


def test_tf_kd__print_shows_the_settings() -> None:
    assert repr(TFKD()) == "TFKD(temperature=20.0, correct=0.99)"
