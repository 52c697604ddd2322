import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lab.losses.kd import KD
from kd_lab.types import Batch, Outputs
from tests.reference import losses_numpy
from tests.reference.losses.kd import reference  # noqa: F401

TEMPERATURES = (0.5, 1.0, 4.0, 20.0)
SHAPES = [(b, k) for k in (2, 10, 100, 1000) for b in (2, 7, 64)]


def logits(b: int, k: int, seed: int) -> Tensor:
    return 3 * torch.randn(b, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def evaluate(loss: KD, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Value, and gradient by the student's logits."""
    student = student.detach().clone().requires_grad_()
    rows = torch.arange(len(student))
    value = loss(Outputs(student), Outputs(teacher), Batch(torch.zeros(len(student), 1), torch.zeros_like(rows), rows))
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("b", "k"), SHAPES)
def test_kd__value_and_gradient_are_the_papers(b: int, k: int, temperature: float) -> None:
    student, teacher = logits(b, k, 0), logits(b, k, 1)

    value, gradient = evaluate(KD(temperature=temperature), student, teacher)

    assert value.item() == pytest.approx(losses_numpy.kd(student.numpy(), teacher.numpy(), temperature), rel=1e-6)
    expected = losses_numpy.kd_gradient(student.numpy(), teacher.numpy(), temperature)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("b", "k"), [(2, 2), (7, 10)])
def test_reference__hand_written_gradient_is_the_derivative(b: int, k: int, temperature: float) -> None:
    student, teacher = logits(b, k, 0).numpy(), logits(b, k, 1).numpy()

    slope = losses_numpy.central_difference(lambda z: losses_numpy.kd(z, teacher, temperature), student)

    np.testing.assert_allclose(losses_numpy.kd_gradient(student, teacher, temperature), slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_kd__float32_agrees_with_float64(temperature: float) -> None:
    student, teacher = logits(64, 100, 0), logits(64, 100, 1)

    value, gradient = evaluate(KD(temperature=temperature), student.float(), teacher.float())

    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(losses_numpy.kd(student.numpy(), teacher.numpy(), temperature), rel=1e-5)
    expected = losses_numpy.kd_gradient(student.numpy(), teacher.numpy(), temperature)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-7)


def test_kd__two_classes_by_hand() -> None:
    """Teacher 3/4 to 1/4, student 1/2 to 1/2: KL = ln 2 - H(1/4) = 0.75 ln 3 - ln 2."""
    teacher = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)

    value, gradient = evaluate(KD(temperature=1.0), torch.zeros_like(teacher), teacher)

    assert value.item() == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-12)
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, 0.25]], dtype=torch.float64))


def test_kd__is_the_divergence_of_the_student_from_the_teacher() -> None:
    """KL is not symmetric: swapping the two must be seen."""
    student, teacher = logits(7, 10, 0), logits(7, 10, 1)

    assert evaluate(KD(), student, teacher)[0] != pytest.approx(evaluate(KD(), teacher, student)[0].item(), rel=1e-3)


def test_kd__high_temperature_is_half_the_mean_squared_difference_of_centred_logits() -> None:
    """Hinton et al. 2015, equation 4: the limit is sum_k (z_s - z_t)^2 / (2 K) for logits of mean 0."""
    student, teacher = logits(7, 10, 0), logits(7, 10, 1)
    difference = student - teacher
    limit = ((difference - difference.mean(1, keepdim=True)) ** 2).mean() / 2

    value, _ = evaluate(KD(temperature=1e4), student, teacher)

    assert value.item() == pytest.approx(limit.item(), rel=1e-3)


def test_kd__size_of_the_gradient_does_not_follow_the_temperature() -> None:
    """Without T^2 it would fall by a factor of 256 from T=1 to T=16."""
    student, teacher = logits(64, 10, 0), logits(64, 10, 1)
    norms = [evaluate(KD(temperature=t), student, teacher)[1].norm().item() for t in (1.0, 4.0, 16.0)]

    assert max(norms) < 4 * min(norms)


def test_kd__default_temperature_is_4() -> None:
    student, teacher = logits(7, 10, 0), logits(7, 10, 1)

    assert evaluate(KD(), student, teacher)[0].item() == pytest.approx(
        losses_numpy.kd(student.numpy(), teacher.numpy(), 4.0), rel=1e-6
    )


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (-1, r"Expected `temperature` to be > 0, but got -1\.0\."),
        (0.0, r"Expected `temperature` to be > 0, but got 0\.0\."),
        (math.nan, r"Expected `temperature` to be > 0, but got nan\."),
        (math.inf, r"Expected `temperature` to be finite, but got inf\."),
    ],
)
def test_kd__bad_temperature_is_refused(temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KD(temperature=temperature)


def test_kd__print_shows_the_temperature() -> None:
    assert repr(KD(temperature=2)) == "KD(temperature=2.0)"
