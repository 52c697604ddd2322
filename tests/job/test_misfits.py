"""A teacher that came trained, on otherwise scaled inputs or other labels: told; one that fits: nothing."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab.datasets.common.pictures import IMAGENET_DEVIATION, IMAGENET_MEAN, normalised
from kd_lab.datasets.common.splits import Parts, assemble
from kd_lab.job.misfits import misfits
from kd_lab.types import Data

CLASSES = 6


def data(count: int = 600, classes: int = CLASSES, validation: bool = True) -> Data:
    """Pictures in uint8, as bright as their class; prepared as ImageNet's are."""
    targets = torch.arange(count) % classes
    noise = torch.randint(0, 8, (count, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    images = (targets[:, None, None, None] * (240 // classes) + 4 + noise).to(torch.uint8)
    rows = torch.arange(count)
    own, held_out = rows.tensor_split(2)
    parts = Parts(own, own, held_out if validation else rows[:0], rows[:6])
    prepare = normalised(IMAGENET_MEAN, IMAGENET_DEVIATION)
    return assemble("x", images, targets, parts, num_classes=classes, augment=None, prepare=prepare)


class Bright(nn.Module):
    """Says how bright a picture is, from inputs that were scaled as `unit` takes them back to 0..1."""

    def __init__(self, unit: Any, classes: int = CLASSES, order: list[int] | None = None) -> None:
        super().__init__()
        self.unit, self.classes, self.order = unit, classes, order

    def forward(self, inputs: Tensor) -> Tensor:
        level = self.unit(inputs).mean((1, 2, 3)) * 255 / (240 // self.classes)
        logits = -((level - 0.2)[:, None] - torch.arange(self.classes)).abs()
        return logits if self.order is None else logits[:, self.order]


def of_imagenet(inputs: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(one).reshape(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return inputs * deviation + mean


def told(teacher: nn.Module, of: Data, source: str = "teacher.pt") -> list[str]:
    spec = SimpleNamespace(source=source, recipe=SimpleNamespace(precision="32"))
    plan: Any = SimpleNamespace(
        data=of, specs=SimpleNamespace(teacher=spec), devices=SimpleNamespace(main=torch.device("cpu"))
    )
    return misfits(plan, teacher)


def test_misfits__a_teacher_that_fits__nothing() -> None:
    assert told(Bright(of_imagenet), data()) == []


@pytest.mark.parametrize(
    ("unit", "called"),
    [
        (lambda one: one, "values from 0 to 1"),
        (lambda one: (one + 1) / 2, "values from -1 to 1"),
        (lambda one: one / 255, "values from 0 to 255"),
    ],
)
def test_misfits__another_normalisation(unit: Any, called: str) -> None:
    (said,) = told(Bright(unit), data())
    assert said.startswith("The teacher looks as if trained on another normalisation: ")
    assert " of 256 validation samples are right as the dataset prepares them, and 100.00% with " in said
    assert said.endswith(f"100.00% with {called}.")


def test_misfits__imagenets_normalisation_where_the_dataset_has_none() -> None:
    plain = data()
    images = plain.read(torch.arange(600)).float() / 255
    parts = Parts(plain.train, plain.transfer, plain.validation, plain.test)
    of = assemble("x", images, plain.targets, parts, num_classes=CLASSES, augment=None)
    (said,) = told(Bright(of_imagenet), of)
    assert said.endswith("100.00% with ImageNet's mean and deviation.")
    assert told(Bright(lambda one: one), of) == []


def test_misfits__another_label_order() -> None:
    (said,) = told(Bright(of_imagenet, order=[1, 2, 0, 3, 4, 5]), data())
    assert re.fullmatch(
        r"The teacher looks as if trained on another label order: (4|5)\d\.\d\d% of 300 validation samples are right, "
        r"and 100\.00% with its classes renumbered \(its class 0 is 1 here, and 2 others\)\.",
        said,
    )


def test_misfits__without_a_validation_part_training_points_show_it() -> None:
    (said,) = told(Bright(of_imagenet, order=[5, 4, 3, 2, 1, 0]), data(validation=False))
    assert " of 300 training samples are right, and 100.00%" in said


def test_misfits__many_classes_and_a_teacher_that_guesses__no_label_order() -> None:
    """The best of so many orders would fit the samples that it was chosen on."""

    class Guesses(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.rand(len(inputs), 60, generator=torch.Generator().manual_seed(int(inputs.sum().abs() * 1e3)))

    assert told(Guesses(), data(600, 60)) == []


def test_misfits__a_weak_teacher_is_no_misfit() -> None:
    """Three of its six classes are one to it: no order is much better."""

    class Weak(Bright):
        def forward(self, inputs: Tensor) -> Tensor:
            logits = super().forward(inputs)
            return torch.cat(
                [logits[:, :3], logits[:, 3:].amax(1, keepdim=True), torch.full((len(inputs), 2), -99.0)], 1
            )

    assert told(Weak(of_imagenet), data()) == []


@pytest.mark.parametrize("of", [data(60), replace(data(), validation=torch.arange(20))], ids=["few", "few held out"])
def test_misfits__too_few_samples_show_nothing(of: Data) -> None:
    assert told(Bright(of_imagenet, order=[5, 4, 3, 2, 1, 0]), of) == []


def test_misfits__trained_here__not_asked() -> None:
    assert told(nn.Identity(), data(), source="") == []


def test_misfits__no_images__labels_alone() -> None:
    rows = torch.arange(300)
    inputs = torch.nn.functional.one_hot(rows % 6).float() * 9
    of = assemble("x", inputs, rows % 6, Parts(rows, rows, rows, rows), num_classes=6, augment=None)
    assert told(nn.Identity(), of) == []
    turned = nn.Linear(6, 6, bias=False)
    turned.weight.data = torch.eye(6).roll(1, 0)
    (said,) = told(turned, of)
    assert "another label order: 0.00% of 300 validation samples are right, and 100.00% with" in said
    assert "its class 0 is 5 here, and 5 others" in said
