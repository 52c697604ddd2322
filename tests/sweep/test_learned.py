"""A learned schedule as settings of a job: the values that a training is given, step by step."""

from typing import Any

import pytest

from kd_lab.errors import UserError
from kd_lab.job.settings import Settings
from kd_lab.sweep.learned import RATE, check_keys, with_schedule
from tests.job.composed import config, plan

VALUES = [
    {"loss.temperature": 4.0, "loss.hard_weight": 0.5, RATE: 0.01},
    {"loss.temperature": 4.8, "loss.hard_weight": 0.5, RATE: 0.008},
    {"loss.temperature": 4.8, "loss.hard_weight": 0.5, RATE: 0.01},
]
FIRST = [f"{key}={value}" for key, value in VALUES[0].items()]
JOB = ["dataset=synthetic", "teacher=mlp", "student.recipe.steps=100", "student/recipe/schedule=constant"]


def test_with_schedule__each_value_changes_at_its_milestones() -> None:
    from kd_lab.job.ready import ready

    found = ready(Settings.of(with_schedule(config(*JOB, *FIRST), [0.25, 0.5], VALUES)))
    assert found.built is not None
    objective, recipe = found.built.bound.objective, found.settings.student.recipe
    rate = found.recipe("student.recipe", recipe, len(found.student_rows())).schedule
    seen = []
    for step in (0, 24, 25, 49, 50, 99):
        objective.at_step(step, 100)
        seen.append((objective.losses["kd"].temperature, objective.hard_weight, rate(step, base=0.01, total_steps=100)))

    assert seen == [
        (4.0, 0.5, 0.01),
        (4.0, 0.5, 0.01),
        (pytest.approx(4.8), 0.5, pytest.approx(0.008)),
        (pytest.approx(4.8), 0.5, pytest.approx(0.008)),
        (pytest.approx(4.8), 0.5, 0.01),
        (pytest.approx(4.8), 0.5, 0.01),
    ]


def test_with_schedule__what_never_changes_is_the_plain_job() -> None:
    plain = config(*JOB, *FIRST)

    assert with_schedule(plain, [0.5], [VALUES[0], VALUES[0]]) == plain
    followed = with_schedule(plain, [0.5], [VALUES[0], VALUES[0]], followed=True)
    assert followed["loss"]["schedules"].keys() == {"temperature", "hard_weight"}
    assert plan(*JOB, *FIRST).specs.job_key() != "", "and it is a job that can be run"


def test_with_schedule__of_one_of_several_losses() -> None:
    job = config(*JOB, "loss=[kd,rkd]", "loss.terms.rkd.weight=0.5")
    found = with_schedule(job, [0.5], [{"loss.terms.rkd.weight": 0.5}, {"loss.terms.rkd.weight": 0.25}])

    terms = Settings.of(found).loss.terms
    assert terms["rkd"].schedules["weight"]["factors"] == [0.5]
    assert terms["kd"].schedules == {}


@pytest.mark.parametrize(
    ("job", "key", "told"),
    [
        ([], "student.widths", r"student\.widths: cannot change in the middle of a training; sweep=pbt searches"),
        ([], "student.recipe.batch_size", "cannot change in the middle of a training"),
        (["loss.schedules.temperature=cosine"], "loss.temperature", "follows a schedule already"),
    ],
)
def test_keys__that_cannot_change__refused(job: list[str], key: str, told: str) -> None:
    composed: dict[str, Any] = config(*JOB, *job)
    check_keys(composed, ["loss.hard_weight", RATE])
    with pytest.raises(UserError, match=told):
        check_keys(composed, [key])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            ["loss.temperature", "loss.hard_weight", RATE],
            "strategy=annealing: has terms of its own in the loss's place, so moving loss.hard_weight, "
            "loss.temperature changes nothing; expected another strategy, or KEY=VALUE to fix each",
        ),
        ([RATE], ""),
    ],
)
def test_strategy_in_the_losss_place__leaves_nothing_of_the_loss_to_move(keys: list[str], told: str) -> None:
    from kd_lab.sweep.trial import check_trials

    values = {key: VALUES[0][key] for key in keys}
    job = config(*JOB, *FIRST, "strategy=annealing", "dataset.validation=20")
    (checked,) = check_trials([with_schedule(job, [0.5], [values, values], followed=True)], 2)
    assert checked.reason == told
