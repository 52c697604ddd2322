import pytest
import torch

from kd_lab.losses.fsp import FSP
from kd_lab.types import Outputs
from tests.contracts.loss_cases import Case, Shapes
from tests.losses.common.gradients import gradients_are_those_of_differences
from tests.reference.losses.fsp import reference

__all__ = ["reference"]

STAGES: Shapes = (((4, 8, 8), (6, 4, 4), (8, 2, 2)), ((4, 8, 8), (6, 4, 4), (8, 2, 2)))
SHAPES: list[Shapes] = [
    STAGES,
    (((3, 5, 7), (2, 5, 7)), ((3, 5, 7), (2, 5, 7))),
    (((3, 7, 4), (2, 3, 5)), ((3, 6, 6), (2, 2, 2))),  # each axis pooled by itself; other resolutions of the teacher
    (((3, 2, 2), (2, 4, 4)), ((3, 2, 2), (2, 4, 4))),  # the later map is the larger one
    (((3, 9), (4, 5)), ((3, 8), (4, 8))),  # sequences
]
SETTINGS = [{"stage_epochs": 0}]
SMALL: Shapes = SHAPES[1]


def test_fsp__hand_computed() -> None:
    """One sample, two positions, f_1 = [(1, 3)], f_2 = [(2, 4), (0, 2)]: G = [(1*2 + 3*4)/2, (0 + 3*2)/2] = [7, 3].

    Against a teacher of zeros: (7^2 + 3^2) / 2 = 29.
    """
    case = Case.of("fsp", (((1, 2), (2, 2)), ((1, 2), (2, 2))))
    own = (torch.tensor([[[1.0, 3.0]]]).double(), torch.tensor([[[2.0, 4.0], [0.0, 2.0]]]).double())
    student = Outputs(case.student.logits[:1], own)
    teacher = Outputs(case.teacher.logits[:1], tuple(torch.zeros_like(f) for f in own))

    assert case.value(student=student, teacher=teacher).item() == pytest.approx(29.0, rel=1e-12)


def test_fsp__does_not_know_where() -> None:
    """The same change of places in both maps of one network changes nothing; in one of them it does."""
    case = Case.of("fsp", SMALL)
    first, second = case.student.features

    def turned(*features: torch.Tensor) -> torch.Tensor:
        return case.value(student=Outputs(case.student.logits, features))

    torch.testing.assert_close(turned(first.flip(3), second.flip(3)), case.value(), rtol=1e-12, atol=0)
    assert not torch.isclose(turned(first.flip(3), second), case.value(), rtol=1e-3)


def test_fsp__the_larger_map_is_averaged() -> None:
    shapes: Shapes = (((3, 4, 4), (2, 2, 2)), ((3, 4, 4), (2, 2, 2)))
    case = Case.of("fsp", shapes)
    small: Shapes = (((3, 2, 2), (2, 2, 2)), ((3, 2, 2), (2, 2, 2)))
    pooled = Case.of("fsp", small)
    averaged = [
        Outputs(o.logits, (torch.nn.functional.avg_pool2d(o.features[0], 2), o.features[1]))
        for o in (case.student, case.teacher)
    ]

    value = pooled.value(student=averaged[0], teacher=averaged[1])

    torch.testing.assert_close(case.value(), value, rtol=1e-12, atol=0)


def test_fsp__adds_the_neighbours() -> None:
    three = Case.of("fsp", STAGES)
    parts = []
    for i in (0, 1):
        two = Case.of("fsp", (STAGES[0][i : i + 2], STAGES[1][i : i + 2]))
        own, theirs = (Outputs(o.logits, o.features[i : i + 2]) for o in (three.student, three.teacher))
        parts.append(two.value(student=own, teacher=theirs))

    torch.testing.assert_close(three.value(), parts[0] + parts[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("shapes", [SHAPES[2], SHAPES[4]])
def test_fsp__gradients_are_those_of_differences(shapes: Shapes) -> None:
    gradients_are_those_of_differences(Case.of("fsp", shapes, rows=2))


def test_fsp__first_stage_trains_the_student_and_leaves_no_term() -> None:
    loss = FSP(student_shapes=SMALL[0], teacher_shapes=SMALL[1], stage_epochs=7)

    stage = loss.first_stage()

    assert stage is not None
    assert (stage.loss, stage.epochs, stage.trains_student, stage.only) == (loss, 7, True, True)


def test_fsp__no_first_stage_where_it_takes_no_epoch() -> None:
    assert FSP(student_shapes=SMALL[0], teacher_shapes=SMALL[1], stage_epochs=0).first_stage() is None


def test_fsp__stage_epochs_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `stage_epochs` to be a whole number >= 0, but got -1"):
        FSP(student_shapes=SMALL[0], teacher_shapes=SMALL[1], stage_epochs=-1)


def test_fsp__one_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected at least two layers of each network, .* but got 1\."):
        FSP(student_shapes=((3, 4, 4),), teacher_shapes=((3, 4, 4),))


def test_fsp__other_channels_are_refused() -> None:
    expected = r"as many channels as the teacher's, but got \[5, 2, 2\] and \[6, 2, 2\]\."
    with pytest.raises(ValueError, match=expected):
        FSP(student_shapes=((3, 4, 4), (5, 2, 2)), teacher_shapes=((3, 4, 4), (6, 2, 2)))


def test_fsp__vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        FSP(student_shapes=((3,), (4,)), teacher_shapes=((3,), (4,)))
