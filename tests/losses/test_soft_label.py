import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lab.losses.kd import KD
from kd_lab.losses.soft_label import SoftLabel
from kd_lab.types import Batch, Outputs
from tests.reference import losses_numpy
from tests.reference.losses.soft_label import reference  # noqa: F401

SHAPES = [(b, k) for k in (2, 10, 100, 1000) for b in (2, 7, 64)]


def logits(b: int, k: int, seed: int) -> Tensor:
    return 3 * torch.randn(b, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def evaluate(loss: torch.nn.Module, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Value, and gradient by the student's logits."""
    student = student.detach().clone().requires_grad_()
    rows = torch.arange(len(student))
    value = loss(Outputs(student), Outputs(teacher), Batch(torch.zeros(len(student), 1), torch.zeros_like(rows), rows))
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


@pytest.mark.parametrize(("b", "k"), SHAPES)
def test_soft_label__value_and_gradient_are_the_papers(b: int, k: int) -> None:
    student, teacher = logits(b, k, 0), logits(b, k, 1)

    value, gradient = evaluate(SoftLabel(), student, teacher)

    assert value.item() == pytest.approx(losses_numpy.soft_label(student.numpy(), teacher.numpy()), rel=1e-6)
    expected = losses_numpy.soft_label_gradient(student.numpy(), teacher.numpy())
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(("b", "k"), [(2, 2), (7, 10)])
def test_reference__hand_written_soft_label_gradient_is_the_derivative(b: int, k: int) -> None:
    student, teacher = logits(b, k, 0).numpy(), logits(b, k, 1).numpy()

    slope = losses_numpy.central_difference(lambda z: losses_numpy.soft_label(z, teacher), student)

    np.testing.assert_allclose(losses_numpy.soft_label_gradient(student, teacher), slope, rtol=1e-5, atol=1e-9)


def test_soft_label__equal_to_the_teacher_is_the_teachers_entropy() -> None:
    """A fair coin: ln 2, and not 0."""
    value, gradient = evaluate(SoftLabel(), torch.zeros(3, 2), torch.zeros(3, 2))

    assert value.item() == pytest.approx(math.log(2), rel=1e-6)
    assert gradient.abs().max().item() == 0


def test_soft_label__gradient_is_that_of_kd_at_temperature_1() -> None:
    student, teacher = logits(7, 10, 0), logits(7, 10, 1)

    torch.testing.assert_close(
        evaluate(SoftLabel(), student, teacher)[1],
        evaluate(KD(temperature=1.0), student, teacher)[1],
        rtol=1e-12,
        atol=0,
    )


def test_soft_label__a_certain_teacher_is_a_hard_label() -> None:
    student, targets = logits(7, 10, 0), torch.arange(7)
    teacher = 1e4 * torch.nn.functional.one_hot(targets, 10).double()

    value, _ = evaluate(SoftLabel(), student, teacher)

    assert value.item() == pytest.approx(losses_numpy.cross_entropy(student.numpy(), targets.tolist()), rel=1e-9)
