"""The built-in demo on its fixed split: the bands of what was measured when it was designed."""

from collections.abc import Callable
from typing import Any

import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.runs import pairs, runs


@pytest.mark.slow
def test_demo__bands_of_the_fixed_split(kd_lab: Callable[..., Any], tmp_path: Any) -> None:
    assert kd_lab("seed=0").code == 0
    table = pairs(runs("digits", f"sqlite:///{tmp_path / 'mlflow.db'}"))
    teacher, alone, student = (
        table[column(role, names.TEST_ACCURACY_TOP1)] for role in ("teacher", "baseline", "student")
    )
    assert teacher.between(0.950, 0.975).all()
    assert alone.between(0.90, 0.94).all()
    assert student.between(0.943, 0.97).all()
    assert (student - alone >= 0.02).all()
    assert (table[column("student", names.TEST_AGREEMENT_TOP1)] >= 0.94).all()
    assert (table[column("student", names.TEST_KL_NATS)] <= 0.10).all()
    assert (table[column("baseline", names.TEST_KL_NATS)] >= 0.18).all()
    steps = table[[column(role, names.COST_TRAIN_STEPS) for role in ("teacher", "baseline", "student")]]
    assert (steps == [1200, 2033, 2033]).all().all()
