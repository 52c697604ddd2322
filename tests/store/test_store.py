import multiprocessing
import pickle
import re
import sqlite3
import subprocess
import sys
import time

import pytest
import yaml
from mlflow import MlflowClient

from kd_lab.errors import UserError
from kd_lab.names import TAG_KEY, TAG_PARENT, TAG_REASON, TAG_ROLE, TAG_SWEEP, TAG_UNMEASURED
from kd_lab.store import client
from kd_lab.store.reading import reading
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from tests.store.conftest import START


def test_open__twice__same_study(store):
    again = Store.open("sqlite:///mlflow.db", "digits")
    assert again.experiment_id == store.experiment_id
    assert Store.open("sqlite:///mlflow.db", "other").experiment_id != store.experiment_id


def test_open__artifacts_beside_the_database(store, tmp_path):
    study = MlflowClient(store.uri).get_experiment(store.experiment_id)
    assert study.artifact_location == f"file://{tmp_path}/mlartifacts/digits"


def test_open__empty_study__user_error(store):
    with pytest.raises(UserError, match=r"^study=: expected the name of a study"):
        Store.open(store.uri, " ")


def test_open__deleted_study__user_error(store):
    MlflowClient(store.uri).delete_experiment(store.experiment_id)
    with pytest.raises(UserError, match=r"^study=digits: this study was deleted"):
        Store.open(store.uri, "digits")


