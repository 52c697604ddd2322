"""What a schedule makes of the temperature of a loss, as the objective applies it."""

from functools import partial
from typing import Any

import pytest

from kd_lab.losses.dkd import DKD
from kd_lab.losses.kd import KD
from kd_lab.schedules.constant import constant
from kd_lab.schedules.cosine import cosine
from kd_lab.schedules.inverse_time import inverse_time
from kd_lab.schedules.multistep import multistep
from kd_lab.training.objective import Objective, Term
from tests.contracts.plugins import arguments, settings, target, with_target

STEPS = 1000


def shipped(name: str) -> Any:
    """As the YAML of the choice makes it."""
    content = settings("schedule", name)
    return partial(target(content), **arguments("schedule", content))


def moved(schedule: Any, setting: str = "temperature", base: float = 4.0) -> list[float]:
    loss = KD(temperature=base)
    objective = Objective({"kd": Term(loss, base, schedules={setting: schedule})}, 0.0)
    found = []
    for step in range(STEPS):
        objective.at_step(step, STEPS)
        found.append(objective.readings()[f"kd_{setting}"])
    return found


@pytest.mark.parametrize("name", with_target("schedule"))
def test_temperature__never_falls_below_1(name: str) -> None:
    found = moved(shipped(name))

    assert found[0] == 4.0
    assert min(found) >= 1.0


def test_temperature__cosine_ends_at_1_and_is_half_way_in_the_middle() -> None:
    found = moved(shipped("cosine"))

    assert found[STEPS // 2] == pytest.approx(2.5)
    assert found[-1] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("final", [0.5, 2.0])
def test_temperature__ends_where_it_is_told_to(final: float) -> None:
    assert moved(partial(cosine, final=final))[-1] == pytest.approx(final, abs=1e-4)


def test_temperature__other_settings_still_fall_to_0() -> None:
    assert moved(shipped("cosine"), "weight")[-1] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("schedule", [cosine, inverse_time, partial(multistep, milestones=[0.5])])
def test_temperature__of_1_has_nowhere_to_fall(schedule: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected the temperature of the term `dkd` to be > 1, .*, but got 1\.0\."):
        Objective({"dkd": Term(DKD(temperature=1.0), schedules={"temperature": schedule})}, 0.0)


def test_temperature__of_1_can_be_told_another_end() -> None:
    assert moved(partial(cosine, final=0.5), base=1.0)[-1] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("schedule", [constant, lambda step, *, base, total_steps: base * (1 - step / total_steps)])
def test_temperature__of_1_with_a_schedule_that_knows_no_end_is_left_to_it(schedule: Any) -> None:
    assert moved(schedule, base=1.0)[1] == schedule(1, base=1.0, total_steps=STEPS)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (partial(multistep, milestones=[0.25, 0.5], factor=0.5), [8.0, 4.0, 3.0, 3.0]),
        (partial(inverse_time, decay_rate=4.0), [8.0, 4.0, 3.0, 3.0]),
    ],
)
def test_final__is_not_fallen_below(schedule: Any, expected: list[float]) -> None:
    assert [schedule(step, base=8.0, total_steps=4, final=3.0) for step in range(4)] == expected


@pytest.mark.parametrize("schedule", [cosine, inverse_time, partial(multistep, milestones=[0.5])])
@pytest.mark.parametrize("final", [-1.0, 9.0, float("nan")])
def test_final__out_of_range_is_refused(schedule: Any, final: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `final` to be >= 0 and <= 8\.0 \(`base`\), but got {final}\."):
        schedule(0, base=8.0, total_steps=4, final=final)
