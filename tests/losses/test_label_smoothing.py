import math

import pytest
import torch

from kd_lab.losses.label_smoothing import LabelSmoothing
from kd_lab.training.objective import Objective, Term
from kd_lab.types import UNLABELLED, Outputs
from tests.contracts.loss_cases import batch, noise
from tests.reference.losses.label_smoothing import reference

__all__ = ["reference"]

SETTINGS = [{"epsilon": 0.0}, {"epsilon": 0.6}, {"epsilon": 1.0}]

SOME = torch.tensor([0, UNLABELLED, 2, UNLABELLED, 1, 4])


def test_label_smoothing__three_classes_by_hand() -> None:
    """Student 1/2, 1/4, 1/4 with label 0 and epsilon 0.3: targets 0.8, 0.1, 0.1, so 0.8 ln 2 + 0.2 ln 4."""
    student = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()

    found = LabelSmoothing(epsilon=0.3)(Outputs(student), None, batch(1))

    assert found.item() == pytest.approx(1.2 * math.log(2), rel=1e-12)


def test_label_smoothing__is_the_smoothed_hard_term_of_the_recipe() -> None:
    student, seen = Outputs(noise(6, 7, seed=0)), batch(6, SOME)

    of_the_recipe = Objective({}, hard_weight=1.0, label_smoothing=0.2)(student, None, seen).total

    torch.testing.assert_close(LabelSmoothing(epsilon=0.2)(student, None, seen), of_the_recipe, rtol=1e-12, atol=0)


def test_label_smoothing__samples_without_a_label_count_nowhere() -> None:
    student, known = noise(6, 7, seed=0), SOME != UNLABELLED

    mixed = LabelSmoothing()(Outputs(student), None, batch(6, SOME))
    alone = LabelSmoothing()(Outputs(student[known]), None, batch(4, SOME[known]))

    torch.testing.assert_close(mixed, alone, rtol=1e-12, atol=0)


def test_label_smoothing__no_label_at_all_is_zero_with_a_gradient() -> None:
    student = noise(3, 7, seed=0).requires_grad_()

    found = LabelSmoothing()(Outputs(student), None, batch(3, torch.full((3,), UNLABELLED)))
    (gradient,) = torch.autograd.grad(found, student)

    assert found.item() == 0
    assert gradient.abs().max() == 0


def test_label_smoothing__trains_a_student_alone() -> None:
    objective = Objective({"label_smoothing": Term(LabelSmoothing())}, hard_weight=0.0)

    assert objective(Outputs(noise(6, 7, seed=0)), None, batch(6, SOME)).total > 0


@pytest.mark.parametrize("epsilon", [-0.1, 1.1])
def test_label_smoothing__bad_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `epsilon` to be from 0 to 1, but got {epsilon}\."):
        LabelSmoothing(epsilon=epsilon)


def test_label_smoothing__print_shows_the_setting() -> None:
    assert repr(LabelSmoothing()) == "LabelSmoothing(epsilon=0.1)"
