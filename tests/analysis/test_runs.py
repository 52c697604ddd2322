import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kd_lab.analysis.runs import bootstrap_interval, column, pairs, runs, sweep_summary
from kd_lab.errors import UserError
from kd_lab.names import (
    TEST_ACCURACY_TOP1,
    TEST_NLL_NATS,
)
from kd_lab.tracking.store import Store
from tests.analysis.conftest import write

STUDENT_ACCURACY = column("student", TEST_ACCURACY_TOP1)
BASELINE_ACCURACY = column("baseline", TEST_ACCURACY_TOP1)


def test_runs__one_row_per_network_and_the_teacher_of_another_study(uri):
    frame = runs("digits", uri)
    assert frame["role"].value_counts().to_dict() == {"student": 7, "baseline": 3, "teacher": 1}
    assert frame.set_index("role").loc["teacher", "study"] == "earlier"
    assert frame["run_id"].is_unique


def test_runs__no_study__all_studies(uri):
    assert runs(uri=uri)["role"].value_counts().to_dict() == {"student": 7, "baseline": 3, "teacher": 2}


def test_runs__identity(uri):
    frame = runs("digits", uri)
    teacher = frame[frame["role"] == "teacher"].iloc[0]
    assert (teacher["seed"], teacher["dataset"], teacher["network"]) == (100, "digits", "3 x cnn")
    student = frame[(frame["role"] == "student") & (frame["loss"] == "kd") & (frame["seed"] == 2)].iloc[0]
    assert (student["network"], student["status"], student["name"]) == ("mlp", "FINISHED", "student seed 2")
    assert student[TEST_ACCURACY_TOP1] == pytest.approx(0.92 + 0.04 + 0.002)
    assert set(frame.loc[frame["role"] == "baseline", "loss"]) == {"none"}


def test_runs__only_params_that_differ(uri):
    names = [name for name in runs("digits", uri).columns if name.startswith("params.")]
    assert "params.loss.terms.kd.temperature" not in names
    assert "params.teacher.size" not in names
    assert "params.seed" not in names


def test_runs__a_parameter_that_only_some_runs_of_a_loss_have__differs(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store.open(uri, "z")
    kd = {"_target_": "kd_lab.losses.kd.KD"}
    for term in (kd, kd | {"standardize": True}):
        write(store, "student", seed=0, params={"loss": {"terms": {"kd": term}}}, measured={}, tags={})

    frame = runs("z", uri)

    assert [name for name in frame if name.startswith("params.")] == ["params.loss.terms.kd.standardize"]
    assert frame["params.loss.terms.kd.standardize"].fillna("-").tolist() == ["true", "-"]


def test_runs__newest_first(uri):
    frame = runs("digits", uri)
    own = frame[frame["study"] == "digits"]["start_time"]
    assert own.is_monotonic_decreasing
    assert frame.iloc[0]["status"] == "FAILED"


def test_runs__more_than_one_page(uri, monkeypatch):
    from mlflow import MlflowClient

    search = MlflowClient.search_runs
    monkeypatch.setattr(
        MlflowClient, "search_runs", lambda *args, **settings: search(*args, **(settings | {"max_results": 2}))
    )
    assert len(runs("digits", uri)) == 11


def test_runs__unknown_study__user_error(uri):
    with pytest.raises(UserError, match=r"^study=digit: .*mlflow\.db has no such study; did you mean digits\?"):
        runs("digit", uri)


def test_runs__study_without_runs__user_error(uri):
    with pytest.raises(UserError, match=r"^study=Default: there are no runs of trained networks yet"):
        runs("Default", uri)


def test_runs__no_store__user_error_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^tracking\.uri=sqlite:///mlflow\.db: there is no file .*run kd-lab first"):
        runs("digits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a database at all, and longer than its header is" * 10])
