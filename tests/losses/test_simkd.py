import pytest

from kd_lab.losses.simkd import SimKD
from tests.reference.losses.simkd import reference

__all__ = ["reference"]

SHAPES = [(((7, 4, 4),), ((7, 4, 4),)), (((5,),), ((5,),))]


def test_simkd__factor_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `factor` to be > 0, but got 0\.0\."):
        SimKD(student_shapes=((5,),), teacher_shapes=((5,),), factor=0)
