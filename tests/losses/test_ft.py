import dataclasses

import pytest
import torch

from kd_lab.losses.ft import FT
from kd_lab.types import Outputs
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import MAP, Case, Shapes
from tests.reference.losses.ft import reconstruction

SHAPES: list[Shapes] = [
    MAP,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 6, 4),), ((4, 3, 2),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((3, 4),), ((5, 9),)),
]
SETTINGS = [{"rate": 0.1}, {"rate": 1.0}]
REFUSED = [
    ({"stage_epochs": 0}, r"Expected `stage_epochs` to be a whole number >= 1, but got 0"),
    ({"stage_epochs": 1.5}, r"Expected `stage_epochs` to be a whole number >= 1, but got 1\.5"),
    ({"rate": 1.5}, "Expected `rate` to be from 0 to 1, but got 1.5"),
    ({"rate": 0.0}, "Expected `rate` to be > 0, but got 0.0"),
    ({"shapes": (((4,),), ((4,),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((4, 4), (4, 4)), ((4, 4), (4, 4)))}, "Expected one layer of each network, but got 2"),
]


def test_ft__hand_computed() -> None:
    """Factors (3, 4) and (4, 3): |0.6 - 0.8| and |0.8 - 0.6|, the mean is 0.2."""
    case = Case.of("ft", (((1, 2),), ((2, 2),)))
    parts = (case.loss.translator, case.loss.paraphraser.encoder)
    with torch.no_grad():
        for part in parts:  # every layer hands on the first channel as it is
            for i in (0, 2, 4):
                part[i].weight.zero_()
                part[i].bias.zero_()
                part[i].weight[:, 0, 1] = 1.0
    student = Outputs(case.student.logits[:1], (torch.tensor([[[3.0, 4.0]]]).double(),))
    teacher = Outputs(case.teacher.logits[:1], (torch.tensor([[[4.0, 3.0], [9.0, 9.0]]]).double(),))

    assert case.value(student=student, teacher=teacher).item() == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize(("rate", "factors"), [(0.5, 3), (0.1, 1), (1.0, 6)])
def test_ft__rate_says_how_many_factors(rate: float, factors: int) -> None:
    loss = FT(student_shapes=((5, 4, 4),), teacher_shapes=((6, 4, 4),), rate=rate)

    assert loss.paraphraser.encoder(torch.zeros(2, 6, 4, 4)).shape == (2, factors, 4, 4)
    assert loss.translator(torch.zeros(2, 5, 4, 4)).shape == (2, factors, 4, 4)
    assert loss.paraphraser(torch.zeros(2, 6, 4, 4)).shape == (2, 6, 4, 4)


def test_ft__paraphraser_is_kept_but_not_trained_with_the_student() -> None:
    loss = FT(student_shapes=((5, 4, 4),), teacher_shapes=((6, 4, 4),))

    trained = {name.split(".")[0] for name, p in loss.named_parameters() if p.requires_grad}
    kept = {name.split(".")[0] for name in loss.state_dict()}
    assert trained == {"translator"}
    assert kept == {"translator", "paraphraser"}


def test_ft__a_paraphraser_that_could_be_trained_is_not() -> None:
    case = Case.of("ft")
    case.loss.requires_grad_(True)

    case.loss(case.student, case.teacher, case.batch).backward()

    assert all(p.grad is None for p in case.loss.paraphraser.parameters())


def test_ft__first_stage_trains_the_paraphraser_of_the_loss_on_the_teacher_alone() -> None:
    case = Case.of("ft")
    stage = case.loss.first_stage()
    absent = Outputs(torch.zeros(len(case.teacher.logits), 0))

    stage.loss.requires_grad_(True)(absent, case.teacher, case.batch).backward()

    assert (stage.epochs, stage.trains_student, stage.only) == (30, False, False)
    assert all(p.grad.abs().sum() > 0 for p in case.loss.paraphraser.parameters())
    assert len(list(stage.loss.parameters())) == len(list(case.loss.paraphraser.parameters()))


@pytest.mark.parametrize("shapes", SHAPES)
def test_ft__value_and_gradients_of_the_first_stage_are_the_references(shapes: Shapes) -> None:
    case = Case.of("ft", shapes, rows=4)
    stage = case.loss.first_stage()
    stage.loss.requires_grad_(True)

    agree(dataclasses.replace(case, loss=stage.loss), reference=reconstruction)
