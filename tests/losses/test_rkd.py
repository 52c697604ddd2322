import pytest
import torch
from torch import Tensor

from kd_lab.losses import rkd
from kd_lab.losses.rkd import RKD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.losses.of_layers import value

SHAPES = [VECTOR, (((3, 4, 4),), ((7,),)), (((1,),), ((64,),))]
SETTINGS = [{"angle_weight": 0.0}, {"distance_weight": 0.0}]


LINE = torch.tensor([[0.0], [1.0], [3.0]])
TRIANGLE = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3**0.5]])


def test_rkd__distances_by_hand() -> None:
    """On the line 1, 3, 2, of mean 2: 1/2, 3/2, 1; in the triangle 1, 1, 1. Smooth L1 of the differences 1/2, 1/2, 0:
    1/8, 1/8, 0; each twice over B^2 = 9."""
    found = value(RKD, LINE, TRIANGLE, distance_weight=1.0, angle_weight=0.0)

    assert found.item() == pytest.approx(2 * (1 / 8 + 1 / 8) / 9)


def test_rkd__angles_by_hand() -> None:
    """On the line the cosine is 1 at both ends and -1 in the middle; in the triangle 1/2 everywhere. Differences 1/2,
    -3/2, 1/2; smooth L1 1/8, 1, 1/8; each twice (j and k change places) over B^3 = 27. With j = k both are 1."""
    found = value(RKD, LINE, TRIANGLE, distance_weight=0.0, angle_weight=1.0)

    assert found.item() == pytest.approx(2 * (1 / 8 + 1 + 1 / 8) / 27)


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_rkd__in_parts_is_the_whole_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    case = Case.of("rkd", rows=8)
    whole, gradients = case.value_and_gradients()
    monkeypatch.setattr(rkd, "MOST_ANGLES", at_a_time * 8 * 8)

    parts, gradients_of_parts = case.value_and_gradients()

    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients_of_parts[1], gradients[1], rtol=1e-10, atol=1e-14)


def test_rkd__keeps_no_more_numbers_than_it_says() -> None:
    """300 samples have 27 million angles, 0.1 GiB in float32; what the graph keeps stays far below."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    features = torch.randn(300, 16, requires_grad=True)
    loss = RKD(student_shapes=((16,),), teacher_shapes=((16,),))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss(Outputs(features, (features,)), Outputs(features, (torch.randn(300, 16),)), None)  # type: ignore[arg-type]

    assert sum(kept) < rkd.MOST_ANGLES


def test_rkd__equal_samples_have_a_finite_gradient() -> None:
    case = Case.of("rkd")
    alike = torch.ones_like(case.student.features[0])

    value, gradients = case.value_and_gradients(student=Outputs(case.student.logits, (alike,)))

    assert value.isfinite()
    assert gradients[1].isfinite().all()
