"""`checkpoint.keep=both` and early stopping, as a command line asks for them."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kd_lab import names
from tests.integration.conftest import SMALL, kd_lab  # noqa: F401

LINE = ["dataset=synthetic", "dataset.validation=40", "checkpoint.keep=both", "study=best", *SMALL]


def runs(folder: Path) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    study = client.get_experiment_by_name("best")
    assert study is not None
    return {run.data.tags["role"]: run for run in client.search_runs([study.experiment_id])}


@pytest.mark.slow
def test_best__is_measured_under_names_of_its_own_and_again_by_evaluate(kd_lab: Any, tmp_path: Path) -> None:  # noqa: F811
    done = kd_lab(*LINE)
    assert done.code == 0, done
    assert "best epoch on validation" in done.out
    found = runs(tmp_path)
    for run in found.values():
        metrics = run.data.metrics
        assert {"test/best_accuracy_top1", "test/best_nll_nats", names.TEST_ACCURACY_TOP1} <= metrics.keys()
        assert metrics[names.VAL_BEST_ACCURACY_TOP1] >= metrics[names.VAL_ACCURACY_TOP1]
        assert metrics[names.VAL_BEST_EPOCH] >= 1
        assert not any(key.startswith("cost/best") for key in metrics)
    student = found["student"]
    assert "test/best_kl_teacher_student_nats" in student.data.metrics
    assert "test/best_gap_recovered" not in student.data.metrics

    again = kd_lab(f"evaluate run={student.info.run_id} weights=best")
    assert again.code == 0, again
    assert f"best epoch ({student.data.metrics[names.VAL_BEST_EPOCH]:.0f})" in again.out
    row = next(line for line in again.out.splitlines() if "NLL" in line)
    recorded, here = re.findall(r"\d+\.\d+", row)[:2]
    assert recorded == here == f"{student.data.metrics['test/best_nll_nats']:.3f}"

    second = kd_lab(*LINE, "seed=1")
    assert second.code == 0, second
    assert "found again and verified" in second.err + second.out


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "checkpoint.keep=both",
            "kd-lab: checkpoint.keep=both: needs a validation part, and there is none; expected one",
        ),
        ("student.recipe.early_stopping=3", "kd-lab: student.recipe.early_stopping=3: needs a validation part, and"),
        ("checkpoint.keep=best", "kd-lab: checkpoint.keep=best: expected 'last' or 'both'"),
        ("student.recipe.early_stopping=0", "kd-lab: student.recipe.early_stopping=0: expected a value greater than 0"),
    ],
)
def test_best__what_cannot_be_is_a_sentence(kd_lab: Any, tmp_path: Path, said: str, sentence: str) -> None:  # noqa: F811
    done = kd_lab("dataset=synthetic dataset.validation=0", said, *SMALL)
    assert done.code == 2
    assert done.err.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_evaluate__weights_that_were_not_kept(kd_lab: Any, tmp_path: Path) -> None:  # noqa: F811
    assert kd_lab("dataset=synthetic study=best teacher=none loss=none", *SMALL).code == 0
    run = runs(tmp_path)["student"].info.run_id
    done = kd_lab(f"evaluate run={run} weights=best")
    assert done.code == 2
    assert "weights_best.safetensors" in done.err
    wrong = kd_lab(f"evaluate run={run} weights=first")
    assert wrong.err.strip() == "kd-lab: weights=first: expected last, or best (runs with checkpoint.keep=both)"


@pytest.mark.slow
def test_early_stopping__says_when_and_the_budgets_that_differ(kd_lab: Any, tmp_path: Path) -> None:  # noqa: F811
    stopped = ["student.recipe.early_stopping=1", "student.recipe.optimizer.lr=1e-9", "student.recipe.steps=400"]
    line = [one for one in LINE if not one.startswith("checkpoint")]
    done = kd_lab(*line, *stopped, "baseline.recipe.early_stopping=1000")
    assert done.code == 0, done
    told = r"student: stopped after epoch 2, \d+ steps: no better on the validation part for 1 epochs"
    assert re.search(told, done.out)
    steps = {role: run.data.metrics[names.COST_TRAIN_STEPS] for role, run in runs(tmp_path).items()}
    assert steps["student"] < steps["baseline"] == 400
    assert "Not the same budget" in done.out
