import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.columns import column, each_run
from kd_lab.analysis.runs import first_study, pairs, runs, studies
from kd_lab.errors import UserError
from kd_lab.names import TEST_ACCURACY_TOP1
from kd_lab.store.store import Store
from tests.analysis.conftest import STUDENT_NODE, write

STUDENT_ACCURACY = column("student", TEST_ACCURACY_TOP1)
BASELINE_ACCURACY = column("baseline", TEST_ACCURACY_TOP1)


def test_runs__one_row_per_network_and_the_teacher_of_another_study(uri):
    frame = runs("digits", uri)
    assert frame["role"].value_counts().to_dict() == {"student": 7, "baseline": 3, "teacher": 1}
    assert frame.set_index("role").loc["teacher", "study"] == "earlier"
    assert frame["run_id"].is_unique


def test_runs__test_samples_of_runs_that_have_no_tag__from_their_datasets(uri):
    frame = runs("digits", uri)
    assert frame.loc[frame["fingerprint"].notna(), "test_samples"].tolist() == [597] * 6
    assert frame.loc[frame["fingerprint"].isna(), "test_samples"].isna().all()


def test_runs__code_and_test_samples__of_the_tags(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store.open(uri, "s")
    made = {names.TAG_CODE: "a1b2", names.TAG_TEST_SAMPLES: "360", names.TAG_DATA_FINGERPRINT: "x"}
    told = [made, made | {names.TAG_DATA_FINGERPRINT: "y", names.TAG_TEST_SAMPLES: "many"}, {}]
    for seed, tags in enumerate(told):
        write(store, "student", seed=seed, params={}, measured={}, tags=tags)
    table = pairs(runs("s", uri)).set_index("seed").sort_index()
    assert table["code"].fillna("-").tolist() == ["a1b2", "a1b2", "-"]
    assert table["test_samples"].fillna(0).tolist() == [360, 0, 0]


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


def test_runs__several_studies(uri):
    assert len(runs(["digits", "earlier"], uri)) == 12
    with pytest.raises(UserError, match=r"^study=mnist: .*has no such study; expected one of Default, digits, earlier"):
        runs(["digits", "mnist"], uri)


def test_studies__those_with_a_student(uri):
    assert studies(uri) == ["digits"]


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


def test_runs__tables_of_another_version__user_error(uri, tmp_path):
    path = tmp_path / "x.db"
    shutil.copyfile(Path(uri.removeprefix("sqlite:///")), path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE latest_metrics RENAME TO newest_metrics")
    with pytest.raises(
        UserError, match=r"^tracking\.uri=.*: this store cannot be read \(no such table: latest_metrics\)"
    ):
        runs(uri=f"sqlite:///{path}")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:./mlruns"])
def test_runs__other_addresses__user_error(uri):
    with pytest.raises(UserError, match=rf"^tracking\.uri={uri}: "):
        runs(uri=uri)


def test_analysis__imports_no_torch(uri):
    code = f"""
import sys
from kd_lab.analysis.studies.figures import roles
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


def two_teachers(folder: Path, *, of_students: bool) -> pd.DataFrame:
    """Pairs of two students that share a baseline and have a teacher each, as runs are made now or were before."""
    uri = f"sqlite:///{folder}/mlflow.db"
    store = Store.open(uri, "s")
    own = {names.TEST_AGREEMENT_TOP1: 0.70, names.TEST_KL_NATS: 0.5}
    first = {names.TAG_TEACHER_WEIGHTS_SHA256: "first"}
    baseline = write(store, "baseline", seed=0, params={}, measured={} if of_students else own, tags=first)
    for teacher, agreement in (("first", 0.71), ("second", 0.72)):
        measured = {names.TEST_AGREEMENT_TOP1: 0.9, names.TEST_KL_NATS: 0.1}
        if of_students:
            measured |= {names.TEST_ALONE_AGREEMENT_TOP1: agreement, names.TEST_ALONE_KL_NATS: 1 - agreement}
        tags = {names.TAG_BASELINE_RUN: baseline, names.TAG_TEACHER_WEIGHTS_SHA256: teacher}
        write(store, "student", seed=0, params={}, measured=measured, tags=tags)
    return pairs(runs("s", uri)).set_index("teacher_weights")


def test_pairs__fidelity_of_the_student_alone__to_the_teacher_of_the_student_beside_it(tmp_path):
    table = two_teachers(tmp_path, of_students=True)
    assert table[column("baseline", names.TEST_AGREEMENT_TOP1)].to_dict() == {"first": 0.71, "second": 0.72}
    assert table[column("baseline", names.TEST_KL_NATS)].to_dict() == pytest.approx({"first": 0.29, "second": 0.28})
    assert table[column("student", names.TEST_AGREEMENT_TOP1)].tolist() == [0.9, 0.9]
    assert not [name for name in table if "alone" in name]


def test_pairs__fidelity_on_a_baselines_own_run__only_where_it_is_to_the_same_teacher(tmp_path):
    table = two_teachers(tmp_path, of_students=False)
    for key, of_first in ((names.TEST_AGREEMENT_TOP1, 0.70), (names.TEST_KL_NATS, 0.5)):
        told = table[column("baseline", key)]
        assert told["first"] == of_first
        assert np.isnan(told["second"])


def test_pairs__fidelity_on_the_run_of_a_baseline_that_names_no_teacher__not_told(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store.open(uri, "s")
    own = {names.TEST_AGREEMENT_TOP1: 0.70}
    tags = {names.TAG_BASELINE_RUN: write(store, "baseline", seed=0, params={}, measured=own, tags={})}
    write(store, "student", seed=0, params={}, measured={names.TEST_AGREEMENT_TOP1: 0.9}, tags=tags)
    assert pairs(runs("s", uri))[column("baseline", names.TEST_AGREEMENT_TOP1)].isna().all()


def test_each_run__fidelity_of_a_baseline_is_one_to_each_teacher(tmp_path):
    table = two_teachers(tmp_path, of_students=True).reset_index()
    assert len(each_run(table, "baseline")) == len(each_run(table, "baseline", names.TEST_NLL_NATS)) == 1
    assert len(each_run(table, "baseline", names.TEST_AGREEMENT_TOP1)) == 2
    twice = pd.concat([table, table], ignore_index=True)
    assert len(each_run(twice, "baseline", names.TEST_AGREEMENT_TOP1)) == 2


def test_pairs__no_student__user_error(uri):
    frame = runs("digits", uri)
    with pytest.raises(UserError, match="no run with role=student"):
        pairs(frame[frame["role"] == "teacher"])


def test_first_study__the_first_that_is_there(uri):
    assert first_study(["nowhere", "digits"], uri, "kd-lab -m") == "digits"


def test_first_study__none__user_error_with_the_command(uri):
    with pytest.raises(UserError, match=r"study=a,b: .* has no such study; make one with kd-lab -m sweep=a, then"):
        first_study(["a", "b"], uri, "kd-lab -m sweep=a")


def test_runs__classes_left_out_are_told_where_all_runs_have_the_same(tmp_path):
    own = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store.open(own, "s")
    params = {"student": STUDENT_NODE | {"without_classes": [3]}}
    for seed in (0, 1):
        write(store, "student", seed=seed, params=params, measured={names.TEST_ACCURACY_TOP1: 0.9}, tags={})
    assert runs("s", own)["params.student.without_classes"].tolist() == ["[3]", "[3]"]
