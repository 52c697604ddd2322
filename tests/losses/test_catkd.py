import copy

import pytest
import torch
from torch import nn

from kd_lab.losses.catkd import CATKD
from kd_lab.types import Outputs
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import CLASSES, MAP, Case, Shapes, leaves
from tests.losses.common.gradients import gradients_are_those_of_differences
from tests.reference.losses.catkd import reference

__all__ = ["reference"]

SHAPES: list[Shapes] = [
    MAP,
    (((3, 5, 7),), ((4, 3, 4),)),  # odd sizes, other resolutions
    (((3, 1, 4),), ((2, 5, 5),)),  # one axis does not reach the resolution
    (((3, 9),), ((5, 4),)),  # sequences
    (((3, 3, 2),), ((2, 1, 5),)),  # neither does along another one
]
SETTINGS = [{"normalize": False}, {"resolution": 4}, {"resolution": 3, "normalize": False}]


def heads(case: Case) -> tuple[nn.Linear, nn.Linear]:
    own, theirs = case.loss._heads
    return own, theirs


def test_catkd__maps_average_to_the_logits_without_the_bias() -> None:
    """What makes the weights, applied at every position, maps of the classes."""
    case = Case.of("catkd", (((5, 6, 6),), ((5, 6, 6),)), normalize=False)
    feature, head = case.student.features[0], heads(case)[0]

    maps = case.loss._maps(feature, head.weight)

    assert maps.shape == (8, CLASSES, 4)
    torch.testing.assert_close(maps.mean(dim=2) + head.bias, head(feature.mean(dim=(2, 3))), rtol=1e-12, atol=1e-14)


def test_catkd__hand_computed() -> None:
    """One class; 2 x 2 maps. Student: weights (1, 2), channels (3, 0, 0, 0) and (0, 2, 0, 0): A = (3, 4, 0, 0), scaled
    (0.6, 0.8, 0, 0). Teacher: weight 5, channel (0, 0, 0, 1): (0, 0, 0, 1). Squares 0.36 + 0.64 + 1 = 2, mean 0.5.
    """
    shapes: Shapes = (((2, 2, 2),), ((1, 2, 2),))
    case = Case.of("catkd", shapes, classes=1)
    own, theirs = heads(case)
    with torch.no_grad():
        own.weight.copy_(torch.tensor([[1.0, 2.0]]))
        theirs.weight.fill_(5.0)
    student = Outputs(case.student.logits[:1], (torch.tensor([[[[3.0, 0], [0, 0]], [[0, 2.0], [0, 0]]]]).double(),))
    teacher = Outputs(case.teacher.logits[:1], (torch.tensor([[[[0, 0], [0, 1.0]]]]).double(),))

    assert case.value(student=student, teacher=teacher).item() == pytest.approx(0.5, rel=1e-12)
    case.loss.normalize = False  # (3, 4, 0, 0) against (0, 0, 0, 5): (9 + 16 + 25) / 4
    assert case.value(student=student, teacher=teacher).item() == pytest.approx(12.5, rel=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_catkd__pooling_before_the_weights_is_pooling_after_them(normalize: bool) -> None:
    case = Case.of("catkd", (((5, 5, 7),), ((5, 5, 7),)), normalize=normalize)
    feature, head = case.student.features[0], heads(case)[0]
    maps = nn.functional.conv2d(feature, head.weight[:, :, None, None])
    pooled = nn.functional.adaptive_avg_pool2d(maps, (2, 2)).flatten(2)
    expected = pooled / pooled.square().sum(dim=2, keepdim=True).sqrt() if normalize else pooled

    torch.testing.assert_close(case.loss._maps(feature, head.weight), expected, rtol=1e-10, atol=1e-13)


def test_catkd__is_zero_where_both_networks_are_one() -> None:
    case = Case.of("catkd", (((5, 6, 6),), ((5, 6, 6),)), equal=True)
    own, theirs = heads(case)
    assert case.value() > 0  # other classifiers
    own.load_state_dict(theirs.state_dict())

    value, gradients = case.value_and_gradients()

    assert value < 1e-30  # rounding: a product that has a gradient is computed in another order
    assert max(g.abs().max().item() for g in gradients) < 1e-15


def test_catkd__normalised_maps_do_not_know_the_scale() -> None:
    louder = Case.of("catkd")
    expected = louder.value()
    with torch.no_grad():
        for head in heads(louder):
            head.weight.mul_(3.0)

    torch.testing.assert_close(louder.value(), expected, rtol=1e-12, atol=0)
    plain = Case.of("catkd", normalize=False)
    before = plain.value()
    with torch.no_grad():
        for head in heads(plain):
            head.weight.mul_(3.0)
    torch.testing.assert_close(plain.value(), 9 * before, rtol=1e-12, atol=0)


def test_catkd__the_students_classifier_learns_and_the_teachers_does_not() -> None:
    case = Case.of("catkd")
    own, theirs = heads(case)

    case.loss(case.student, case.teacher, case.batch).backward()

    assert own.weight.grad is not None
    assert own.weight.grad.abs().sum() > 0
    assert own.bias.grad is None
    assert theirs.weight.grad is None


@pytest.mark.parametrize("changes", [{}, *SETTINGS])
@pytest.mark.parametrize("shapes", SHAPES)
def test_catkd__gradient_of_the_students_classifier_is_the_references(
    shapes: Shapes, changes: dict[str, bool | int]
) -> None:
    case = Case.of("catkd", shapes, rows=5, **changes)

    agree(case, also={"student_head.weight": heads(case)[0].weight})


@pytest.mark.parametrize("shapes", SHAPES)
def test_catkd__gradients_are_those_of_differences(shapes: Shapes) -> None:
    gradients_are_those_of_differences(Case.of("catkd", shapes, rows=2))


def test_catkd__classifiers_are_not_parts_of_it() -> None:
    loss = Case.of("catkd").loss

    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_catkd__follows_the_students_classifier() -> None:
    """It holds the module, not a copy of its weights; a copy of network and loss together belongs together."""
    case = Case.of("catkd")
    network, loss = copy.deepcopy((heads(case)[0], case.loss))
    student = leaves(case.student)

    loss(student, case.teacher, case.batch).backward()

    assert network.weight.grad is not None
    assert heads(case)[0].weight.grad is None


def test_catkd__map_below_the_resolution_keeps_its_size() -> None:
    loss = Case.of("catkd", (((3, 1, 4),), ((2, 5, 5),))).loss

    assert loss.positions == (1, 2)


def test_catkd__one_position_alone_is_not_normalised() -> None:
    shapes: Shapes = (((3, 1, 1),), ((2, 4, 4),))
    with pytest.raises(ValueError, match=r"more than one position .* but got \[3, 1, 1\] and \[2, 4, 4\]"):
        Case.of("catkd", shapes)
    assert Case.of("catkd", shapes, normalize=False).value().isfinite()


@pytest.mark.parametrize("resolution", [0, 2.5])
def test_catkd__resolution_is_a_whole_number(resolution: float) -> None:
    head = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=f"Expected `resolution` to be a whole number >= 1, but got {resolution}"):
        CATKD(
            student_shapes=((3, 4, 4),),
            teacher_shapes=((3, 4, 4),),
            student_head=head,
            teacher_head=head,
            resolution=resolution,  # type: ignore[arg-type]
        )


def test_catkd__vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected both layers of a pair to be maps"):
        Case.of("catkd", (((5,),), ((7,),)))
