import math
from functools import partial

import pytest

from kd_lab.schedules.multistep import multistep


def test_multistep__table() -> None:
    rate = partial(multistep, base=8.0, total_steps=8, milestones=[0.5, 0.75], factor=0.25)

    assert [rate(step) for step in range(9)] == [8.0, 8.0, 8.0, 8.0, 2.0, 2.0, 0.5, 0.5, 0.5]


def test_multistep__crd_protocol_changes_at_150_180_and_210_of_240() -> None:
    rates = [multistep(s, base=0.05, total_steps=240, milestones=[0.625, 0.75, 0.875]) for s in range(240)]

    assert [s for s in range(1, 240) if rates[s] != rates[s - 1]] == [150, 180, 210]
    assert rates[-1] == pytest.approx(5e-5)


def test_multistep__fraction_is_rounded_to_the_nearest_step() -> None:
    """0.55 * 100 is 55.00000000000001 in floating point: the milestone is still step 55."""
    rates = [multistep(s, base=1.0, total_steps=100, milestones=[0.55], factor=0.5) for s in (54, 55)]

    assert rates == [1.0, 0.5]


def test_multistep__warms_up_first() -> None:
    rates = [multistep(s, base=1.0, total_steps=6, milestones=[0.5], factor=0.1, warmup_steps=1) for s in range(5)]

    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1])


@pytest.mark.parametrize("milestones", [[0.0], [1.0], [150.0], [0.5, 0.5], [0.7, 0.3], [math.nan]])
def test_multistep__bad_milestones_are_refused(milestones: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`milestones` to be fractions of the training.*but got \["):
        multistep(0, base=1.0, total_steps=10, milestones=milestones)


@pytest.mark.parametrize("factor", [0.0, -0.1, 1.5, math.nan])
def test_multistep__bad_factor_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=rf"`factor` to be > 0 and <= 1, but got {factor}\."):
        multistep(0, base=1.0, total_steps=10, milestones=[0.5], factor=factor)


def test_multistep__milestone_in_the_warmup_is_refused() -> None:
    message = r"after the 4 `warmup_steps`, but got 0\.2, which is step 2 of 10\."
    with pytest.raises(ValueError, match=message):
        multistep(0, base=1.0, total_steps=10, milestones=[0.2, 0.9], warmup_steps=4)
