"""Every step keeps the contract; it catches steps that do not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.distiller import Distiller
from kd_lab.training.objective import Objective, Term
from kd_lab.types import Batch, LossTerms, Outputs
from tests.contracts.steps import check_step


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batch() -> Batch:
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    return Batch(inputs, torch.arange(5) % 3, torch.arange(5))


class Projected(Loss):
    """A loss with something of its own to train."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.projector = nn.Linear(3, 3)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (self.projector(student.logits) - teacher.logits).square().mean()


class Hidden(Projected):
    """Wrong: what it trains is in a tuple, out of sight of the optimizer and the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = (self.projector,)
        del self.projector

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (self._kept[0](student.logits) - teacher.logits).square().mean()


class Idle(Projected):
    """Wrong: its projector is in the optimizer and gets no gradient."""

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().mean()


class Hasty(Distiller):
    """Wrong: it takes the optimizer's part."""

    def forward(self, batch: Batch) -> LossTerms:
        terms = super().forward(batch)
        with torch.no_grad():
            next(self.network.parameters()).sub_(0.1)
        return terms


def distiller(loss: Loss, kind: type[Distiller] = Distiller) -> Any:
    terms = {"kd": Term(KD()), "own": Term(loss, schedules={})}
    return kind(network(0), Objective(terms, 0.1), teacher=FrozenTeacher(network(1)))


def test_distiller__keeps_the_contract() -> None:
    check_step(lambda: distiller(Projected()), batch())


def test_distiller__on_hard_labels_alone__keeps_the_contract() -> None:
    check_step(lambda: Distiller(network(0), Objective({}, 1.0)), batch())


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: distiller(Hidden()), "trains something that is not among its parameters"),
        (lambda: distiller(Idle()), "a parameter of its gets no gradient"),
        (lambda: distiller(Projected(), Hasty), "moves weights by itself"),
    ],
    ids=["forgets a parameter", "idle parameter", "hasty"],
)
def test_contract__catches_a_wrong_step(make: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_step(make, batch())
