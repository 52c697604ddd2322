import pytest
import torch
from torch import Tensor

from kd_lab.losses import rkd
from kd_lab.losses.rkd import RKD
from kd_lab.types import Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.reference.losses.rkd import reference

__all__ = ["reference"]

SHAPES = [VECTOR, (((3, 4, 4),), ((7,),)), (((1,),), ((64,),))]
SETTINGS = [{"angle_weight": 0.0}, {"distance_weight": 0.0}]


def test_rkd__does_not_see_rotation_nor_scale_nor_place() -> None:
    case = Case.of("rkd", (((6,),), ((4,),)))
    turn, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    moved = 5 * case.student.features[0] @ turn + 11

    same = case.value(student=Outputs(case.student.logits, (moved,)))

    torch.testing.assert_close(same, case.value(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("at_a_time", [1, 3, 7])
def test_rkd__in_parts_is_the_whole_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    case = Case.of("rkd", rows=8)
    whole, gradients = case.value_and_gradients()
    monkeypatch.setattr(rkd, "MOST_ANGLES", at_a_time * 8 * 8)

    parts, gradients_of_parts = case.value_and_gradients()

    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients_of_parts[1], gradients[1], rtol=1e-10, atol=1e-14)


def test_rkd__keeps_no_more_numbers_than_it_says() -> None:
    """512 samples have 134 million angles, 0.5 GiB in float32; what the graph keeps stays far below."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    features = torch.randn(512, 16, requires_grad=True)
    loss = RKD(student_shapes=((16,),), teacher_shapes=((16,),))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss(Outputs(features, (features,)), Outputs(features, (torch.randn(512, 16),)), None)  # type: ignore[arg-type]

    assert sum(kept) < rkd.MOST_ANGLES


def test_rkd__equal_samples_have_a_finite_gradient() -> None:
    case = Case.of("rkd")
    alike = torch.ones_like(case.student.features[0])

    value, gradients = case.value_and_gradients(student=Outputs(case.student.logits, (alike,)))

    assert value.isfinite()
    assert gradients[1].isfinite().all()
