"""Every loss beside its own naive version in NumPy: value and gradients, by all that the student says and every
trainable part, to 1e-6 relative in float64.

The gradients are compared along a random direction: a dense vector finds any entry that is wrong.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kd_lab.types import UNLABELLED
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import (
    NAMES,
    Case,
    batch,
    default_settings,
    file_of_tests,
    kind,
    mapped,
    reference_of,
    shapes_of,
)

SIZES = [(7, 2), (64, 10), (2, 100), (7, 200)]
TEMPERATURES = (0.5, 1.0, 4.0, 20.0)


def own_suite(name: str) -> bool:
    """Whether the loss's test file compares it itself, because it draws at random or remembers."""
    return bool(getattr(file_of_tests(name), "COMPARED_HERE", False))


COMPARED = [name for name in NAMES if not own_suite(name)]
OF_LOGITS = [name for name in COMPARED if kind(name).layers is None]
OF_LAYERS = [name for name in COMPARED if kind(name).layers is not None]


@pytest.mark.parametrize("name", NAMES)
def test_reference__is_there_and_independent(name: str) -> None:
    """It says what it is taken from and imports nothing of kd_lab."""
    reference = reference_of(name)

    module = sys.modules[reference.__module__]
    if reference.__module__.startswith("tests.reference"):
        assert not [v for v in vars(module).values() if getattr(v, "__module__", "").startswith(("kd_lab", "torch"))]


@pytest.mark.parametrize(("rows", "classes"), SIZES)
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

    @settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
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
