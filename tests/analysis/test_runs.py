import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis.columns import column, each_run
from kd_lab.analysis.runs import pairs, runs, studies
from kd_lab.errors import UserError
from kd_lab.names import TEST_ACCURACY_TOP1
from kd_lab.store.store import Store
from tests.analysis.conftest import STUDENT_NODE, write

AGREEMENT, KL = (column("baseline", key) for key in (names.TEST_AGREEMENT_TOP1, names.TEST_KL_NATS))


@pytest.fixture
def own(tmp_path):
    """A store of one's own, with the study s."""
    return Store.open(f"sqlite:///{tmp_path}/mlflow.db", "s")


def test_runs__one_row_per_network_and_the_teacher_of_another_study__newest_first(uri):
    frame = runs("digits", uri)
    assert frame["role"].value_counts().to_dict() == {"student": 7, "baseline": 3, "teacher": 1}
    assert frame.set_index("role").loc["teacher", "study"] == "earlier"
    assert frame["run_id"].is_unique
    assert frame[frame["study"] == "digits"]["start_time"].is_monotonic_decreasing
    assert frame.iloc[0]["status"] == "FAILED"


def test_runs__of_some_studies_or_of_all(uri):
    assert len(runs(["digits", "earlier"], uri)) == len(runs(uri=uri)) == 12
    assert studies(uri) == ["digits"]  # those with a student


def test_runs__identity(uri):
    frame = runs("digits", uri)
    teacher = frame[frame["role"] == "teacher"].iloc[0]
    assert (teacher["seed"], teacher["dataset"], teacher["network"]) == (100, "digits", "3 x cnn")
    student = frame[(frame["role"] == "student") & (frame["loss"] == "kd") & (frame["seed"] == 2)].iloc[0]
    assert (student["network"], student["status"], student["name"]) == ("mlp", "FINISHED", "student seed 2")
    assert student[TEST_ACCURACY_TOP1] == pytest.approx(0.92 + 0.04 + 0.002)
    assert set(frame.loc[frame["role"] == "baseline", "loss"]) == {"none"}


def test_runs__test_samples_of_runs_that_have_no_tag__from_their_datasets(uri):
    frame = runs("digits", uri)
    assert frame.loc[frame["fingerprint"].notna(), "test_samples"].tolist() == [597] * 6
    assert frame.loc[frame["fingerprint"].isna(), "test_samples"].isna().all()


@pytest.mark.slow
def test_runs__code_and_test_samples__of_the_tags(own):
    made = {names.TAG_CODE: "a1b2", names.TAG_TEST_SAMPLES: "360", names.TAG_DATA_FINGERPRINT: "x"}
    told = [made, made | {names.TAG_DATA_FINGERPRINT: "y", names.TAG_TEST_SAMPLES: "many"}, {}]
    for seed, tags in enumerate(told):
        write(own, "student", seed=seed, params={}, measured={}, tags=tags)
    table = pairs(runs("s", own.uri)).set_index("seed").sort_index()
    assert table["code"].fillna("-").tolist() == ["a1b2", "a1b2", "-"]
    assert table["test_samples"].fillna(0).tolist() == [360, 0, 0]


@pytest.mark.slow
def test_runs__parameters_that_differ_or_that_only_some_runs_of_a_loss_have__and_classes_left_out(own, uri):
    params = {name for name in runs("digits", uri).columns if name.startswith("params.")}
    assert not params & {"params.loss.terms.kd.temperature", "params.teacher.size", "params.seed"}
    kd = {"_target_": "kd_lab.losses.kd.KD"}
    student = STUDENT_NODE | {"without_classes": [3]}
    for term in (kd, kd | {"standardize": True}):
        params = {"loss": {"terms": {"kd": term}}, "student": student}
        write(own, "student", seed=0, params=params, measured={}, tags={})
    frame = runs("s", own.uri)
    assert {name: frame[name].fillna("-").tolist() for name in frame if name.startswith("params.")} == {
        "params.loss.terms.kd.standardize": ["true", "-"],
        "params.student.without_classes": ["[3]", "[3]"],
    }


