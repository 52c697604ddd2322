import pytest
import torch

from kd_lab.losses.ab import AB
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES, Case
from tests.losses.common.gradients import gradients_are_those_of_differences
from tests.reference.losses.ab import reference

__all__ = ["reference"]

SAME = (((4, 3, 3),), ((4, 3, 3),))
SHAPES = [
    STAGES,
    SAME,  # without a connector
    (((3, 7, 5),), ((4, 3, 3),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((5,), (4,)), ((7,), (4,))),  # vectors
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((4, 2, 5),), ((4, 4, 5),)),  # other resolution alone: no connector
    (((3, 4),), ((5, 9),)),
]
SETTINGS = [{"margin": 0.3}, {"margin": 4.0, "stage_epochs": 0}]


def saying(case: Case, own: torch.Tensor, theirs: torch.Tensor) -> tuple[Outputs, Outputs]:
    return Outputs(case.student.logits[: len(own)], (own,)), Outputs(case.teacher.logits[: len(own)], (theirs,))


def test_ab__hand_computed() -> None:
    """margin 1, one sample: t > 0 asks for s >= 1, else s <= -1.

    t = (2, 2, -3, 0), s = (3, 0.5, 0.5, -2): (0, 0.5, 1.5, 0) are missing, 3/1000 (0.25 + 2.25) = 0.0075.
    """
    case = Case.of("ab", (((4,),), ((4,),)))
    own, theirs = torch.tensor([[3.0, 0.5, 0.5, -2.0]]).double(), torch.tensor([[2.0, 2.0, -3.0, 0.0]]).double()

    student, teacher = saying(case, own, theirs)

    assert case.value(student=student, teacher=teacher).item() == pytest.approx(0.0075, rel=1e-12)


def test_ab__is_the_published_pair_of_cases() -> None:
    """(s + m)^2 where s > -m and t <= 0; (s - m)^2 where s <= m and t > 0."""
    case = Case.of("ab", SAME, margin=0.7)
    s, t, m = case.student.features[0], case.teacher.features[0], 0.7
    below, above = (s > -m) & (t <= 0), (s <= m) & (t > 0)

    expected = 3 / 1000 * ((s + m) ** 2 * below + (s - m) ** 2 * above).sum() / len(s)

    torch.testing.assert_close(case.value(), expected, rtol=1e-12, atol=0)


def test_ab__sees_the_sign_of_the_teacher_alone() -> None:
    case = Case.of("ab", SAME)
    louder = Outputs(case.teacher.logits, (case.teacher.features[0] * 100,))

    torch.testing.assert_close(case.value(teacher=louder), case.value(), rtol=0, atol=0)
    assert case.value(teacher=Outputs(louder.logits, (-louder.features[0],))) != case.value()


def test_ab__is_zero_beyond_the_margin_on_the_teachers_side() -> None:
    case = Case.of("ab", SAME)
    far = Outputs(case.student.logits, (torch.where(case.teacher.features[0] > 0, 1.0, -1.0).double(),))

    value, gradients = case.value_and_gradients(student=far)

    assert value == 0
    assert gradients[1].abs().max() == 0


def test_ab__each_stage_counts_half_of_the_next() -> None:
    shape = (4, 3, 3)
    one = Case.of("ab", SAME)
    own, theirs = one.student.features[0], one.teacher.features[0]
    three = Case.of("ab", ((shape,) * 3, (shape,) * 3))

    value = three.value(
        student=Outputs(one.student.logits, (own,) * 3), teacher=Outputs(one.teacher.logits, (theirs,) * 3)
    )

    torch.testing.assert_close(value, one.value() * (0.25 + 0.5 + 1), rtol=1e-12, atol=0)


def test_ab__connectors_are_there_where_the_channels_differ() -> None:
    loss = AB(student_shapes=((4, 3, 3), (5, 2, 2)), teacher_shapes=((4, 3, 3), (6, 2, 2)))

    names = {name: tuple(p.shape) for name, p in loss.named_parameters()}
    assert names == {
        "connectors.1.0.weight": (6, 5, 1, 1),
        "connectors.1.1.weight": (6,),
        "connectors.1.1.bias": (6,),
    }


@pytest.mark.parametrize("shapes", [SHAPES[1], SHAPES[2], SHAPES[5]])
def test_ab__gradients_are_those_of_differences(shapes: tuple[tuple[tuple[int, ...], ...], ...]) -> None:
    gradients_are_those_of_differences(Case.of("ab", shapes, rows=3))  # type: ignore[arg-type]


def test_ab__first_stage_trains_the_student_and_leaves_no_term() -> None:
    loss = AB(student_shapes=((4,),), teacher_shapes=((4,),), stage_epochs=7)

    stage = loss.first_stage()

    assert stage is not None
    assert (stage.loss, stage.epochs, stage.trains_student, stage.only) == (loss, 7, True, True)


def test_ab__no_first_stage_where_it_takes_no_epoch() -> None:
    assert AB(student_shapes=((4,),), teacher_shapes=((4,),), stage_epochs=0).first_stage() is None


@pytest.mark.parametrize("epochs", [-1, 2.5, True])
def test_ab__stage_epochs_are_counted_in_whole_numbers(epochs: float) -> None:
    with pytest.raises(ValueError, match=f"Expected `stage_epochs` to be a whole number >= 0, but got {epochs}"):
        AB(student_shapes=((4,),), teacher_shapes=((4,),), stage_epochs=epochs)  # type: ignore[arg-type]


def test_ab__margin_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `margin` to be > 0, but got 0\.0\."):
        AB(student_shapes=((4,),), teacher_shapes=((4,),), margin=0)


def test_ab__other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected two layers with as many axes, but got \[32\] and \[8, 4, 4\]\."):
        AB(student_shapes=((32,),), teacher_shapes=((8, 4, 4),))


def test_ab__batch_of_one_vector_passes() -> None:
    value, gradients = Case.of("ab", SHAPES[5], rows=1).value_and_gradients()

    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)
