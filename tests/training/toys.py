"""A small problem and the real `fit` around it: what the tests of training and its callbacks share."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.job.devices import Devices
from kd_lab.job.fit import Fit, fit
from kd_lab.job.plan import Plan
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.kd import KD
from kd_lab.schedules.constant import constant
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.objective import Objective, Term
from kd_lab.training.recipe import Recipe
from kd_lab.types import UNLABELLED, Batch, Data, InMemory, Measurement, Outputs

CLASSES, FEATURES = 3, 6
ONE_PROCESS = Devices("cpu", 1, "auto")


def toy_data(labelled: int = 24, unlabelled: int = 0, validation: int = 0, augment: Any = None) -> Data:
    """Three Gaussian classes in six dimensions, well apart; labelled rows first, then unlabelled, then validation."""
    count = labelled + unlabelled + validation
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(CLASSES, FEATURES, generator=generator)
    true = torch.arange(count) % CLASSES
    inputs = centres[true] + torch.randn(count, FEATURES, generator=generator)
    targets = true.clone()
    targets[labelled : labelled + unlabelled] = UNLABELLED
    rows = torch.arange(count)
    train, transfer, held_out = rows[:labelled], rows[: labelled + unlabelled], rows[labelled + unlabelled :]
    return Data("toy", InMemory(inputs), targets, train, transfer, held_out, rows[:0], CLASSES, "", augment)


class Lines:
    """A sink that keeps what it is given; with a path it also survives the process that it was given it in."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._kept: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self.path is None:
            self._kept.append((step, dict(values)))
            return
        with self.path.open("a") as file:
            file.write(json.dumps([step, dict(values)]) + "\n")

    def flush(self) -> None:
        """Nothing waits."""

    @property
    def points(self) -> list[tuple[int, dict[str, float]]]:
        if self.path is None:
            return self._kept
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(step, values) for step, values in map(json.loads, lines)]

    def curve(self, key: str) -> dict[int, float]:
        found = [(step, values[key]) for step, values in self.points if key in values]
        assert len(dict(found)) == len(found), f"{key}: a step was logged twice"
        return dict(found)

    def all_finite(self) -> bool:
        return all(math.isfinite(v) for _, values in self.points for v in values.values())


class Linear(nn.Module):
    """One linear layer: its gradient is known in closed form."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


class Noisy(nn.Module):
    """BatchNorm and dropout: what a network in the wrong mode gives itself away by."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


class Plain(nn.Module):
    """Two layers, nothing random, no BatchNorm."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Projected(Loss):
    """A loss with something of its own to train."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.projector = nn.Linear(CLASSES, CLASSES)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (self.projector(student.logits) - teacher.logits).square().mean()


class BadAt(Loss):
    """A loss that is 1, but `value` at one step, counted from 1."""

    def __init__(self, step: int, value: float = math.nan) -> None:
        super().__init__()
        self.step, self.value, self.calls = step, value, 0

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        self.calls += 1
        factor = self.value if self.calls == self.step else 1.0
        return 0 * student.logits.sum() + factor


class Spy:
    """Makes an optimizer that writes down, before each step, the rates and the gradients."""

    def __init__(self, kind: type[torch.optim.Optimizer] = torch.optim.SGD, **settings: Any) -> None:
        self.rates: list[list[float]] = []
        self.gradient_norms: list[float] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self._kind, self._settings = kind, settings or {"lr": 0.1}

    def __call__(self, parameters: Any) -> torch.optim.Optimizer:
        self.optimizer = self._kind(parameters, **self._settings)
        self.optimizer.register_step_pre_hook(self._note)
        return self.optimizer

    def _note(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        self.gradient_norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())

    @property
    def steps(self) -> int:
        return len(self.rates)

    @property
    def parameters(self) -> list[Tensor]:
        assert self.optimizer is not None
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def toy_recipe(optimizer: Callable[..., Any] | None = None, **changes: Any) -> Recipe:
    settings = {"schedule": constant, "steps": 6, "batch_size": 8} | changes
    return Recipe(optimizer=optimizer or functools.partial(torch.optim.SGD, lr=0.1), **settings)


def hard() -> Objective:
    return Objective({}, 1.0)


def kd(weight: float = 0.9, hard_weight: float = 0.1, temperature: float = 2.0) -> Objective:
    return Objective({"kd": Term(KD(temperature=temperature), weight)}, hard_weight)


def train(
    network: nn.Module,
    *,
    data: Data | None = None,
    objective: Objective | None = None,
    recipe: Recipe | None = None,
    teacher: nn.Module | None = None,
    sink: Any = None,
    every: int = 1,
    seed: int = 0,
    devices: Devices = ONE_PROCESS,
    callbacks: dict[str, Any] | None = None,
    **more: Any,
) -> Measurement:
    """The `fit` of a real job, on every row that has a place in the transfer part."""
    data = data if data is not None else toy_data()
    settings: Any = SimpleNamespace(
        tracking=SimpleNamespace(every_n_steps=every), trainer=SimpleNamespace(workers=0), callbacks=callbacks or {}
    )
    job = Fit(
        label="toy",
        network=network,
        objective=objective if objective is not None else (kd() if teacher is not None else hard()),
        recipe=recipe if recipe is not None else toy_recipe(),
        rows=data.transfer,
        seed=seed,
        teachers=() if teacher is None else (FrozenTeacher(teacher),),
        **more,
    )
    return fit(Plan(settings, devices, data), job, sink if sink is not None else Lines())


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
