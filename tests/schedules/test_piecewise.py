from functools import partial

import numpy as np
import pytest

from kd_lab.schedules.cosine import cosine
from kd_lab.schedules.piecewise import piecewise


def test_piecewise__table() -> None:
    value = partial(piecewise, base=8.0, total_steps=8, milestones=[0.25, 0.5], factors=[1.25, 0.5])

    assert [value(step) for step in range(9)] == [8.0, 8.0, 10.0, 10.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_piecewise__a_milestone_is_the_step_that_it_was_made_of() -> None:
    """What a round of 19 steps in 2033 is written as, is read as that step."""
    for step in (19, 209, 1026, 2014):
        values = [
            piecewise(s, base=1.0, total_steps=2033, milestones=[step / 2033], factors=[2.0]) for s in (step - 1, step)
        ]
        assert values == [1.0, 2.0]


def test_piecewise__under_a_schedule__each_piece_is_that_of_its_own_base() -> None:
    value = partial(piecewise, base=2.0, total_steps=10, milestones=[0.5], factors=[3.0], under=cosine)
    steps = np.arange(10)
    waves = (1 + np.cos(np.pi * steps / 10)) / 2

    assert [value(int(s)) for s in steps] == pytest.approx(np.where(steps < 5, 2.0, 6.0) * waves)


def test_piecewise__a_factor_of_0_is_0_under_any_schedule() -> None:
    assert piecewise(9, base=2.0, total_steps=10, milestones=[0.5], factors=[0.0], under=cosine) == 0


@pytest.mark.parametrize("milestones", [[0.0], [1.0], [0.5, 0.5], [0.7, 0.3]])
def test_piecewise__bad_milestones_are_refused(milestones: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`milestones` to be fractions of the training.*but got \["):
        piecewise(0, base=1.0, total_steps=10, milestones=milestones, factors=[1.0] * len(milestones))


@pytest.mark.parametrize("factors", [[], [1.0, 1.0], [-0.1], [float("inf")]])
def test_piecewise__bad_factors_are_refused(factors: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`factors` to be 1 finite numbers >= 0.*but got \["):
        piecewise(0, base=1.0, total_steps=10, milestones=[0.5], factors=factors)
