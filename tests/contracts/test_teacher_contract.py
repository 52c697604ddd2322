"""Every teacher keeps the contract; it catches teachers that do not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.insight.taps import Tap
from kd_lab.teachers.cached import CachedTeacher
from kd_lab.teachers.form import Form
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.types import Batch, Outputs
from tests.contracts.teachers import check_teacher


class Net(nn.Module):
    """BatchNorm and dropout: what a network in the wrong mode gives itself away by."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


def batch() -> Batch:
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    return Batch(inputs, torch.arange(5) % 3, torch.arange(5), (inputs + 1, inputs - 1))


def test_frozen_teacher__keeps_the_contract() -> None:
    network = Net()
    taps = [Tap("body"), Tap("head", at_input=True)]
    check_teacher(lambda: FrozenTeacher(network, taps), batch(), lambda: [network])


def test_frozen_teacher__other_weights_are_another_identity() -> None:
    network = Net()
    before = FrozenTeacher(network).identity
    with torch.no_grad():
        network.head.bias[0] += 1
    assert FrozenTeacher(network).identity != before


def test_cached_teacher__keeps_the_contract() -> None:
    """What it answers the second time comes from what it kept, and so does what it answers of one sample alone."""
    network = Net()
    taps = [Tap("body"), Tap("head", at_input=True)]

    def make() -> CachedTeacher:
        return CachedTeacher(FrozenTeacher(network, taps), torch.arange(5), num_rows=8, num_classes=3)

    check_teacher(make, batch(), lambda: [network])


def test_cached_teacher__answers_kept_otherwise_are_another_identity() -> None:
    teacher, rows = FrozenTeacher(Net()), torch.arange(5)
    as_it_is = CachedTeacher(teacher, rows, num_rows=8, num_classes=3)
    halved = CachedTeacher(teacher, rows, num_rows=8, num_classes=3, form=Form("float16"))
    assert as_it_is.identity == teacher.identity
    assert halved.identity != teacher.identity


class Training(FrozenTeacher):
    """Wrong: in train mode."""

    def attach(self, device: Any) -> "Training":
        super().attach(device)
        self.module.train()
        return self


class Owned(nn.Module):
    """Wrong: a module, whose parameters its owner trains and keeps."""

    identity = ""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class WithGraph(FrozenTeacher):
    """Wrong: the student's loss would train it."""

    def __call__(self, batch: Batch) -> Outputs:
        return Outputs(self.module.requires_grad_(True)(batch.inputs), (), batch.views)  # type: ignore[arg-type]


class Hooked(FrozenTeacher):
    """Wrong: its hooks stay."""

    def release(self) -> None:
        """Nothing."""


class Blind(FrozenTeacher):
    """Wrong: does not answer the views."""

    def __call__(self, batch: Batch) -> Outputs:
        return super().__call__(batch._replace(views=()))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Training, "draws at random"),
        (Owned, "its parameters are those of its owner"),
        (WithGraph, "its answer has a graph"),
        (Hooked, "it leaves hooks behind"),
        (Blind, "not an answer for each view"),
    ],
)
def test_contract__catches_a_wrong_teacher(kind: Any, complaint: str) -> None:
    network = Net()

    def make() -> Any:
        return kind(network) if kind is Owned else kind(network, [Tap("body")])

    with pytest.raises(AssertionError, match=complaint):
        check_teacher(make, batch(), lambda: [network])
