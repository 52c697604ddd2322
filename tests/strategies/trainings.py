"""A training as a job hands it to a strategy, of networks small enough to reckon with."""

from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.strategies.common.strategy import Parties, Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Objective
from kd_lab.types import UNLABELLED, Batch
from tests.training.toys import FEATURES, Plain, kd, toy_data


def training(
    network: nn.Module, teachers: tuple[nn.Module, ...] = (), objective: Objective | None = None, **more: Any
) -> Training:
    facts: dict[str, Any] = {"taps": (), "peers": (), "data": toy_data(), "validation": None, "steps": 4, "seed": 0}
    frozen = tuple(map(FrozenTeacher, teachers))
    return Training(network, objective or kd(), frozen, teachers, **(facts | more))


def parties(student: nn.Module, teacher: nn.Module | None, objective: Objective, **more: Any) -> Parties:
    facts: dict[str, Any] = {"links": (), "peers": (), "compares_layers": False, "data": toy_data()}
    return Parties(teacher, student, objective=objective, **(facts | more))


def batch() -> Batch:
    """Nine samples, of which every third has no label."""
    inputs = torch.randn(9, FEATURES, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, UNLABELLED] * 3)
    return Batch(inputs, targets, torch.arange(9))


def started(step: Any, number: int = 0) -> Any:
    """A step that is about to see its first batch."""
    step.attach(torch.device("cpu"))
    step.train()
    step.at_step(number, 4)
    return step


def gradients(step: Any, network: nn.Module, of: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The objective of one batch, and its gradient in the network."""
    terms = started(step)(of)
    found = torch.autograd.grad(terms.total, [*network.parameters()])
    step.release()
    return terms.total.detach(), found


class Frail(nn.Module):
    """A network that learns and cannot be measured: it answers no large batch of samples."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > 100:
            raise ValueError("too many at once")
        return self.layer(inputs.flatten(1))


def teachers(count: int) -> tuple[nn.Module, ...]:
    return tuple(Plain(seed) for seed in range(1, count + 1))
