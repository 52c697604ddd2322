import pytest
import torch

from kd_lab.losses.fitnet import FitNet
from tests.contracts.loss_cases import MAP
from tests.reference.losses.fitnet import reference

__all__ = ["reference"]

SHAPES = [
    MAP,
    (((3, 8, 8),), ((4, 4, 4),)),  # twice the resolution
    (((3, 2, 2),), ((4, 4, 4),)),  # half
    (((3, 7, 5),), ((4, 3, 3),)),  # neither, larger
    (((3, 3, 3),), ((4, 5, 7),)),  # neither, smaller
    (((3, 9),), ((4, 4),)),  # sequences
    (((3,),), ((4,),)),  # vectors
]


@pytest.mark.parametrize(("own", "theirs"), SHAPES)
def test_fitnet__the_regressor_gives_the_teachers_shape(
    own: tuple[tuple[int, ...]], theirs: tuple[tuple[int, ...]]
) -> None:
    loss = FitNet(student_shapes=own, teacher_shapes=theirs)
    feature = torch.randn(3, *own[0])
    if loss.resized:
        from kd_lab.losses.common.maps import at_resolution

        feature = at_resolution(feature, theirs[0][1:])

    assert loss.regressor(feature).shape == (3, *theirs[0])


def test_fitnet__other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected two layers with as many axes, but got \[32\] and \[8, 4, 4\]\."):
        FitNet(student_shapes=((32,),), teacher_shapes=((8, 4, 4),))
