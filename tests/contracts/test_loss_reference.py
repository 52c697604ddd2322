"""Every loss beside its own naive version in NumPy: value and gradients, by all that the student says and every
trainable part, to 1e-6 relative in float64.

The naive version is `reference` of the loss's test file (most live in tests/reference/losses). The gradients are
compared along random directions: two dense vectors find any entry that is wrong.
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.types import UNLABELLED, Outputs
from tests.contracts.loss_cases import (
    NAMES,
    Case,
    batch,
    default_settings,
    file_of_tests,
    kind,
    leaves,
    mapped,
    shapes_of,
    tensors,
)
from tests.reference import arrays

GRID = [(b, k) for k in (2, 10, 100, 1000) for b in (2, 7, 64)]
TEMPERATURES = (0.5, 1.0, 4.0, 20.0)
RELATIVE = 1e-6


def own_suite(name: str) -> bool:
    """Whether the loss's test file compares it itself, because it draws at random or remembers."""
    return bool(getattr(file_of_tests(name), "COMPARED_HERE", False))


COMPARED = [name for name in NAMES if not own_suite(name)]
OF_LOGITS = [name for name in COMPARED if kind(name).layers is None]
OF_LAYERS = [name for name in COMPARED if kind(name).layers is not None]


@pytest.mark.parametrize("name", NAMES)
def test_reference__is_there_and_independent(name: str) -> None:
    """It says what it is taken from and imports nothing of kd_lab."""
    reference = getattr(file_of_tests(name), "reference", None)

    assert callable(reference), f"tests/losses/test_{name}.py: define or import `reference`, a naive version in NumPy."
    module = sys.modules[reference.__module__]
    if reference.__module__.startswith("tests.reference"):
        assert not [v for v in vars(module).values() if getattr(v, "__module__", "").startswith(("kd_lab", "torch"))]


@pytest.mark.parametrize(("rows", "classes"), GRID)
@pytest.mark.parametrize("name", OF_LOGITS)
def test_logits__value_and_gradients_are_the_references(name: str, rows: int, classes: int) -> None:
    agree(Case.of(name, rows=rows, classes=classes, **fitting(name, classes)))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", [n for n in OF_LOGITS if "temperature" in default_settings(n)])
def test_temperature__value_and_gradients_are_the_references(name: str, temperature: float) -> None:
    agree(Case.of(name, rows=7, classes=10, temperature=temperature))


@pytest.mark.parametrize("rows", [2, 7])
@pytest.mark.parametrize(("name", "number"), [(n, i) for n in OF_LAYERS for i in range(len(shapes_of(n)))])
def test_layers__value_and_gradients_are_the_references(name: str, number: int, rows: int) -> None:
    agree(Case.of(name, shapes_of(name)[number], rows=rows))


@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n in COMPARED for i in range(len(getattr(file_of_tests(n), "SETTINGS", [])))]
)
def test_settings__value_and_gradients_are_the_references(name: str, number: int) -> None:
    agree(Case.of(name, rows=5, **file_of_tests(name).SETTINGS[number]))


@pytest.mark.parametrize("name", COMPARED)
def test_unlabelled__value_and_gradients_are_the_references(name: str) -> None:
    case = Case.of(name, rows=6)
    targets = torch.tensor([0, UNLABELLED, 2, UNLABELLED, 1, UNLABELLED])

    agree(dataclasses.replace(case, batch=batch(6, targets)))


@pytest.mark.parametrize("name", COMPARED)
def test_anything__value_and_gradients_are_the_references(name: str) -> None:
    """Sizes, scales and temperatures that nobody chose."""

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(
        rows=st.integers(2, 9),
        classes=st.integers(2, 12),
        scale=st.floats(0.05, 4.0),
        seed=st.integers(0, 10_000),
        temperature=st.floats(0.3, 30.0),
    )
    def check(rows: int, classes: int, scale: float, seed: int, temperature: float) -> None:
        changes = {"temperature": temperature} if "temperature" in default_settings(name) else {}
        case = Case.of(name, rows=rows, classes=classes, **fitting(name, classes), **changes)
        generator = torch.Generator().manual_seed(seed)
        case.student, case.teacher = (
            mapped(o, lambda t: scale * torch.randn(t.shape, dtype=t.dtype, generator=generator))
            for o in (case.student, case.teacher)
        )
        agree(case)

    check()


