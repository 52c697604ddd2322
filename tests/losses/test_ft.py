import copy
import dataclasses

import pytest
import torch

from kd_lab.losses.ft import FT, Paraphraser, Reconstruction
from kd_lab.types import Outputs
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import MAP, Case, Shapes
from tests.losses.common.gradients import gradients_are_those_of_differences
from tests.reference.losses.ft import reconstruction, reference

__all__ = ["reference"]

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


def test_ft__compares_directions_of_factors() -> None:
    """A translator that says c times the teacher's factors, c > 0, is as good as one that says them themselves."""
    case = Case.of("ft", (((4, 3, 3),), ((4, 3, 3),)))
    case.loss.translator.load_state_dict(case.loss.paraphraser.encoder.state_dict())
    same = Outputs(case.student.logits, case.teacher.features)

    assert case.value(student=same).item() == pytest.approx(0.0, abs=1e-15)
    with torch.no_grad():  # a leaky ReLU of c x is c times that of x
        for parameter in case.loss.translator[4].parameters():
            parameter.mul_(7.0)
    assert case.value(student=same).item() == pytest.approx(0.0, abs=1e-15)
    assert case.value().item() > 0.01


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
    """What `_first_stage` does: the stage's parts are trained and frozen; the loss meets the same paraphraser."""
    case = Case.of("ft", (((3, 4, 4),), ((6, 4, 4),)))
    before, stage = case.value(), case.loss.first_stage()
    assert (stage.epochs, stage.trains_student, stage.only) == (30, False, False)
    absent = Outputs(torch.zeros(len(case.teacher.logits), 0))

    stage.loss.requires_grad_(True)
    optimizer = torch.optim.Adam(stage.loss.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        value = stage.loss(absent, case.teacher, case.batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    stage.loss.requires_grad_(False)

    assert values[-1] < 0.8 * values[0]
    assert not any(p.requires_grad for p in case.loss.paraphraser.parameters())
    assert case.value() != before


def test_ft__reconstruction_is_the_mean_square_of_what_is_lost() -> None:
    case = Case.of("ft", (((3, 4, 4),), ((6, 4, 4),)))
    feature = case.teacher.features[0]
    restored = copy.deepcopy(case.loss.paraphraser)(feature)

    value = Reconstruction(case.loss.paraphraser)(case.student, case.teacher, case.batch)

    torch.testing.assert_close(value, ((restored - feature) ** 2).sum() / feature.numel(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("shapes", SHAPES)
def test_ft__value_and_gradients_of_the_first_stage_are_the_references(shapes: Shapes, rate: float) -> None:
    case = Case.of("ft", shapes, rows=4, rate=rate)
    stage = case.loss.first_stage()
    stage.loss.requires_grad_(True)

    agree(dataclasses.replace(case, loss=stage.loss), reference=reconstruction)


def test_ft__layers_of_the_paraphraser() -> None:
    """Narrowed by the second of three convolutions, widened by the second of the other three."""
    paraphraser = Paraphraser((6, 4, 4), 3)

    assert [tuple(p.shape[:2]) for n, p in paraphraser.named_parameters() if n.endswith("weight")] == [
        (6, 6),
        (3, 6),
        (3, 3),
        (3, 3),
        (6, 3),
        (6, 6),
    ]


def test_ft__leaky_relu_has_slope_a_tenth() -> None:
    layer = FT(student_shapes=((5, 4, 4),), teacher_shapes=((6, 4, 4),)).translator[1]

    torch.testing.assert_close(layer(torch.tensor([-2.0, 3.0])), torch.tensor([-0.2, 3.0]))


@pytest.mark.parametrize("shapes", [SHAPES[2], SHAPES[4]])
def test_ft__gradients_are_those_of_differences(shapes: Shapes) -> None:
    gradients_are_those_of_differences(Case.of("ft", shapes, rows=2))


@pytest.mark.parametrize("epochs", [0, -3, 1.5])
def test_ft__an_untrained_paraphraser_is_refused(epochs: float) -> None:
    with pytest.raises(ValueError, match=f"Expected `stage_epochs` to be a whole number >= 1, but got {epochs}"):
        FT(student_shapes=((5, 4, 4),), teacher_shapes=((6, 4, 4),), stage_epochs=epochs)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "message"), [(1.5, "from 0 to 1, but got 1.5"), (0.0, "> 0, but got 0.0")])
def test_ft__rate_out_of_range_is_refused(rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `rate` to be {message}"):
        FT(student_shapes=((5, 4, 4),), teacher_shapes=((6, 4, 4),), rate=rate)


def test_ft__vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        FT(student_shapes=((5,),), teacher_shapes=((6,),))


def test_ft__two_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        FT(student_shapes=((5, 4, 4),) * 2, teacher_shapes=((6, 4, 4),) * 2)
