"""Builds every loss of conf/loss as the composition root does, on outputs of any size.

The test file of a loss may say what else it is to be tried on, with names that the suites look up: SHAPES: pairs
(student_shapes, teacher_shapes), the first of which the contract tests use. SETTINGS: further settings that its
reference is compared at. REFUSED: pairs (arguments, what is said to them). reference: its independent version, where
that is not in tests/reference/losses (see tests/reference/arrays.py).
"""

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.outputs import mapped
from kd_lab.types import UNLABELLED, Batch, Outputs, Shape
from tests.contracts.plugins import arguments, settings, target, with_target

Shapes = tuple[tuple[Shape, ...], tuple[Shape, ...]]

NAMES = with_target("loss")
BATCH, CLASSES, SAMPLES = 8, 7, 40

MAP: Shapes = (((5, 6, 6),), ((7, 6, 6),))
VECTOR: Shapes = (((5,),), ((7,),))
STAGES: Shapes = (((4, 8, 8), (6, 4, 4), (8, 2, 2)), ((6, 8, 8), (8, 4, 4), (10, 2, 2)))


@cache
def kind(name: str) -> type[Loss]:
    found = target(settings("loss", name))
    assert isinstance(found, type)
    assert issubclass(found, Loss)
    return found


def file_of_tests(name: str) -> ModuleType:
    return importlib.import_module(f"tests.losses.test_{name}")


def reference_of(name: str) -> Callable[..., Any]:
    """Its independent version: `reference` of its test file, or of tests/reference/losses/NAME.py."""
    here = file_of_tests(name)
    module = here if hasattr(here, "reference") else importlib.import_module(f"tests.reference.losses.{name}")
    found: Callable[..., Any] = module.reference
    return found


def shapes_of(name: str) -> list[Shapes]:
    """What the loss is tried on: what its own test file says, or what its declaration asks for."""
    layers = kind(name).layers
    if layers is None:
        return [((), ())]
    own: list[Shapes] = getattr(file_of_tests(name), "SHAPES", [])
    return own or [{"embedding": VECTOR, "stages": STAGES}.get(layers, MAP)]


def default_settings(name: str) -> dict[str, Any]:
    """The loss's arguments in its YAML; what describes an object (an augmentation) is left out."""
    content = arguments("loss", settings("loss", name))
    return {k: v for k, v in content.items() if not isinstance(v, dict)}


def facts(name: str, shapes: Shapes, classes: int = CLASSES) -> dict[str, Any]:
    """What the loss's constructor wants to know of two networks, as the composition root would tell it; seeded."""
    own, theirs = shapes
    generator = torch.Generator().manual_seed(5)
    targets = torch.arange(SAMPLES) % classes
    targets[::7] = UNLABELLED
    given: dict[str, Any] = {
        "student_shapes": own,
        "teacher_shapes": theirs,
        "num_classes": classes,
        "num_samples": SAMPLES,
        "targets": targets,
        "strong": as_it_is,
        "student_heads": 2,
        "teacher_heads": 2,
    }
    wanted = inspect.signature(kind(name)).parameters
    seed(1)
    for head, shape in (("student_head", own), ("teacher_head", theirs)):
        if head in wanted:
            given[head] = nn.Linear(shape[0][0], classes).double()
    if "teacher_norms" in wanted:
        given["teacher_norms"] = tuple(norm(shape[0], generator) for shape in theirs)
    return {k: v for k, v in given.items() if k in wanted}


def make(name: str, shapes: Shapes | None = None, *, classes: int = CLASSES, **changes: Any) -> Loss:
    """The loss with its YAML's settings and what it wants to know of two networks; seeded, in float64."""
    return built(name, facts(name, shapes if shapes is not None else shapes_of(name)[0], classes), **changes)


def built(name: str, given: Mapping[str, Any], **changes: Any) -> Loss:
    seed(0)
    return kind(name)(**{**default_settings(name), **given, **changes}).double()


