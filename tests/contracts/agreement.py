"""Whether a loss and its naive version in NumPy agree: the value, and the derivative along a random direction."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Outputs
from tests.contracts.loss_cases import Case, default_settings, leaves, reference_of, tensors
from tests.reference import arrays

RELATIVE = 1e-6


def agree(
    case: Case, *, also: Mapping[str, Tensor] | None = None, reference: Callable[..., Any] | None = None, **more: Any
) -> None:
    """Raises AssertionError where value or gradients differ.

    Args:
        case: the loss and what it is given; it is called once.
        also: further parts that have a gradient, by their names in `state`.
        reference: the naive version, where it is not the loss's own.
        more: what the naive version is told beside the settings (what the loss drew).
    """
    student, parts = leaves(case.student), trained(case.loss) | dict(also or {})
    told = {**case.told, **case.loss.state_dict()}
    state = {k: v.detach().numpy().copy() for k, v in told.items()}  # as it was before the call
    value = case.loss(student, case.teacher, case.batch)
    inputs = [*tensors(student), *parts.values()]
    gradients = [g.numpy() for g in torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)]
    compare = Comparison(case, state, reference or reference_of(case.name), more)

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

    def __init__(
        self, case: Case, state: dict[str, Any], reference: Callable[..., Any], more: Mapping[str, Any]
    ) -> None:
        self.case, self.state, self.reference = case, state, reference
        self.central = getattr(importlib.import_module(self.reference.__module__), "DERIVATIVE", "complex") == "central"
        self.settings = {k: getattr(case.loss, k, v) for k, v in default_settings(case.name).items()} | dict(more)
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
        return self.call(arrays.Outputs(changed[0], tuple(changed[1:count]), tuple(changed[count:])), self.state)

    def part_at(self, name: str, at: Any) -> Any:
        return self.call(numpy_of(self.case.student), {**self.state, name: at})

    def gradient(self, gradient: Any, at: Any, function: Callable[[Any], Any]) -> None:
        # Steps in proportion to the point: what has no complex step is a choice (of a sign, of the best) that may flip.
        step = 1e-5 * float(np.sqrt(np.mean(np.square(at)))) or 1e-5
        central = partial(arrays.central_difference, step=step)
        slope = central if self.central else arrays.directional_derivative
        size = float(np.sqrt(np.sum(gradient**2)))
        direction = self.generator.standard_normal(at.shape)
        expected = slope(function, np.asarray(at, dtype=np.float64), direction)
        tolerance = (1e-4 if self.central else RELATIVE) * size + 1e-12
        assert float(np.sum(gradient * direction)) == pytest.approx(expected, rel=RELATIVE, abs=tolerance)


def numpy_of(outputs: Outputs) -> arrays.Outputs:
    features, views = (tuple(t.detach().numpy() for t in some) for some in (outputs.features, outputs.views))
    return arrays.Outputs(outputs.logits.detach().numpy(), features, views)
