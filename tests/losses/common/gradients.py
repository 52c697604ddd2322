"""Compares a loss's gradients with differences of its values, by everything that it trains or is given."""

import torch

from tests.contracts.loss_cases import Case, leaves


def gradients_are_those_of_differences(case: Case) -> None:
    """By the student's features and every trained part, in float64; what the loss draws is the same in every call."""
    student = leaves(case.student)
    inputs = [*student.features, *(p for p in case.loss.parameters() if p.requires_grad)]

    def value(*_: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return case.loss(student, case.teacher, case.batch)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(value, inputs)
