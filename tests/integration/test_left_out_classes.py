"""`student.without_classes`: the student and its baseline never see a class that the teacher knows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_lab import names
from kd_lab.analysis.predictions import predictions
from kd_lab.analysis.runs import pairs, runs
from kd_lab.analysis.studies.omitted import omitted_class
from kd_lab.job.plan import Plan
from tests.job.composed import plan

LINE = "dataset.labels=null teacher=mlp teacher.recipe.steps=150 teacher.recipe.augment=false"
SHORT = ["student.recipe.steps=60", "measure.latency_runs=5", "measure.latency_warmup=1", "measure.figures=false"]
WITHOUT = "student.without_classes=[3]"


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_left_out__is_never_answered_though_the_teacher_knows_it(kd_lab: Callable[..., Any]) -> None:
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    said = kd_lab(LINE, *SHORT, WITHOUT)
    assert said.code == 0, said
    assert "student and baseline see no sample of class 3: 1,075 of 1,197 training points" in said.out
    table = pairs(runs("digits", uri))
    assert omitted_class(table, "this") == 3
    row = table.iloc[0]
    recall = {}
    for role in names.ROLES:
        kept = predictions(row[f"{role}_run"], uri)
        recall[role] = (kept["predicted"] == 3)[kept["target"] == 3].mean()
    assert recall["baseline"] == 0
    assert recall["teacher"] > 0.7

    # The baseline without the class is not the one that saw it, and is found again by those that miss it too.
    assert kd_lab(LINE, *SHORT).code == 0
    said = kd_lab(LINE, *SHORT, WITHOUT, "loss=soft_label")
    assert f"baseline: run {row['baseline_run'][:8]} found again" in said.out
    table = pairs(runs("digits", uri))
    assert table["teacher_run"].nunique() == 1
    assert table["baseline_run"].nunique() == 2
    assert table["params.student.without_classes"].isna().sum() == 1


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "points"), [("kd", 1075), ("label_smoothing", 1075)])
def test_left_out__rows_steps_and_key(loss: str, points: int) -> None:
    """The digits have 122 threes among 1197 points for training."""
    line = [f"loss={loss}", "dataset.labels=null", "student.recipe.epochs=2"]
    made, whole = plan(*line, WITHOUT), plan(*line)
    assert len(made.student_rows()) == len(made.seen.train) == points
    assert not (made.data.targets[made.student_rows()] == 3).any()
    assert (made.data.targets[made.data.train] == 3).sum() == 122  # the teacher's
    assert made.student_steps() == 2 * 17
    keys, of_whole, twice = map(_keys, (made, whole, plan(*line, "student.without_classes=[3,3]")))
    assert keys == twice
    assert keys[0] == of_whole[0]
    assert keys[1] != of_whole[1]
    assert keys[2] != of_whole[2]


def _keys(made: Plan) -> tuple[str, ...]:
    """Of teacher, baseline and student."""
    specs = made.specs
    assert specs.teacher is not None
    steps = {"recipe": specs.student.recipe.model_copy(update={"steps": 7})}  # so that their number is no difference
    alone, student = (replace(one, **steps) for one in (specs.baseline or specs.student, specs.student))
    return tuple(map(specs.world.key, (specs.teacher, alone, student)))


def test_left_out__a_batch_larger_than_what_is_left() -> None:
    from kd_lab.errors import UserError

    left = "student.without_classes=[0,1,2,3,4,5,6,7,8]"
    with pytest.raises(UserError, match=r"student\.recipe\.batch_size=200: larger than the 120 samples"):
        plan("dataset.labels=null", left, "student.recipe.batch_size=200", "student.recipe.epochs=1")
