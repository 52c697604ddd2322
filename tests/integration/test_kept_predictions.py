"""What every trained network answered to each test sample, read back and compared with what its run logged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lab import names
from kd_lab.analysis.curves import curves
from kd_lab.analysis.predictions import bins, predictions
from kd_lab.analysis.runs import pairs, runs

Command = Callable[..., Any]


@pytest.mark.slow
def test_predictions__of_all_three_roles_agree_with_what_was_logged(kd_lab: Command, small: list[str]) -> None:
    assert kd_lab("dataset=synthetic", *small).code == 0
    uri = f"sqlite:///{Path('mlflow.db').absolute()}"
    frame = runs("synthetic", uri)
    answers = {run["role"]: predictions(run["run_id"], uri) for _, run in frame.iterrows()}
    for _, run in frame.iterrows():
        found = answers[run["role"]]
        assert (found["predicted"] == found["target"]).mean() == run[names.TEST_ACCURACY_TOP1]
        assert bins(found).ece == pytest.approx(run[names.TEST_ECE], abs=1e-12)
        assert -np.log(found["target_probability"]).mean() == pytest.approx(run[names.TEST_NLL_NATS], rel=1e-12)
        classes = found[[names.sample_probability(k) for k in range(10)]].to_numpy()
        np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(classes.max(axis=1), found["confidence"], rtol=1e-6)
        assert (classes[np.arange(len(found)), found["predicted"]] == classes.max(axis=1)).all()
    assert set(answers) == {"teacher", "baseline", "student"}
    # The same samples in the same order, so that student and teacher can be laid side by side.
    for found in answers.values():
        assert found[["index", "target"]].equals(answers["teacher"][["index", "target"]])
    same = (answers["student"]["predicted"] == answers["teacher"]["predicted"]).mean()
    student = pairs(frame).iloc[0]
    assert same == student[f"student.{names.TEST_AGREEMENT_TOP1}"]
    assert curves([student["student_run"]], names.train_loss("kd"), uri)["step"].max() == 60