def fitting(name: str, classes: int) -> dict[str, Any]:
    """Settings that only so many classes allow."""
    change: Callable[[int], dict[str, Any]] | None = getattr(file_of_tests(name), "settings_for", None)
    return change(classes) if change is not None else {}


# The comparison.


def agree(case: Case) -> None:
    student, parts = leaves(case.student), trained(case.loss)
    told = {**case.told, **case.loss.state_dict()}
    state = {k: v.detach().numpy().copy() for k, v in told.items()}  # as it was before the call
    value = case.loss(student, case.teacher, case.batch)
    inputs = [*tensors(student), *parts.values()]
    gradients = [g.numpy() for g in torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)]
    compare = Comparison(case, state)

    assert value.item() == pytest.approx(compare.value(), rel=RELATIVE, abs=1e-12), case.name
    own = [t.detach().numpy() for t in tensors(student)]
    for place, gradient in enumerate(gradients[: len(own)]):
        compare.gradient(gradient, own[place], lambda at, place=place: compare.student_at(own, place, at))
    for name, gradient in zip(parts, gradients[len(own) :], strict=True):
        compare.gradient(gradient, state[name], lambda at, name=name: compare.part_at(name, at))


def trained(loss: Loss) -> dict[str, Tensor]:
    return {name: p for name, p in loss.named_parameters() if p.requires_grad}


class Comparison:
    """The reference with one loss's outputs, state and settings."""

    def __init__(self, case: Case, state: dict[str, Any]) -> None:
        self.case, self.state = case, state
        self.reference: Callable[..., Any] = file_of_tests(case.name).reference
        self.central = getattr(importlib.import_module(self.reference.__module__), "DERIVATIVE", "complex") == "central"
        self.settings = {k: getattr(case.loss, k, v) for k, v in default_settings(case.name).items()}
        self.generator = np.random.default_rng(0)

    def call(self, student: arrays.Outputs, state: dict[str, Any]) -> Any:
        seen = self.case.batch
        targets, index = seen.targets.numpy(), seen.index.numpy()
        return self.reference(student, numpy_of(self.case.teacher), targets, index, state, **self.settings)

    def value(self) -> float:
        return float(np.real(self.call(numpy_of(self.case.student), self.state)))

    def student_at(self, own: list[Any], place: int, at: Any) -> Any:
        changed = [at if i == place else array for i, array in enumerate(own)]
        count = 1 + len(self.case.student.features)
        strong = changed[count] if len(changed) > count else None
        return self.call(arrays.Outputs(changed[0], tuple(changed[1:count]), strong), self.state)

    def part_at(self, name: str, at: Any) -> Any:
        return self.call(numpy_of(self.case.student), {**self.state, name: at})

    def gradient(self, gradient: Any, at: Any, function: Callable[[Any], Any]) -> None:
        # Steps in proportion to the point: what has no complex step is a choice (of a sign, of the best) that may flip.
        step = 1e-5 * float(np.sqrt(np.mean(np.square(at)))) or 1e-5
        central = partial(arrays.central_difference, step=step)
        slope = central if self.central else arrays.directional_derivative
        size = float(np.sqrt(np.sum(gradient**2)))
        for _ in range(2):
            direction = self.generator.standard_normal(at.shape)
            expected = slope(function, np.asarray(at, dtype=np.float64), direction)
            tolerance = (1e-4 if self.central else RELATIVE) * size + 1e-12
            assert float(np.sum(gradient * direction)) == pytest.approx(expected, rel=RELATIVE, abs=tolerance)


def numpy_of(outputs: Outputs) -> arrays.Outputs:
    strong = None if outputs.strong_logits is None else outputs.strong_logits.detach().numpy()
    return arrays.Outputs(outputs.logits.detach().numpy(), tuple(f.detach().numpy() for f in outputs.features), strong)
