import math

import pytest
import torch

from kd_lab.losses.review import Review, _hierarchical
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES
from tests.job.composed import CNNS, plan

SHAPES = [
    STAGES,
    (((5, 6, 6),), ((7, 6, 6),)),  # one stage
    (((3, 8, 8), (4, 4, 4)), ((4, 4, 4), (5, 4, 4))),  # the teacher's resolution is lower, or the same
    (((3, 4, 4), (4, 2, 2)), ((4, 9, 7), (5, 3, 5))),  # higher, odd, not square
    (((3, 7, 5), (4, 7, 5)), ((4, 7, 5), (5, 7, 5))),  # one resolution, as in a transformer
    (((3, 9), (4, 5)), ((4, 8), (5, 5))),  # sequences
    (((3, 1, 1),), ((4, 1, 1),)),  # one position
]


REFUSED = [
    ({"shapes": ((), ())}, "Expected as many layers .* at least one"),
    ({"shapes": (((4,),), ((4,),))}, "Expected both layers of a pair to be maps"),
    ({"shapes": (((4, 9),), ((4, 3, 3),))}, r"but got \[4, 9\] and \[4, 3, 3\]"),
    ({"shapes": (((4, 9), (4, 3, 3)), ((4, 9), (4, 3, 3)))}, r"as many axes of positions, but got \[1, 2\]\."),
]


def test_hcl__by_hand() -> None:
    """[1, -1; 1, -1] has mean square 1 and mean 0: only its own resolution counts, 1 of 1 + 1/2.

    Four of these side by side, [4, 4]: pooled to 2 x 2 nothing is left either, so 1 of 1 + 1/2 + 1/4. With 3 added,
    each pooled level is 9 and the first one 10.
    """
    small = torch.tensor([[1.0, -1.0], [1.0, -1.0]])[None, None]

    assert _hierarchical(small).item() == pytest.approx(1 / 1.5)
    assert _hierarchical(small.tile(2, 2)).item() == pytest.approx(1 / 1.75)
    assert _hierarchical(small.tile(4, 4)).item() == pytest.approx(1 / 1.875)
    assert _hierarchical(small.tile(4, 4) + 3).item() == pytest.approx((10 + 9 * 0.875) / 1.875)


def test_review__compares_the_average_of_the_last_map_without_its_negative_numbers() -> None:
    """A teacher's last map of -1 and 3: its average is that of 0 and 3, 1.5; the student's side says 0 throughout."""
    loss = Review(student_shapes=((2, 1, 2),), teacher_shapes=((2, 1, 2),))
    with torch.no_grad():
        for fusion in loss.fusions:
            fusion.expand[1].weight.zero_()  # type: ignore[union-attr, index, operator]
    theirs = torch.tensor([-1.0, 3.0]).expand(4, 2, 1, 2)

    value = loss(Outputs(torch.zeros(4, 3), (torch.randn(4, 2, 1, 2),)), Outputs(torch.zeros(4, 3), (theirs,)), None)

    level = (5 + 1 / 2) / 1.5  # mean of 1 and 9, and half of the pooled map's 1
    assert value.item() == pytest.approx(level + 1.5**2)


def test_review__inner_channels_are_the_last_stages_up_to_512() -> None:
    small = Review(student_shapes=((3, 2, 2), (5, 1, 1)), teacher_shapes=((3, 2, 2), (5, 1, 1)))
    large = Review(student_shapes=((700, 1, 1),), teacher_shapes=((2, 1, 1),))

    assert [fusion.reduce[0].out_channels for fusion in small.fusions] == [5, 5, 5]  # type: ignore[union-attr, index]
    assert [fusion.reduce[0].out_channels for fusion in large.fusions] == [512, 512]  # type: ignore[union-attr, index]


def test_review__convolutions_start_as_published() -> None:
    """Uniform, up to sqrt(3 / inputs): torch's own start is smaller by sqrt 3."""
    torch.manual_seed(0)
    loss = Review(student_shapes=((64, 2, 2),), teacher_shapes=((32, 2, 2),))
    reduce, expand = loss.fusions[0].reduce[0].weight, loss.fusions[0].expand[0].weight  # type: ignore[union-attr, index]

    assert reduce.abs().max().item() == pytest.approx(math.sqrt(3 / 64), rel=0.01)
    assert expand.abs().max().item() == pytest.approx(math.sqrt(3 / (64 * 9)), rel=0.01)


def test_review__hears_both_networks_before_the_activation_of_a_stage() -> None:
    made = plan("loss=review", *CNNS)
    assert made.built is not None
    bound = made.built.bound

    assert bound.described() == [
        "review: features.2:input [8, 8, 8] learns from features.2:input [32, 8, 8]",
        "review: features.5:input [16, 8, 8] learns from features.5:input [64, 8, 8]",
    ]