def test_open__not_a_database__user_error(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but longer than a header of SQLite would be " * 20)
    with pytest.raises(UserError, match=r"^tracking\.uri=.*notes\.txt: MLflow cannot use this store .*not a database"):
        Store.open(f"sqlite:///{tmp_path}/notes.txt", "digits")


def test_open__schema_of_another_version__user_error(store, tmp_path, empty_store):
    other = tmp_path / "other.db"
    other.write_bytes(empty_store.read_bytes())
    with sqlite3.connect(other) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    with pytest.raises(UserError, match=r"^tracking\.uri=.*other\.db: MLflow cannot use this store"):
        Store.open(f"sqlite:///{other}", "digits")


def test_existing__reads_every_study(store, start):
    run = start()
    assert Store.existing("sqlite:///mlflow.db").get(run.run_id).study == "digits"


def test_existing__no_file__user_error_and_none_is_made(tmp_path):
    with pytest.raises(UserError, match=r"^tracking\.uri=.*x\.db: there is no file .*x\.db; run kd-lab first"):
        Store.existing(f"sqlite:///{tmp_path}/x.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "message"), [(b"", r"x\.db is empty"), (b"junk" * 500, "MLflow cannot use this")])
def test_existing__another_file__user_error_and_left_as_it_is(tmp_path, content, message):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(UserError, match=message):
        Store.existing(f"sqlite:///{tmp_path}/x.db")
    assert (tmp_path / "x.db").read_bytes() == content


@pytest.mark.slow
def test_open__says_nothing(tmp_path):
    """Alembic and MLflow would print a hundred lines while they make the tables."""
    code = "from kd_lab.store.store import Store; Store.open('sqlite:///mlflow.db', 'digits')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


def test_start_run__everything_is_there(store, start):
    params = {"loss": {"weight": 0.9}, "many": {f"p{i}": i for i in range(250)}}
    run = start(
        role="teacher", params=params, tags={TAG_KEY: "k"}, config_yaml="loss: {weight: 0.9}\n", parent="p" * 32
    )
    run.flush()
    stored = store.get(run.run_id)
    assert stored.run_id == run.run_id
    assert stored.study == "digits"
    assert stored.params == {"loss.weight": "0.9"} | {f"many.p{i}": str(i) for i in range(250)}
    assert stored.tags[TAG_ROLE] == "teacher"
    assert stored.tags[TAG_KEY] == "k"
    assert stored.tags[TAG_PARENT] == "p" * 32
    assert stored.config() == yaml.safe_load("loss: {weight: 0.9}")


def test_find__newest_finished_of_any_study(store, start):
    def finished(study, value):
        opened = Store.open(store.uri, study)
        empty = {"role": "teacher", "name": "n", "params": {}, "config_yaml": "{}", "parent": None}
        with opened.start_run(tags={TAG_KEY: "k"}, **empty) as run:
            run.log_measurement({"a": value})
        time.sleep(0.01)  # start times are in milliseconds

    assert store.find("k") is None
    finished("one", 1.0)
    finished("two", 2.0)
    start(tags={TAG_KEY: "k"})  # newer, but RUNNING
    start(tags={TAG_KEY: "k"}).finish("FAILED")
    found = store.find("k")
    assert found is not None
    assert (found.study, found.metrics) == ("two", {"a": 2.0})
    assert store.find("other") is None


@pytest.mark.parametrize("measured", ["everything", "nothing"])
def test_find__saved_and_not_ended_well__only_where_none_is_finished(store, start, measured):
    run = start(tags={TAG_KEY: "k"})
    run.set_tags({TAG_UNMEASURED: measured})
    run.finish("KILLED")
    assert store.find("k").run_id == run.run_id
    with start(tags={TAG_KEY: "k"}) as finished:
        pass
    late = start(tags={TAG_KEY: "k", TAG_UNMEASURED: measured})
    late.finish("FAILED")
    assert store.find("k").run_id == finished.run_id


@pytest.mark.parametrize("key", ["it's", 'a "word"'])
def test_find__quotes_in_the_key(store, start, key):
    with start(tags={TAG_KEY: key}) as run:
        pass
    assert store.find(key).run_id == run.run_id


@pytest.mark.parametrize("run_id", ["0" * 32, "nonsense", "a/../b"])
def test_get__unknown__user_error(store, run_id):
    with pytest.raises(UserError, match=f"^run:{run_id}: there is no such run in sqlite"):
        store.get(run_id)


def test_get__the_first_characters_of_an_id_are_enough(store, start):
    with start() as run:
        pass
    assert store.get(run.run_id[:8]).run_id == run.run_id
    assert store.whole_id(run.run_id) == run.run_id


def test_get__several_begin_so__names_them(store, start):
    runs = [start(name=f"run {number}") for number in range(17)]  # two of 17 begin alike
    first = next(one for one in "0123456789abcdef" if sum(run.run_id.startswith(one) for run in runs) > 1)
    alike = [run for run in runs if run.run_id.startswith(first)]
    with pytest.raises(UserError, match=f"^run:{first}: {len(alike)} runs begin so, expected more of the id: ") as told:
        store.get(first)
    assert f"{alike[0].run_id[:8]} (run {runs.index(alike[0])})" in str(told.value)


@pytest.mark.parametrize("said", ["zz", "", "%", "abc%' or '", "0" * 33])
def test_whole_id__no_beginning_of_an_id__user_error(store, start, said):
    start()
    with pytest.raises(UserError, match=f"^run:{re.escape(said)}: there is no such run in .* or how it begins"):
        store.whole_id(said)


def test_newest_networks__of_all_studies(store, start):
    with start(role="teacher") as teacher, start(role="student") as student, start(role="sweep"):
        pass
    with reading(store.uri) as reader:
        assert set(reader.newest_networks(10)) == {teacher.run_id, student.run_id}
        assert len(reader.newest_networks(1)) == 1


def test_get__deleted__user_error(store, start):
    run = start()
    MlflowClient(store.uri).delete_run(run.run_id)
    with pytest.raises(UserError, match="this run was deleted"):
        store.get(run.run_id)


def test_download__no_such_artifact__user_error(store, start):
    run = start()
    with pytest.raises(UserError, match=f"^run:{run.run_id}: this run has no artifact model/weights.safetensors"):
        store.get(run.run_id).download("model/weights.safetensors")


def test_sweep_parent__one_per_sweep(store, start):
    parent = store.sweep_parent("s1", "my sweep")
    assert store.sweep_parent("s1", "my sweep") == parent
    assert store.sweep_parent("s2", "my sweep") != parent
    stored = store.get(parent)
    assert (stored.tags[TAG_ROLE], stored.tags[TAG_SWEEP]) == ("sweep", "s1")
    child = start(tags={TAG_SWEEP: "s1"}, parent=parent)
    assert store.sweep_parent("s1", "my sweep") == parent
    assert child.run_id != parent


def test_sweep_parent__resumed__runs_again(store):
    def found():
        run = MlflowClient(store.uri).get_run(parent)
        return run.info.status, run.data.tags.get(TAG_REASON)

    parent = store.sweep_parent("s1", "my sweep")
    Run(store.uri, parent).finish("KILLED", "why")
    assert found() == ("KILLED", "why")
    assert store.sweep_parent("s1", "my sweep") == parent
    assert found() == ("RUNNING", None)
    Run(store.uri, parent).finish()
    assert found() == ("FINISHED", None)


def test_sweep_parent__of_two_studies__two_runs(store):
    other = Store.open(store.uri, "other")
    assert store.sweep_parent("s1", "my sweep") != other.sweep_parent("s1", "my sweep")


def test_store__pickles(store):
    copy = pickle.loads(pickle.dumps(store))
    assert copy.sweep_parent("s1", "x") == store.sweep_parent("s1", "x")


def hold(store, held, release):
    with store.lock("key"):
        held.set()
        release.wait(30)


@pytest.mark.slow
def test_lock__other_process__waits_and_says_so_once(store):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(store, held, release))
    process.start()
    assert held.wait(30)
    waits = []

    def on_wait():
        waits.append(1)
        release.set()

    with store.lock("other name", on_wait):
        assert waits == []
    with store.lock("key", on_wait):
        assert waits == [1]
    process.join(30)
    assert process.exitcode == 0


def test_lock__free__no_wait_and_released_after_an_error(store):
    with pytest.raises(RuntimeError, match="inside"), store.lock("key"):
        raise RuntimeError("inside")
    with store.lock("key", on_wait=lambda: pytest.fail("it was free")):
        pass


WRITER = """
import sys
from kd_lab.store.store import Store
from kd_lab.store.entries import Input
job = sys.argv[1]
data = Input("digits", "ab-test", "code", "{}", None, "{}", {})
store = Store.open("sqlite:///mlflow.db", "digits")
parent = store.sweep_parent("sweep", "name")
with store.start_run(
    role="student", name=job, params={"job": job}, tags={}, config_yaml="{}", parent=parent, inputs=[data]
) as run:
    for step in range(600):
        run.log(step, {"a": step + 0.5, "b": float(job)})
        if step % 100 == 0:
            run.flush()
    run.log_text("x" * 1000, "report.md")
"""


@pytest.mark.slow
def test_write__four_processes_at_once_on_a_store_that_does_not_exist__no_point_lost(tmp_path):
    command = [sys.executable, "-c", WRITER]
    started = [
        subprocess.Popen([*command, str(job)], cwd=tmp_path, stderr=subprocess.PIPE, text=True) for job in range(4)
    ]
    errors = [process.communicate(timeout=400)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    store = Store.open(f"sqlite:///{tmp_path}/mlflow.db", "digits")
    client = MlflowClient(store.uri)
    found = client.search_runs([store.experiment_id])
    children = [run for run in found if run.data.tags[TAG_ROLE] == "student"]
    assert len(found) == 5  # one parent for all
    assert {run.info.status for run in children} == {"FINISHED"}
    assert sorted(run.data.params["job"] for run in children) == [str(job) for job in range(4)]
    for run in children:
        points = client.get_metric_history(run.info.run_id, "a")
        assert [(point.step, point.value) for point in points] == [(step, step + 0.5) for step in range(600)]
        assert len(client.get_metric_history(run.info.run_id, "b")) == 600
        assert [one.dataset.digest for one in run.inputs.dataset_inputs] == ["ab-test"]
        assert store.get(run.info.run_id).download("report.md").read_text() == "x" * 1000
    assert not (tmp_path / "kd_lab_rescue").exists()


HOLDS = """
import sqlite3, sys, time
held = sqlite3.connect("mlflow.db", isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def held(store, tmp_path, monkeypatch):
    """A function that has another program hold the store's file for some seconds; SQLite itself waits for none."""
    monkeypatch.setattr(client, "_held", set())
    client._client.cache_clear()
    monkeypatch.setattr("kd_lab.outside.database.BUSY_TIMEOUT_S", 0.1)
    processes = []

    def hold(seconds):
        command = [sys.executable, "-c", HOLDS, str(seconds)]
        processes.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "held\n"

    yield hold
    for process in processes:
        process.kill()
        process.wait(20)


@pytest.mark.slow
def test_open__held_by_another_program__waited_for_and_told_once(held, store, caplog):
    held(27)  # MLflow gives up after 20 s
    with Store.open(store.uri, "another study").start_run(**START) as run:
        run.log(0, {"a": 1.0})
    assert store.get(run.run_id).status == "FINISHED"
    assert caplog.text.count("another program holds this file (database is locked), waiting up to 60 s.") == 1


@pytest.mark.slow
def test_open__held_for_good__one_sentence(held, store, monkeypatch):
    monkeypatch.setattr(client, "LOCKED_S", 1.0)
    held(100)
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: MLflow cannot use this store \(.*database is locked"):
        Store.open(store.uri, "digits")
