import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.review import Review, _hierarchical
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES, Case
from tests.job.composed import CNNS, plan
from tests.reference.losses.review import reference

__all__ = ["reference"]

SHAPES = [
    STAGES,
    (((5, 6, 6),), ((7, 6, 6),)),  # one stage
    (((3, 8, 8), (4, 4, 4)), ((4, 4, 4), (5, 4, 4))),  # the teacher's resolution is lower, or the same
    (((3, 4, 4), (4, 2, 2)), ((4, 9, 7), (5, 3, 5))),  # higher, odd, not square
    (((3, 7, 5), (4, 7, 5)), ((4, 7, 5), (5, 7, 5))),  # one resolution, as in a transformer
    (((3, 9), (4, 5)), ((4, 8), (5, 5))),  # sequences
    (((3, 1, 1),), ((4, 1, 1),)),  # one position
]


# HCL.


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_hcl__of_a_constant_difference_is_its_square(size: int) -> None:
    """Pooling changes nothing then, and the weights are divided by their sum."""
    assert _hierarchical(torch.full((2, 3, size, size), 5.0)).item() == pytest.approx(25)


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


def test_hcl__of_an_uneven_map_pools_the_longer_axis() -> None:
    """[8, 2]: to [4, 2], [2, 2] and [1, 1]; [2, 1]: to [1, 1] alone. A sequence is pooled likewise."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, 3, 8, 2, generator=generator)
    levels = [wide, *(F.adaptive_avg_pool2d(wide, size) for size in ((4, 2), (2, 2), (1, 1)))]
    expected = sum(w * x.square().mean() for w, x in zip((1, 1 / 2, 1 / 4, 1 / 8), levels, strict=True)) / 1.875
    torch.testing.assert_close(_hierarchical(wide), torch.as_tensor(expected))

    short = wide[:, :, :2, :1]
    torch.testing.assert_close(
        _hierarchical(short), (short.square().mean() + short.mean(dim=(2, 3)).square().mean() / 2) / 1.5
    )
    torch.testing.assert_close(_hierarchical(short), _hierarchical(short.squeeze(3)))


# The review.


def shares(loss: Review, value: float) -> None:
    """Attention that listens to neither (sigmoid of a large negative number) or fully to both."""
    with torch.no_grad():
        for fusion in loss.fusions:
            if fusion.attend is not None:  # type: ignore[union-attr]
                fusion.attend.weight.zero_()  # type: ignore[union-attr, operator]
                fusion.attend.bias.fill_(value)  # type: ignore[union-attr, operator]


def reached(case: Case, level: int) -> list[bool]:
    """Which stages of the student get a gradient from one of the teacher's, the average of the last one left out."""
    features = [f.detach().clone().requires_grad_() for f in case.student.features]
    handed, said = None, []
    for fusion, feature in zip(reversed(case.loss.fusions), [_average(features), *reversed(features)], strict=True):  # type: ignore[union-attr, arg-type]
        told, handed = fusion(feature, handed)
        said.insert(0, told)
    found = torch.autograd.grad(said[level].square().sum(), features, allow_unused=True)
    return [g is not None and bool(g.abs().sum() > 0) for g in found]


def _average(features: list[Tensor]) -> Tensor:
    return features[-1].relu().mean(dim=(2, 3), keepdim=True)


def test_review__each_stage_is_learned_from_itself_and_all_deeper_ones() -> None:
    case = Case.of("review", STAGES)

    assert [reached(case, level) for level in range(4)] == [
        [True, True, True],
        [False, True, True],
        [False, False, True],
        [False, False, True],  # the average of the last one
    ]


def test_review__without_attention_no_stage_hears_another() -> None:
    """Both maps at 0: what is compared with the first three levels comes from no stage at all."""
    case = Case.of("review", STAGES)
    shares(case.loss, -1e4)  # type: ignore[arg-type]

    assert [reached(case, level) for level in range(4)] == [[False] * 3] * 3 + [[False, False, True]]


def test_fusion__is_the_authors_concatenation() -> None:
    """Attention of both features one above the other, at the higher resolution."""
    loss = Case.of("review", (((3, 6, 4), (5, 3, 2)), ((4, 12, 8), (6, 3, 2)))).loss
    fusion: Any = loss.fusions[0]  # type: ignore[union-attr, index]
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 3, 6, 4, generator=generator, dtype=torch.float64)
    deeper = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64)

    own = fusion.reduce(feature)
    enlarged = deeper.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    attention = fusion.attend(torch.cat([own, enlarged], dim=1)).sigmoid()
    mixed = own * attention[:, 0:1] + enlarged * attention[:, 1:2]
    expected = mixed.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    said, handed_down = fusion(feature, deeper)

    torch.testing.assert_close(handed_down, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(said, fusion.expand(expected), rtol=1e-8, atol=1e-10)
    assert said.shape == (2, 4, 12, 8)


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


@pytest.mark.parametrize("shapes", SHAPES)
def test_review__gradient_is_that_of_finite_differences(shapes: Any) -> None:
    case = Case.of("review", shapes, rows=2)
    features = tuple(f.clone().requires_grad_() for f in case.student.features)

    def value(*changed: Tensor) -> Tensor:
        return case.value(student=Outputs(case.student.logits, changed))

    assert torch.autograd.gradcheck(value, features, atol=1e-4, fast_mode=True)


def test_review__batch_of_one_has_one_value_per_channel_at_the_last_level() -> None:
    case = Case.of("review", STAGES, rows=1)

    value, gradients = case.value_and_gradients()

    assert value.isfinite()
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients[1:])


def test_review__hears_both_networks_before_the_activation_of_a_stage() -> None:
    made = plan("loss=review", *CNNS)
    assert made.settings.teacher is not None
    teacher = made.network("teacher", made.settings.teacher.node, 1)
    bound = made.bound(made.network("student", made.settings.student.node, 0), teacher)

    assert bound.described() == [
        "review: features.2:input [8, 8, 8] learns from features.2:input [32, 8, 8]",
        "review: features.5:input [16, 8, 8] learns from features.5:input [64, 8, 8]",
    ]


@pytest.mark.parametrize(
    ("own", "theirs", "message"),
    [
        ((), (), "Expected as many layers of the student as of the teacher, at least one"),
        (((4,),), ((4,),), "Expected both layers of a pair to be maps"),
        (((4, 9),), ((4, 3, 3),), r"but got \[4, 9\] and \[4, 3, 3\]"),
        (((4, 9), (4, 3, 3)), ((4, 9), (4, 3, 3)), r"as many axes of positions, but got \[1, 2\]\."),
    ],
)
def test_review__what_cannot_be_is_refused(own: Any, theirs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Review(student_shapes=own, teacher_shapes=theirs)
