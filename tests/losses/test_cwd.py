import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.cwd import CWD
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import Case
from tests.reference.losses.cwd import reference

__all__ = ["reference"]

SHAPES = [
    (((5, 6, 6),), ((5, 6, 6),)),
    (((3, 5, 7),), ((3, 5, 7),)),
    (((3, 9),), ((3, 9),)),  # sequences
]


def value(own: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    loss = CWD(
        student_shapes=(tuple(own.shape[1:]),), teacher_shapes=(tuple(theirs.shape[1:]),), temperature=temperature
    )
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


def test_cwd__one_channel_of_two_positions_by_hand() -> None:
    """At T = 2 the teacher's activations 2 log 3 and 0 are the probabilities 3/4 and 1/4, the student's are 1/2 each:
    KL = 3/4 log(3/2) + 1/4 log(1/2), times T^2 = 4. A second channel, where both agree, halves the mean."""
    theirs = torch.tensor([[[2 * math.log(3), 0.0], [1.0, 5.0]]], dtype=torch.float64)
    own = torch.tensor([[[7.0, 7.0], [1.0, 5.0]]], dtype=torch.float64)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)

    assert value(own, theirs, 2.0).item() == pytest.approx(4 * divergence / 2, rel=1e-12)


def test_cwd__does_not_see_what_is_added_to_a_channel() -> None:
    case = Case.of("cwd")
    added = torch.arange(5, dtype=torch.float64)[:, None, None]
    moved = Outputs(case.student.logits, (case.student.features[0] + added,))

    torch.testing.assert_close(case.value(student=moved), case.value(), rtol=1e-10, atol=0)


def test_cwd__a_high_temperature_leaves_half_the_squared_difference_of_the_centred_maps() -> None:
    """T^2 KL goes to the variance, over the positions, of the difference, by 1/2."""
    case = Case.of("cwd", temperature=1e5)
    apart = case.student.features[0].flatten(2) - case.teacher.features[0].flatten(2)

    torch.testing.assert_close(case.value(), apart.var(dim=2, correction=0).mean() / 2, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("positions", "brought"),
    [
        ((8, 8), lambda f: F.avg_pool2d(f, 2)),
        ((2, 2), lambda f: F.interpolate(f, (4, 4), mode="bilinear", align_corners=False)),
    ],
    ids=["pooled", "interpolated"],
)
def test_cwd__the_student_is_brought_to_the_teachers_resolution(
    positions: tuple[int, int], brought: Callable[[Tensor], Tensor]
) -> None:
    case = Case.of("cwd", (((3, *positions),), ((3, 4, 4),)))
    there = Outputs(case.student.logits, (brought(case.student.features[0]),))
    same = Case.of("cwd", (((3, 4, 4),), ((3, 4, 4),)))

    torch.testing.assert_close(case.value(), same.value(student=there, teacher=case.teacher), rtol=1e-12, atol=0)
    assert case.value_and_gradients()[1][1].abs().sum() > 0


def test_cwd__other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected as many channels in both layers .*\[4, 2, 2\] and \[8, 2, 2\]"):
        CWD(student_shapes=((4, 2, 2),), teacher_shapes=((8, 2, 2),))


def test_cwd__vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        CWD(student_shapes=((4,),), teacher_shapes=((4,),))


def test_cwd__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        CWD(student_shapes=((4, 2), (4, 2)), teacher_shapes=((4, 2), (4, 2)))


def test_cwd__temperature_is_above_0() -> None:
    with pytest.raises(ValueError, match=r"Expected `temperature` to be > 0, but got -1\.0\."):
        CWD(student_shapes=((4, 2),), teacher_shapes=((4, 2),), temperature=-1.0)
