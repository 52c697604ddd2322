"""What every learning-rate schedule must keep: one suite over everything in conf/schedule."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.plugins import arguments, settings, target, with_target

Schedule = Callable[..., float]
NAMES = with_target("schedule")
TOTALS = [1, 2, 3, 10, 997]
OF_TRAINING = ("base", "total_steps", "warmup_steps")

pytestmark = pytest.mark.parametrize("name", NAMES)


def schedule(name: str) -> Schedule:
    """The function with the settings that its YAML ships with, warm-up left to the caller."""
    content: dict[str, Any] = settings("schedule", name)
    function = target(content)
    own = {key: v for key, v in arguments("schedule", content).items() if key not in OF_TRAINING}
    return lambda step, **of_training: function(step, **own, **of_training)


def test_yaml__is_partial_and_has_no_warmup_unless_asked(name: str) -> None:
    content = settings("schedule", name)

    assert content["_partial_"] is True
    assert content["warmup_steps"] == 0


def test_signature__is_the_step_then_keywords(name: str) -> None:
    parameters = inspect.signature(target(settings("schedule", name))).parameters

    assert next(iter(parameters)) == "step"
    assert set(OF_TRAINING) < set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[1:])


@pytest.mark.parametrize("total_steps", TOTALS)
def test_rate__is_positive_finite_and_never_above_the_base(name: str, total_steps: int) -> None:
    rate = schedule(name)
    rates = [rate(step, base=0.1, total_steps=total_steps) for step in range(total_steps)]

    assert all(type(r) is float and math.isfinite(r) and 0 < r <= 0.1 for r in rates)


@pytest.mark.parametrize("total_steps", TOTALS)
def test_rate__starts_at_the_base(name: str, total_steps: int) -> None:
    assert schedule(name)(0, base=0.1, total_steps=total_steps) == 0.1


@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(1, 4), (1, 10), (5, 10), (50, 997)])
def test_warmup__is_linear_and_ends_at_the_base(name: str, warmup_steps: int, total_steps: int) -> None:
    rate = schedule(name)

    rates = [
        rate(step, base=0.1, total_steps=total_steps, warmup_steps=warmup_steps) for step in range(warmup_steps + 1)
    ]

    increment = 0.1 / (warmup_steps + 1)
    assert rates == pytest.approx([increment * (step + 1) for step in range(warmup_steps + 1)])


def test_rate__scales_with_the_base_when_it_has_its_own_shape(name: str) -> None:
    """All but the article's inverse_time, whose decay follows the base, keep their shape."""
    rate = schedule(name)
    small, large = (
        [rate(step, base=lr, total_steps=20, warmup_steps=3) / lr for step in range(20)] for lr in (1e-3, 1.0)
    )

    assert (small == pytest.approx(large, rel=1e-9)) is (name != "inverse_time")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": -1.0}, "Expected `base`"),
        ({"total_steps": 0}, "Expected `total_steps`"),
        ({"warmup_steps": 4}, "Expected `warmup_steps`"),
        ({"step": 5}, "Expected `step`"),
    ],
)
def test_settings__out_of_range_are_refused(name: str, wrong: dict[str, float], message: str) -> None:
    good: dict[str, float] = {"step": 0, "base": 0.1, "total_steps": 4, "warmup_steps": 0}

    with pytest.raises(ValueError, match=message):
        schedule(name)(**(good | wrong))
