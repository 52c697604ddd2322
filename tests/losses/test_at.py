import pytest
import torch

from kd_lab.losses.at import AT
from tests.contracts.loss_cases import STAGES, Case
from tests.reference.losses.at import reference

__all__ = ["reference"]

SHAPES = [
    STAGES,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((2, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
]


def test_at__does_not_see_the_channels_nor_the_scale() -> None:
    case = Case.of("at", (((3, 4, 4),), ((3, 4, 4),)))
    turned = case.student.features[0].flip(1) * 7

    same = case.value(student=type(case.student)(case.student.logits, (turned,)))

    torch.testing.assert_close(same, case.value(), rtol=1e-10, atol=0)


def test_at__adds_the_pairs() -> None:
    shape = (3, 4, 4)
    both = Case.of("at", ((shape, shape), (shape, shape)))
    alone = []
    for i in range(2):
        case = Case.of("at", ((shape,), (shape,)))
        case.student = type(case.student)(both.student.logits, (both.student.features[i],))
        case.teacher = type(case.teacher)(both.teacher.logits, (both.teacher.features[i],))
        alone.append(case.value())

    torch.testing.assert_close(both.value(), alone[0] + alone[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("own", "theirs"), [((32,), (32,)), ((32,), (8, 4, 4)), ((8, 16), (8, 4, 4))])
def test_at__layers_without_the_same_axes_are_refused(own: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        AT(student_shapes=(own,), teacher_shapes=(theirs,))


def test_at__as_many_layers_of_both_are_asked_for() -> None:
    with pytest.raises(ValueError, match="Expected as many layers of the student as of the teacher"):
        AT(student_shapes=((8, 4, 4),), teacher_shapes=())
