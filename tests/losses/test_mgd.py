import pytest
import torch
from torch import Tensor, nn

from kd_lab.losses.mgd import MGD
from kd_lab.types import Outputs
from tests.contracts.agreement import agree
from tests.contracts.loss_cases import MAP, Case, Shapes, same_draws

COMPARED_HERE = True  # its reference needs the masks, which are drawn

SHAPES: list[Shapes] = [
    MAP,
    (((4, 5, 7),), ((4, 5, 7),)),  # as many channels
    (((3, 7, 5),), ((4, 3, 3),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((3, 4),), ((5, 9),)),
]
SAME: Shapes = SHAPES[1]
REFUSED = [
    ({"mask_ratio": 1.5}, r"Expected `mask_ratio` to be from 0 to 1, but got 1\.5\."),
    ({"shapes": (((4,),), ((4,),))}, "Expected both layers of a pair to be maps"),
]


class Masked(nn.Module):
    """Keeps what it is given, in place of the generation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, feature: Tensor) -> Tensor:
        self.seen.append(feature)
        return feature


def masks(case: Case, calls: int = 1) -> Tensor:
    """What is kept of a map of ones: [calls, B, C]."""
    masked = case.loss.generation = Masked()
    ones = Outputs(case.student.logits, (torch.ones_like(case.student.features[0]),))
    for _ in range(calls):
        case.loss(ones, case.teacher, case.batch)
    return torch.stack(masked.seen).flatten(3).mean(dim=3)


def test_mgd__masks_whole_channels_of_each_sample() -> None:
    kept = masks(Case.of("mgd", SAME, mask_ratio=0.5), calls=50)

    assert set(kept.unique().tolist()) == {0.0, 1.0}  # the mean over the positions of a channel: all or none
    assert len(kept.reshape(-1, kept.shape[2]).unique(dim=0)) == 2**4  # every combination of four channels


def test_mgd__masks_the_share_that_is_asked_for() -> None:
    """Of 100 x 8 x 4 = 3200 draws; five standard deviations."""
    kept = masks(Case.of("mgd", SAME, mask_ratio=0.15), calls=100)

    assert 1 - kept.mean().item() == pytest.approx(0.15, abs=5 * (0.15 * 0.85 / 3200) ** 0.5)


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 1.0), (1.0, 0.0)])
def test_mgd__masks_nothing_or_everything(ratio: float, kept: float) -> None:
    assert masks(Case.of("mgd", SAME, mask_ratio=ratio), calls=10).eq(kept).all()


def test_mgd__sums_over_a_sample_and_averages_over_the_batch() -> None:
    """Without a mask and with a generation that says 0: the squares of the teacher's map, summed, by sample."""
    case = Case.of("mgd", SAME)
    with torch.no_grad():
        for parameter in case.loss.generation.parameters():
            parameter.zero_()

    torch.testing.assert_close(case.value(), case.teacher.features[0].square().sum() / 8, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("shapes", "ratio"), [*((s, 0.6) for s in SHAPES), (SAME, 0.0), (SAME, 0.15), (SAME, 1.0)])
def test_mgd__value_and_gradients_are_the_references_for_the_masks_that_it_drew(shapes: Shapes, ratio: float) -> None:
    case = Case.of("mgd", shapes, rows=7, mask_ratio=ratio)
    same_draws(case.loss)
    draws = torch.rand(7, shapes[1][0][0], dtype=torch.float64)

    same_draws(case.loss)

    agree(case, masks=(draws >= ratio).double().numpy())


def test_mgd__aligns_where_the_channels_differ() -> None:
    def names(own: int) -> set[str]:
        loss = MGD(student_shapes=((own, 4, 4),), teacher_shapes=((6, 4, 4),))
        return {name.split(".")[0] for name, p in loss.named_parameters() if p.requires_grad}

    assert names(6) == {"generation"}
    assert names(5) == {"align", "generation"}
