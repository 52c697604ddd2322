import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kd_lab import names
from kd_lab.losses.kd import KD
from kd_lab.schedules.constant import constant
from kd_lab.schedules.cosine import cosine
from kd_lab.schedules.inverse_time import inverse_time
from kd_lab.schedules.multistep import multistep
from kd_lab.training.objective import Objective, Term
from tests.training.toys import Lines, Plain, Spy, toy_recipe, train

BASE = 0.1

TABLES: dict[str, tuple[Callable[..., float], list[float]]] = {
    "constant": (constant, [0.1] * 8),
    "constant after a warm-up": (
        functools.partial(constant, warmup_steps=3),
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1],
    ),
    "cosine": (
        cosine,
        [0.1, 0.0961939766, 0.0853553391, 0.0691341716, 0.05, 0.0308658284, 0.0146446609, 0.0038060234],
    ),
    "inverse_time": (
        functools.partial(inverse_time, decay_rate=8.0),
        [0.1, 0.05, 0.0333333333, 0.025, 0.02, 0.0166666667, 0.0142857143, 0.0125],
    ),
    "multistep": (
        functools.partial(multistep, milestones=[0.25, 0.75]),
        [0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001],
    ),
}
"""The rate of each of eight steps, worked out by hand from the formula in the schedule's docstring."""


@pytest.mark.parametrize("name", TABLES)
def test_learning_rate__each_step_is_taken_with_the_rate_of_the_table(name: str) -> None:
    schedule, table = TABLES[name]
    spy = Spy(lr=BASE)

    train(Plain(), recipe=toy_recipe(spy, schedule=schedule, steps=8))  # 3 steps an epoch: the table spans epochs

    assert [rate for (rate,) in spy.rates] == pytest.approx(table, rel=1e-8)


def test_learning_rate__the_length_is_that_of_the_recipe_and_the_steps_count_from_zero() -> None:
    asked: list[tuple[int, int]] = []

    def noted(step: int, *, base: float, total_steps: int) -> float:
        asked.append((step, total_steps))
        return base

    train(Plain(), recipe=toy_recipe(schedule=noted, steps=5))

    assert list(dict.fromkeys(asked)) == [(step, 5) for step in range(5)]


def test_learning_rate__each_parameter_group_keeps_its_own_base_rate() -> None:
    class TwoGroups(torch.optim.SGD):
        def __init__(self, params: Any, lr: float) -> None:
            first, *others = params
            super().__init__([{"params": [first], "lr": 10 * lr}, {"params": others}], lr=lr)

    spy = Spy(TwoGroups, lr=BASE)

    train(Plain(), recipe=toy_recipe(spy, schedule=cosine, steps=4))

    factors = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert [first for first, _ in spy.rates] == pytest.approx([10 * BASE * f for f in factors])
    assert [second for _, second in spy.rates] == pytest.approx([BASE * f for f in factors])


@pytest.mark.parametrize("every", [1, 3])
def test_learning_rate__the_rate_in_the_curve_is_the_one_the_step_was_taken_with(every: int) -> None:
    spy, sink = Spy(lr=BASE), Lines()

    train(Plain(), recipe=toy_recipe(spy, schedule=cosine, steps=7), sink=sink, every=every)

    curve = sink.curve(names.TRAIN_LEARNING_RATE)
    assert list(curve) == {1: [1, 2, 3, 4, 5, 6, 7], 3: [3, 6, 7]}[every]
    assert curve == {step: spy.rates[step - 1][0] for step in curve}


def test_learning_rate__a_second_training_starts_from_the_base_rate_again() -> None:
    spies = [Spy(lr=BASE), Spy(lr=BASE)]
    network = Plain()
    for spy in spies:
        train(network, recipe=toy_recipe(spy, schedule=cosine, steps=4))
    assert spies[0].rates == spies[1].rates
    assert spies[1].rates[0] == [BASE]


def falling(step: int, *, base: float, total_steps: int) -> float:
    return base * (1 - step / total_steps)


def test_loss_schedule__sets_every_step_from_the_first_and_is_in_the_curves() -> None:
    sink = Lines()
    term = Term(KD(temperature=4.0), 1.0, schedules={"temperature": falling})

    train(Plain(), teacher=Plain(1), objective=Objective({"kd": term}, 0.1), recipe=toy_recipe(steps=4), sink=sink)

    assert sink.curve("train/kd_temperature") == {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}


def test_loss_schedule__nothing_scheduled_is_nothing_logged() -> None:
    sink = Lines()

    train(Plain(), teacher=Plain(1), recipe=toy_recipe(steps=2), sink=sink)

    assert {key for _, values in sink.points for key in values} == {
        "train/loss_total",
        "train/loss_hard",
        "train/loss_kd",
        "train/learning_rate",
    }