@pytest.mark.parametrize(
    ("study", "match"),
    [
        ("digit", r"^study=digit: .*mlflow\.db has no such study; did you mean digits\?"),
        (["digits", "mnist"], r"^study=mnist: .*has no such study; expected one of Default, digits, earlier"),
        ("Default", r"^study=Default: there are no runs of trained networks yet"),
    ],
)
def test_runs__no_such_study_or_no_run__user_error(uri, study, match):
    with pytest.raises(UserError, match=match):
        runs(study, uri)


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


def test_pairs__each_student_beside_its_own(uri):
    frame = runs("digits", uri)
    table = pairs(frame)
    assert len(table) == 7
    row = table[(table["loss"] == "kd") & (table["seed"] == 1)].iloc[0]
    reached = {role: row[column(role, TEST_ACCURACY_TOP1)] for role in ("student", "baseline", "teacher")}
    assert reached == pytest.approx({"student": 0.951, "baseline": 0.91, "teacher": 0.96})
    assert row["teacher_network"] == "3 x cnn"
    failed = table[table["status"] == "FAILED"].iloc[0]
    assert np.isnan(failed[column("baseline", TEST_ACCURACY_TOP1)])
    with pytest.raises(UserError, match="no run with role=student"):
        pairs(frame[frame["role"] == "teacher"])


def two_teachers(store: Store, *, of_students: bool, tags: dict) -> pd.DataFrame:
    """Pairs of two students that share a baseline and have a teacher each, as runs are made now or were before."""
    own = {names.TEST_AGREEMENT_TOP1: 0.70, names.TEST_KL_NATS: 0.5}
    baseline = write(store, "baseline", seed=0, params={}, measured={} if of_students else own, tags=tags)
    for teacher, agreement in (("first", 0.71), ("second", 0.72)):
        measured = {names.TEST_AGREEMENT_TOP1: 0.9, names.TEST_KL_NATS: 0.1}
        if of_students:
            measured |= {names.TEST_ALONE_AGREEMENT_TOP1: agreement, names.TEST_ALONE_KL_NATS: 1 - agreement}
        links = {names.TAG_BASELINE_RUN: baseline, names.TAG_TEACHER_WEIGHTS_SHA256: teacher}
        write(store, "student", seed=0, params={}, measured=measured, tags=links)
    return pairs(runs("s", store.uri)).set_index("teacher_weights")


OF_FIRST = {names.TAG_TEACHER_WEIGHTS_SHA256: "first"}


@pytest.mark.slow
def test_pairs__fidelity_of_the_student_alone__to_the_teacher_of_the_student_beside_it(own):
    table = two_teachers(own, of_students=True, tags=OF_FIRST)
    assert table[AGREEMENT].to_dict() == {"first": 0.71, "second": 0.72}
    assert table[KL].to_dict() == pytest.approx({"first": 0.29, "second": 0.28})
    assert table[column("student", names.TEST_AGREEMENT_TOP1)].tolist() == [0.9, 0.9]
    assert not [name for name in table if "alone" in name]
    twice = pd.concat([table, table]).reset_index()
    assert len(each_run(twice, "baseline")) == len(each_run(twice, "baseline", names.TEST_NLL_NATS)) == 1
    assert len(each_run(twice, "baseline", names.TEST_AGREEMENT_TOP1)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tags", "first"), [(OF_FIRST, [0.70, 0.5]), ({}, [-1, -1])], ids=["of first", "of no teacher"]
)
def test_pairs__fidelity_on_a_baselines_own_run__only_where_it_is_to_the_same_teacher(own, tags, first):
    table = two_teachers(own, of_students=False, tags=tags)[[AGREEMENT, KL]].fillna(-1)
    assert table.loc["first"].tolist() == first
    assert table.loc["second"].tolist() == [-1, -1]