def modules_told(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """The numbers of the modules in `facts`: `teacher_head.weight`, `teacher_norms.0.bias`."""
    found: dict[str, Tensor] = {}
    for key, value in given.items():
        if isinstance(value, nn.Module):
            found |= {f"{key}.{n}": t for n, t in value.state_dict().items()}
        elif key == "teacher_norms":
            found |= {f"{key}.{i}.{n}": t for i, m in enumerate(value) for n, t in m.state_dict().items()}
    return found


def same_draws(loss: Loss) -> Loss:
    """The loss, about to draw what it would have drawn the last time that this was asked for."""
    seed(1)
    return loss


def seed(number: int) -> None:
    """As `torch.manual_seed`, which without CUDA keeps the stack of every caller: 2 ms."""
    (torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed)(number)


def norm(channels: int, generator: torch.Generator) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        made.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        made.bias.copy_(torch.randn(channels, generator=generator))
    return made


def noise(*shape: int, seed: int, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(dtype)


def as_it_is(inputs: Tensor, _seeds: Tensor) -> Tensor:
    """A view that is no other."""
    return inputs


@cache
def count_views(name: str) -> int:
    """How many views beside the plain one a loss wants."""
    return len(make(name).views())


def outputs(name: str, shapes: tuple[Shape, ...], seed: int, rows: int = BATCH, classes: int = CLASSES) -> Outputs:
    """Random outputs of one network."""
    views = tuple(noise(rows, classes, seed=seed + 50 + i) for i in range(count_views(name)))
    features = tuple(noise(rows, *shape, seed=seed + 10 + i, scale=1.0) for i, shape in enumerate(shapes))
    return Outputs(noise(rows, classes, seed=seed), features, views)


def batch(rows: int = BATCH, targets: Tensor | None = None, classes: int = CLASSES) -> Batch:
    targets = torch.arange(rows) % classes if targets is None else targets
    return Batch(inputs=torch.zeros(rows, 3), targets=targets, index=torch.arange(rows) % SAMPLES)


@dataclass
class Case:
    """A loss with outputs of both networks and a batch."""

    name: str
    loss: Loss
    student: Outputs
    teacher: Outputs
    batch: Batch
    told: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, shapes: Shapes | None = None, *, rows: int = BATCH, equal: bool = False, **more: Any
    ) -> "Case":
        """equal: both networks say the same (and the student's layers are as the teacher's)."""
        own, theirs = shapes if shapes is not None else shapes_of(name)[0]
        if equal:
            own = theirs
        classes = more.get("classes", CLASSES)
        teacher = outputs(name, theirs, 1, rows, classes)
        student = copy.deepcopy(teacher) if equal else outputs(name, own, 0, rows, classes)
        given = facts(name, (own, theirs), classes)
        loss = built(name, given, **{k: v for k, v in more.items() if k != "classes"})
        return cls(name, loss, student, teacher, batch(rows, classes=classes), modules_told(given))

    def value(self, **changes: Any) -> Tensor:
        """Of a fresh copy, so that a memory is as it was; what is drawn at random is the same each time."""
        seen: Mapping[str, Any] = {"student": self.student, "teacher": self.teacher, "batch": self.batch} | changes
        result = same_draws(copy.deepcopy(self.loss))(seen["student"], seen["teacher"], seen["batch"])
        assert isinstance(result, Tensor)
        return result

    def value_and_gradients(self, **changes: Any) -> tuple[Tensor, list[Tensor]]:
        """The gradients by all that the student says: logits, features, logits of its views."""
        student = leaves(changes.pop("student", self.student))
        result = self.value(student=student, **changes)
        found = torch.autograd.grad(result, tensors(student), allow_unused=True)
        return result.detach(), [
            torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors(student), strict=True)
        ]


def tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs.logits, *outputs.features, *outputs.views]


def leaves(outputs: Outputs) -> Outputs:
    return mapped(outputs, lambda t: t.detach().clone().requires_grad_())


def every(case: Case, change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """All tensors of the case, changed."""
    own, theirs = mapped(case.student, change), mapped(case.teacher, change)
    return {"student": own, "teacher": theirs, "batch": Batch(*map(change, case.batch[:3]))}


def is_finite(case: Case, **changes: object) -> list[Tensor]:
    """Value and gradients are; the gradients."""
    value, gradients = case.value_and_gradients(**changes)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)
    return gradients
