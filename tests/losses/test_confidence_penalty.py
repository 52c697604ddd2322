import math

import pytest
import torch

from kd_lab.losses.confidence_penalty import ConfidencePenalty
from kd_lab.types import UNLABELLED, Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.confidence_penalty import reference

__all__ = ["reference"]


def test_confidence_penalty__goes_from_minus_ln_k_to_0() -> None:
    flat, certain = torch.zeros(3, 7), torch.tensor([[1e4, 0.0, 0.0]])

    assert ConfidencePenalty()(Outputs(flat), None, batch(3)).item() == pytest.approx(-math.log(7), rel=1e-6)
    assert ConfidencePenalty()(Outputs(certain), None, batch(1)).item() == 0


def test_confidence_penalty__three_classes_by_hand() -> None:
    """Student 1/2, 1/4, 1/4: -(1/2 ln 2 + 1/2 ln 4)."""
    student = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()

    assert ConfidencePenalty()(Outputs(student), None, batch(1)).item() == pytest.approx(-1.5 * math.log(2), rel=1e-12)


def test_confidence_penalty__its_minimum_is_the_uniform_student() -> None:
    student = noise(5, 7, seed=0).requires_grad_()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(ConfidencePenalty()(Outputs(student), None, batch(5)), student)
        student = (student - 5 * gradient).detach().requires_grad_()

    torch.testing.assert_close(student.detach().softmax(1), torch.full_like(student, 1 / 7), rtol=0, atol=1e-3)


def test_confidence_penalty__asks_no_label() -> None:
    student = Outputs(noise(6, 7, seed=0))

    without = ConfidencePenalty()(student, None, batch(6, torch.full((6,), UNLABELLED)))

    assert torch.equal(without, ConfidencePenalty()(student, None, batch(6)))
