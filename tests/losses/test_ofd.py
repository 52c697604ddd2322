import math

import pytest
import torch
from torch import nn

from kd_lab.losses.ofd import OFD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES, Case, Shapes
from tests.reference.losses.ofd import margin

SHAPES: list[Shapes] = [
    STAGES,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 7, 5),), ((4, 3, 3),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((5,), (4,)), ((7,), (6,))),  # vectors
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((3, 4),), ((5, 9),)),
]
REFUSED = [
    ({"shapes": (((32,),), ((8, 4, 4),)), "teacher_norms": (None,)}, r"as many axes, but got \[32\] and \[8, 4, 4\]\."),
    ({"teacher_norms": (nn.BatchNorm2d(6), None, None)}, r"Expected a BatchNorm .* none before layer 2, \[8, 4, 4\]\."),
]


def norm(bias: list[float], weight: list[float]) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(len(bias))
    with torch.no_grad():
        made.bias.copy_(torch.tensor(bias))
        made.weight.copy_(torch.tensor(weight))
    return made


def margins(*channels: tuple[float, float]) -> list[float]:
    """Of channels (bias, weight)."""
    shape = ((len(channels),),)
    norms = (norm([b for b, _ in channels], [w for _, w in channels]),)
    loss = OFD(student_shapes=shape, teacher_shapes=shape, teacher_norms=norms)
    found: list[float] = loss.get_buffer("margin_0").tolist()
    return found


def test_ofd__margin_is_the_mean_of_the_negative_values() -> None:
    """By numerical integration of x times the normal density below 0; -sqrt(2 / pi) for the standard normal."""
    found = margins((0.0, 1.0), (1.0, 2.0), (-0.5, 0.7), (3.0, 1.0))

    assert found == pytest.approx([-math.sqrt(2 / math.pi), -1.28215344, -0.78378698, -0.28309761], rel=1e-5)


def test_ofd__margin_is_three_deviations_where_negative_values_are_rare() -> None:
    """P(x < 0) is 0.00135 at a mean of 3 deviations and 0.00097 at 3.1, below the thousandth."""
    near, beyond, far = margins((3.0, 1.0), (3.1, 1.0), (50.0, 0.5))

    assert near == pytest.approx(-0.28309761, rel=1e-5)
    assert (beyond, far) == (-3.0, -1.5)


def test_ofd__margins_are_the_references() -> None:
    """From 6 deviations below 0 to 6 above it, so on both sides of the thousandth (3.09), for weights of both signs."""
    channels = [(bias / 4, weight) for bias in range(-24, 25) for weight in (1.0, -0.4, 3.0)]

    assert margins(*channels) == pytest.approx([margin(bias, abs(weight)) for bias, weight in channels], rel=2e-6)


def test_ofd__constant_channels_have_finite_margins() -> None:
    assert margins((-0.3, 0.0), (0.0, 0.0), (0.3, 0.0)) == pytest.approx([-0.3, 0.0, 0.0], abs=1e-6)


def test_ofd__norm_without_bias_and_weight_is_standard() -> None:
    plain = nn.BatchNorm1d(1, affine=False)

    loss = OFD(student_shapes=((1,),), teacher_shapes=((1,),), teacher_norms=(plain,))

    assert loss.get_buffer("margin_0").item() == pytest.approx(-math.sqrt(2 / math.pi), rel=1e-6)


def unconnected(own: list[float], theirs: list[float]) -> float:
    """The value for one sample of vectors, margin -1 in every channel, the connector left out."""
    count = len(own)
    shape = ((count,),)
    loss = OFD(student_shapes=shape, teacher_shapes=shape, teacher_norms=(norm([0.0] * count, [1.0] * count),))
    loss.connectors[0] = nn.Identity()
    loss.get_buffer("margin_0").fill_(-1.0)
    case = Case.of("ofd")
    value = loss(
        Outputs(torch.zeros(1, 6), (torch.tensor([own]),)),
        Outputs(torch.zeros(1, 6), (torch.tensor([theirs]),)),
        case.batch,
    )
    return float(value)


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        (5.0, 3.0, 4.0),  # positive: plain squares
        (1.0, 3.0, 4.0),
        (-2.0, 3.0, 25.0),
        (2.0, -0.5, 6.25),  # between margin and 0: pulled down to it
        (-0.7, -0.5, 0.0),  # already below
        (2.0, -4.0, 9.0),  # below the margin: pulled down to the margin
        (-0.5, -4.0, 0.25),
        (-3.0, -4.0, 0.0),
        (0.5, 0.0, 0.25),
        (-0.5, 0.0, 0.0),
    ],
)
def test_ofd__partial_distance(own: float, theirs: float, expected: float) -> None:
    assert unconnected([own], [theirs]) == pytest.approx(expected, rel=1e-6)


def test_ofd__margins_are_kept_and_never_trained() -> None:
    loss = Case.of("ofd").loss

    assert {f"margin_{i}" for i in range(3)} <= set(loss.state_dict())
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == {"connectors"}


def test_ofd__the_teachers_norm_is_not_part_of_it() -> None:
    given = norm([0.0], [1.0])

    loss = OFD(student_shapes=((1,),), teacher_shapes=((1,),), teacher_norms=(given,))

    assert given not in list(loss.modules())