def test_runs__another_file__user_error_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an MLflow store"):
        runs(uri=f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_runs__schema_of_another_version__user_error(uri, tmp_path):
    path = tmp_path / "x.db"
    shutil.copyfile(Path(uri.removeprefix("sqlite:///")), path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: this store cannot be read"):
        runs(uri=f"sqlite:///{path}")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:./mlruns"])
def test_runs__other_addresses__user_error(uri):
    with pytest.raises(UserError, match=rf"^tracking\.uri={uri}: "):
        runs(uri=uri)


def test_analysis__imports_no_torch(uri):
    code = f"""
import sys
from kd_lab.analysis import figures
from kd_lab.analysis.runs import pairs, runs
pairs(runs("digits", {uri!r}))
print([name for name in ("torch", "pytorch_lightning", "matplotlib.pyplot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pairs__each_student_beside_its_own(uri):
    table = pairs(runs("digits", uri))
    assert len(table) == 7
    row = table[(table["loss"] == "kd") & (table["seed"] == 1)].iloc[0]
    assert row[STUDENT_ACCURACY] == pytest.approx(0.951)
    assert row[BASELINE_ACCURACY] == pytest.approx(0.91)
    assert row[column("teacher", TEST_ACCURACY_TOP1)] == pytest.approx(0.96)
    assert row["teacher_network"] == "3 x cnn"
    failed = table[table["status"] == "FAILED"].iloc[0]
    assert np.isnan(failed[BASELINE_ACCURACY])


def test_pairs__no_student__user_error(uri):
    frame = runs("digits", uri)
    with pytest.raises(UserError, match="no run with role=student"):
        pairs(frame[frame["role"] == "teacher"])


def test_sweep_summary__means_spread_and_paired_difference(uri):
    summary = sweep_summary(pairs(runs("digits", uri))).set_index("loss")
    assert list(summary.index) == ["kd", "soft_label"]
    kd = summary.loc["kd"]
    assert (kd["n"], kd["n_pairs"], kd["wins"]) == (3, 3, 3)
    assert kd["student_mean"] == pytest.approx(0.951)
    assert kd["student_sd"] == pytest.approx(0.011)
    assert kd["baseline_mean"] == pytest.approx(0.91)
    assert kd["baseline_sd"] == pytest.approx(0.01)
    assert kd["teacher_mean"] == pytest.approx(0.96)
    assert kd["difference_mean"] == pytest.approx(0.041)
    assert 0.040 - 1e-9 <= kd["difference_low"] < 0.041 < kd["difference_high"] <= 0.042 + 1e-9


def table(**columns):
    size = len(columns["student"])
    start = {"status": "FINISHED", "dataset": "digits", "network": "mlp", "loss": "kd", "seed": range(size)}
    frame = pd.DataFrame(start | {"start_time": pd.to_datetime(range(size), unit="s")}, index=range(size))
    for role in ("teacher", "baseline", "student"):
        frame[column(role, TEST_ACCURACY_TOP1)] = columns.pop(role, np.nan)
    return frame.assign(**columns)


def test_sweep_summary__a_parameter_that_differs__a_setting_of_its_own():
    frame = table(
        student=[0.9, 0.8, 0.7, 0.6], seed=[0, 1, 0, 1], **{"params.loss.terms.kd.temperature": ["1", "1", "4", "4"]}
    )
    summary = sweep_summary(frame)
    assert list(summary["params.loss.terms.kd.temperature"]) == ["1", "4"]
    assert list(summary["n"]) == [2, 2]
    assert list(summary["student_mean"]) == pytest.approx([0.85, 0.65])


def test_sweep_summary__data_seeds__are_repetitions():
    frame = table(student=[0.9, 0.8], seed=[0, 0], **{"params.dataset.seed": ["0", "1"]})
    assert list(sweep_summary(frame)["n"]) == [2]


def test_sweep_summary__same_setting_and_seed_twice__newer_counts():
    summary = sweep_summary(table(student=[0.5, 0.9], seed=[0, 0]))
    assert (summary.loc[0, "n"], summary.loc[0, "student_mean"]) == (1, 0.9)


def test_sweep_summary__unfinished__left_out():
    frame = table(student=[0.9, 0.1], status=["FINISHED", "FAILED"])
    assert sweep_summary(frame).loc[0, "student_mean"] == 0.9
    with pytest.raises(UserError, match="No finished student"):
        sweep_summary(frame.assign(status="FAILED"))


def test_sweep_summary__lower_is_better__wins_counted_so():
    frame = table(student=[0.1, 0.3], baseline=[0.2, 0.2])
    assert sweep_summary(frame, higher_is_better=False).loc[0, "wins"] == 1
    assert sweep_summary(table(student=[0.1, 0.1], baseline=[0.2, 0.2]), higher_is_better=False).loc[0, "wins"] == 2


def test_sweep_summary__without_baseline__no_difference():
    row = sweep_summary(table(student=[0.9, 0.8])).loc[0]
    assert (row["n"], row["n_pairs"], row["wins"]) == (2, 0, 0)
    assert np.isnan(row["difference_mean"])
    assert np.isnan(row["difference_low"])


def test_sweep_summary__other_metric(uri):
    summary = sweep_summary(pairs(runs("digits", uri)), TEST_NLL_NATS).set_index("loss")
    assert summary.loc["kd", "student_mean"] == pytest.approx(0.2)
    with pytest.raises(UserError, match=r"No run has the metric test/nll; did you mean test/nll_nats\?"):
        sweep_summary(pairs(runs("digits", uri)), "test/nll")


def test_sweep_summary__own_setting__what_was_asked(uri):
    summary = sweep_summary(pairs(runs("digits", uri)), by=["study", "seed"])
    assert list(summary["seed"]) == [0, 1, 2]


def test_bootstrap_interval__two_values__the_known_distribution():
    """Of two values the mean of a resample is low, middle or high with probability 1/4, 1/2, 1/4."""
    assert bootstrap_interval(np.array([0.0, 1.0]), np.random.default_rng(0)) == (0.0, 1.0)


def test_bootstrap_interval__normal_values__near_the_normal_interval():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(values, np.random.default_rng(0))
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_interval__seeded():
    values = np.array([0.1, 0.4, 0.2])
    first = bootstrap_interval(values, np.random.default_rng(0))
    assert bootstrap_interval(values, np.random.default_rng(0)) == first


def test_bootstrap_interval__one_value__none():
    assert np.isnan(bootstrap_interval(np.array([1.0]), np.random.default_rng(0))).all()
