"""What the tests of logit losses share: random logits, logits of given probabilities, value and gradient."""

import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs


def logits(rows: int, classes: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * drawn).to(dtype)


def probabilities(*rows: list[float]) -> Tensor:
    """Logits whose softmax is this."""
    return torch.tensor(rows, dtype=torch.float64).log()


def evaluate(loss: Loss, student: Tensor, teacher: Tensor, targets: list[int] | None = None) -> tuple[float, Tensor]:
    """Value, and gradient by the student's logits."""
    student = student.detach().clone().requires_grad_()
    rows = torch.arange(len(student))
    labels = torch.zeros_like(rows) if targets is None else torch.tensor(targets)
    value = loss(Outputs(student), Outputs(teacher), Batch(torch.zeros(len(student), 1), labels, rows))
    (gradient,) = torch.autograd.grad(value, student)
    return value.item(), gradient
