import pytest
import torch

from kd_lab.losses.vid import SMALLEST_VARIANCE, VID
from kd_lab.types import Outputs
from tests.contracts.loss_cases import STAGES, Case

SHAPES = [
    STAGES,
    (((3, 5, 7),), ((4, 5, 7),)),
    (((3, 8, 8),), ((4, 4, 4),)),  # the student's map is the larger one
    (((3, 2, 3),), ((2, 5, 5),)),
    (((3, 9),), ((5, 4),)),  # sequences
    (((5,), (4,)), ((7,), (6,))),  # vectors
    (((3, 7, 4),), ((4, 3, 6),)),  # along one axis larger, along the other smaller
    (((3, 4),), ((5, 9),)),
]
SETTINGS = [{"initial_variance": 0.5}, {"initial_variance": 60.0}]
REFUSED = [
    ({"initial_variance": 0.0}, "Expected `initial_variance` to be > 0, but got 0.0"),
    ({"initial_variance": 1e-6}, "Expected `initial_variance` to be > 1e-05, but got 1e-06"),
    ({"shapes": (((32,),), ((8, 4, 4),))}, r"as many axes, but got \[32\] and \[8, 4, 4\]\."),
]


def test_vid__mean_of_zero_leaves_the_teachers_own_squares() -> None:
    """m = 0: [mean f_t^2 / v + log v] / 2, here with f_t = 2 everywhere and v = 5: (4/5 + log 5) / 2 = 1.2047190."""
    case = Case.of("vid", (((3, 2, 2),), ((4, 2, 2),)))
    with torch.no_grad():
        for weight in case.loss.means.parameters():
            weight.zero_()
    case.teacher = Outputs(case.teacher.logits, (torch.full_like(case.teacher.features[0], 2.0),))

    assert case.value().item() == pytest.approx(1.2047190, rel=1e-7)


@pytest.mark.parametrize("variance", [2e-5, 5.0, 2000.0])
def test_vid__starts_at_the_initial_variance(variance: float) -> None:
    loss = VID(student_shapes=((3,),), teacher_shapes=((4,),), initial_variance=variance)

    (raw,) = loss.raw_variances
    assert raw.shape == (4,)
    found = torch.nn.functional.softplus(raw.double()) + SMALLEST_VARIANCE
    torch.testing.assert_close(found, torch.full((4,), variance, dtype=torch.float64), rtol=1e-5, atol=0)
    assert loss.readings()["last_variance"] == pytest.approx(variance, rel=1e-5)
