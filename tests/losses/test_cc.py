import pytest
import torch
from torch import Tensor

from kd_lab.losses.cc import CC
from kd_lab.types import Batch, Outputs
from tests.contracts.loss_cases import VECTOR, Case
from tests.reference.losses.cc import reference

__all__ = ["reference"]

SHAPES = [VECTOR, (((3, 2, 2),), ((7,),)), (((5, 3),), ((2, 4, 3),))]
SETTINGS = [{"dim": 3}]


def value(loss: CC, own: Tensor, theirs: Tensor) -> Tensor:
    logits = torch.zeros(len(own), 2)
    return loss(Outputs(logits, (own,)), Outputs(logits, (theirs,)), Batch(own, logits, logits))


def numbers_as_they_are() -> CC:
    """Both embeddings are the feature itself."""
    loss = CC(student_shapes=((2,),), teacher_shapes=((2,),), dim=2)
    with torch.no_grad():
        for layer in (loss.student_embed, loss.teacher_embed):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    return loss


def test_cc__three_samples_by_hand() -> None:
    """Distances (1, 2), (3, 0), (2, 5): 1 * 3 + 2 * 0 = 3 for the first two, 3 * 2 + 0 * 5 = 6 for the last."""
    own = torch.tensor([[1.0, -2], [0, 7], [4, 0]])
    theirs = torch.tensor([[0.0, 0], [3, 7], [6, 5]])

    assert value(numbers_as_they_are(), own, theirs).item() == pytest.approx((3 + 6) / 2, rel=1e-6)


def test_cc__is_0_where_one_of_two_neighbours_agrees() -> None:
    own = torch.tensor([[1.0, -2], [3, 7], [4, 0]])
    theirs = torch.tensor([[0.0, 0], [3, 7], [6, 5]])

    assert value(numbers_as_they_are(), own, theirs) == 0


def test_cc__one_sample_has_no_neighbour() -> None:
    result, gradients = Case.of("cc", rows=1).value_and_gradients()

    assert result == 0
    assert gradients[1].abs().sum() == 0


def test_cc__follows_the_order_of_the_batch_but_not_its_direction() -> None:
    case = Case.of("cc")

    def ordered(order: list[int]) -> Tensor:
        own, theirs = (Outputs(o.logits, (o.features[0][order],)) for o in (case.student, case.teacher))
        return case.value(student=own, teacher=theirs)

    torch.testing.assert_close(ordered([7, 6, 5, 4, 3, 2, 1, 0]), case.value(), rtol=1e-12, atol=0)
    assert abs(ordered([4, 0, 6, 1, 5, 2, 7, 3]) / case.value() - 1) > 1e-3


def test_cc__layers_lead_from_both_networks_to_dim() -> None:
    loss = CC(student_shapes=((3, 2, 2),), teacher_shapes=((7,),), dim=5)

    assert {n: tuple(p.shape) for n, p in loss.named_parameters()} == {
        "student_embed.weight": (5, 12),
        "student_embed.bias": (5,),
        "teacher_embed.weight": (5, 7),
        "teacher_embed.bias": (5,),
    }


@pytest.mark.parametrize("dim", [0, -1, 2.5])
def test_cc__dim_is_an_integer_above_0(dim: int) -> None:
    with pytest.raises(ValueError, match=f"Expected `dim` to be an integer >= 1, but got {dim}"):
        CC(student_shapes=((4,),), teacher_shapes=((4,),), dim=dim)


def test_cc__more_than_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one layer of each network, but got 2"):
        CC(student_shapes=((4,), (4,)), teacher_shapes=((4,), (4,)))
