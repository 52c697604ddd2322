"""A training as a strategy is given it: two linear networks on rows of which some have no label."""

import torch
from torch import nn

from kd_lab.strategies.common.strategy import Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Objective
from kd_lab.types import UNLABELLED, Batch
from tests.training.toys import CLASSES, FEATURES, Linear, toy_data


def training(objective: Objective, *, steps: int = 8, teachers: tuple[nn.Module, ...] | None = None) -> Training:
    networks = (Linear(1),) if teachers is None else teachers
    answering = tuple(FrozenTeacher(network) for network in networks)
    return Training(Linear(0), objective, answering, networks, (), (), toy_data(), None, steps, 0)


def batch(size: int = 6) -> Batch:
    """Every third row is unlabelled."""
    inputs = torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(3))
    targets = torch.arange(size) % CLASSES
    targets[::3] = UNLABELLED
    return Batch(inputs, targets, torch.arange(size))
