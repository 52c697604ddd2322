import math

import pytest
import torch

from kd_lab.losses.vid import SMALLEST_VARIANCE, VID
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES, Case
from tests.losses.common.gradients import gradients_are_those_of_differences
from tests.reference.losses.vid import reference

__all__ = ["reference"]

SHAPES = [
    STAGES,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((4, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((5,), (4,)), ((7,), (6,))),  # vectors
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((3, 4),), ((5, 9),)),
]
SETTINGS = [{"initial_variance": 0.5}, {"initial_variance": 60.0}]


def test_vid__mean_of_zero_leaves_the_teachers_own_squares() -> None:
    """m = 0: [mean f_t^2 / v + log v] / 2, here with f_t = 2 everywhere and v = 5: (4/5 + log 5) / 2 = 1.2047190."""
    case = Case.of("vid", (((3, 2, 2),), ((4, 2, 2),)))
    with torch.no_grad():
        for weight in case.loss.means.parameters():
            weight.zero_()
    case.teacher = Outputs(case.teacher.logits, (torch.full_like(case.teacher.features[0], 2.0),))

    assert case.value().item() == pytest.approx(1.2047190, rel=1e-7)


@pytest.mark.parametrize("variance", [2e-5, 0.5, 5.0, 60.0, 2000.0])
def test_vid__starts_at_the_initial_variance(variance: float) -> None:
    loss = VID(student_shapes=((3,),), teacher_shapes=((4,),), initial_variance=variance)

    (raw,) = loss.raw_variances
    assert raw.shape == (4,)
    found = torch.nn.functional.softplus(raw.double()) + SMALLEST_VARIANCE
    torch.testing.assert_close(found, torch.full((4,), variance, dtype=torch.float64), rtol=1e-5, atol=0)
    assert loss.readings()["last_variance"] == pytest.approx(variance, rel=1e-5)


def test_vid__best_variance_of_a_channel_is_its_mean_squared_error() -> None:
    """d/dv [e / v + log v] = 0 at v = e: there the gradient by the raw variance is 0, on either side it is not."""
    case = Case.of("vid", (((3, 4, 4),), ((2, 4, 4),)))
    with torch.no_grad():
        errors = (case.loss.means[0](case.student.features[0]) - case.teacher.features[0]).square().mean(dim=(0, 2, 3))
        case.loss.raw_variances[0].copy_(torch.log(torch.expm1(errors - SMALLEST_VARIANCE)))

    case.loss(case.student, case.teacher, case.batch).backward()

    torch.testing.assert_close(case.loss.raw_variances[0].grad, torch.zeros(2).double(), rtol=0, atol=1e-12)
    expected = float((1 + errors.log()).mean() / 2)
    assert case.value().item() == pytest.approx(expected, rel=1e-12)


def test_vid__adds_the_pairs() -> None:
    case = Case.of("vid", (((3, 4, 4), (3, 4, 4)), ((4, 4, 4), (4, 4, 4))))
    twice = Outputs(case.student.logits, (case.student.features[0],) * 2)
    theirs = Outputs(case.teacher.logits, (case.teacher.features[0],) * 2)
    case.loss.means[1].load_state_dict(case.loss.means[0].state_dict())
    alone = Case.of("vid", (((3, 4, 4),), ((4, 4, 4),)))
    alone.loss.means[0].load_state_dict(case.loss.means[0].state_dict())

    both = case.value(student=twice, teacher=theirs)

    one = alone.value(
        student=Outputs(twice.logits, twice.features[:1]), teacher=Outputs(twice.logits, theirs.features[:1])
    )
    torch.testing.assert_close(both, 2 * one, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shapes", [SHAPES[1], SHAPES[2], SHAPES[5]])
def test_vid__gradients_are_those_of_differences(shapes: tuple[tuple[tuple[int, ...], ...], ...]) -> None:
    gradients_are_those_of_differences(Case.of("vid", shapes, rows=2))  # type: ignore[arg-type]


def test_vid__every_part_is_trained() -> None:
    loss = VID(student_shapes=((3, 4, 4),), teacher_shapes=((5, 4, 4),))

    shapes = {name: tuple(p.shape) for name, p in loss.named_parameters() if p.requires_grad}
    assert shapes == {
        "means.0.0.weight": (5, 3, 1, 1),
        "means.0.2.weight": (5, 5, 1, 1),
        "means.0.4.weight": (5, 5, 1, 1),
        "raw_variances.0": (5,),
    }


@pytest.mark.parametrize(("value", "message"), [(0.0, "> 0, but got 0.0"), (1e-6, "> 1e-05, but got 1e-06")])
def test_vid__initial_variance_too_small_is_refused(value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `initial_variance` to be {message}"):
        VID(student_shapes=((3,),), teacher_shapes=((4,),), initial_variance=value)


def test_vid__other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected two layers with as many axes, but got \[32\] and \[8, 4, 4\]\."):
        VID(student_shapes=((32,),), teacher_shapes=((8, 4, 4),))


def test_vid__log_of_a_small_variance_is_negative() -> None:
    case = Case.of("vid", (((3, 2, 2),), ((4, 2, 2),)), initial_variance=0.01)
    with torch.no_grad():
        for weight in case.loss.means.parameters():
            weight.zero_()
    case.teacher = Outputs(case.teacher.logits, (torch.zeros_like(case.teacher.features[0]),))

    assert case.value().item() == pytest.approx(math.log(0.01) / 2, rel=1e-4)
