"""A run whose process was killed is found by the next one that starts; a run that may be alive is left alone."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab.names import TAG_HOST, TAG_LOCAL_ID, TAG_PARENT, TAG_REASON, TAG_ROLE
from kd_lab.store.entries import End, Entries
from kd_lab.store.lease import Lease, host, id_of_sweep
from kd_lab.store.orphans import close_orphans, settle
from kd_lab.store.store import Store
from kd_lab.store.sync import sync
from tests.store.conftest import START, in_a_child

WRITING = """
import sys, time
from kd_lab.store.store import Store
store = Store.open("sqlite:///mlflow.db", "digits")
parent = store.sweep_parent("5" * 32, "a sweep")
run = store.start_run(role="student", name="n", params={}, tags={}, config_yaml="{}", parent=parent)
run.log(0, {"a": 0.0})
run.flush()
for step in range(1, 5):
    run.log(step, {"a": float(step)})
print(run.run_id, parent, flush=True)
time.sleep(300)
"""


@pytest.fixture
def writing(store, tmp_path):
    """Another process in the middle of a run of a sweep: the process, the run's id and the sweep's."""
    process = subprocess.Popen([sys.executable, "-c", WRITING], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    run_id, parent = process.stdout.readline().split()
    yield process, run_id, parent
    process.kill()
    process.wait(20)


def status(store, run_id):
    return MlflowClient(store.uri).get_run(run_id).info.status


@pytest.mark.slow
def test_close_orphans__killed__closed_with_all_that_it_took(store, writing, tmp_path):
    process, run_id, parent = writing
    assert close_orphans(store) == []
    assert status(store, run_id) == status(store, parent) == "RUNNING"
    assert next(sync(None)) == f"n ({run_id[:8]}): still running, left alone"

    process.kill()
    process.wait(20)
    said = close_orphans(Store.open("sqlite:///mlflow.db", "another study"))

    assert said == [
        f"run {run_id[:8]} (n) was killed earlier; closed as KILLED",
        f"run {parent[:8]} (a sweep) was killed earlier; closed as KILLED",
    ]
    points = MlflowClient(store.uri).get_metric_history(run_id, "a")
    assert [(point.step, point.value) for point in points] == [(step, float(step)) for step in range(5)]
    run = MlflowClient(store.uri).get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("KILLED", points[-1].timestamp)
    assert run.data.tags[TAG_REASON].startswith("the process ended without closing this run")
    assert status(store, parent) == "KILLED"
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert close_orphans(store) == []


def left_running(store, **tags):
    """A RUNNING run whose process is gone."""
    facts = {TAG_ROLE: "student", TAG_LOCAL_ID: os.urandom(16).hex(), TAG_HOST: host(store.location), **tags}
    return MlflowClient(store.uri).create_run(store.experiment_id, tags=facts).info.run_id


def test_close_orphans__without_a_metric__ended_when_it_began(store):
    run_id = left_running(store)
    assert len(close_orphans(store)) == 1
    run = MlflowClient(store.uri).get_run(run_id).info
    assert (run.status, run.end_time) == ("KILLED", run.start_time)


@pytest.mark.parametrize("other", ["0" * 16, "0" * 16 + "-" + "1" * 16, ""])
def test_close_orphans__of_another_machine__left_alone(store, other):
    run_id = left_running(store, **{TAG_HOST: other})
    assert close_orphans(store) == []
    assert status(store, run_id) == "RUNNING"


@pytest.mark.parametrize("part", [0, 1])
def test_close_orphans__after_a_restart_or_in_another_container__closed(store, part):
    here = host(store.location).split("-")
    if len(here) < 2:
        pytest.skip("this system has no boot id")
    run_id = left_running(store, **{TAG_HOST: "-".join(["0" * 16, here[part]])})
    close_orphans(store)
    assert status(store, run_id) == "KILLED"


def test_close_orphans__sweep_with_a_job_on_another_machine__left_alone(store):
    parent = left_running(store, **{TAG_ROLE: "sweep"})
    child = left_running(store, **{TAG_HOST: "0" * 16, TAG_PARENT: parent})
    assert close_orphans(store) == []
    MlflowClient(store.uri).set_terminated(child)
    assert len(close_orphans(store)) == 1
    assert status(store, parent) == "KILLED"


def test_close_orphans__sweep_whose_process_lives__left_alone(store):
    parent = store.sweep_parent("5" * 32, "a sweep")
    lease = Lease.take(store.location, id_of_sweep("digits", "5" * 32))
    assert close_orphans(store) == []
    lease.release(done=True)
    assert close_orphans(store, "5" * 32) == []
    assert status(store, parent) == "RUNNING"
    assert len(close_orphans(store)) == 1
    assert status(store, parent) == "KILLED"


def test_close_orphans__lock_held_by_another_lease__left_alone(store):
    run_id = left_running(store, **{TAG_LOCAL_ID: "7" * 32})
    lease = Lease.take(store.location, "7" * 32)
    assert close_orphans(store) == []
    lease.release(done=True)
    assert len(close_orphans(store)) == 1
    assert status(store, run_id) == "KILLED"


def test_close_orphans__store_away__nothing(away):
    assert close_orphans(away) == []


def test_close_lost__found_by_another_job_before__the_reason_is_told(store):
    run_id = left_running(store)
    assert len(close_orphans(store)) == 1
    store.close_lost(run_id, "FAILED", "its process was ended by SIGKILL")
    store.close_lost(run_id, "KILLED", "a second word")
    run = MlflowClient(store.uri).get_run(run_id)
    assert (run.info.status, run.data.tags[TAG_REASON]) == ("FAILED", "its process was ended by SIGKILL")


def noted_and_left(folder, uri, status):
    """A run that noted its end here and was killed before the store had all; its id."""

    def write():
        store = Store.open(uri, "digits")
        run = store.start_run(**START | {"name": "n"})
        run.log(0, {"a": 0.0})
        run.flush()
        run.log(1, {"a": 1.0})
        Path("id").write_text(run.run_id)
        run._journal.append(Entries(tags={TAG_REASON: "why"}, end=End(status, 5)))

    with contextlib.chdir(folder):
        in_a_child(write)
        return Path("id").read_text()


@pytest.mark.parametrize("ended", ["FINISHED", "FAILED"])
def test_settle__killed_after_its_end_was_noted__ends_as_it_had(store, tmp_path, ended):
    run_id = noted_and_left(tmp_path, store.uri, ended)
    assert status(store, run_id) == "RUNNING"
    assert settle(store) == [f"1 run that waited in {tmp_path}/kd_lab_rescue brought to {store.uri}"]
    run = MlflowClient(store.uri).get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.metrics["a"]) == (ended, 5, 1.0)
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert settle(store) == []


@pytest.mark.slow
def test_settle__ended_in_another_folder__brought_from_there(server, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    run_id = noted_and_left(there, server.uri, "FINISHED")
    monkeypatch.chdir(here)
    store = Store.open(server.uri, "elsewhere")
    assert settle(store) == [f"run {run_id[:8]} (n) had ended as FINISHED, which its store was not told; it is now"]
    assert status(store, run_id) == "FINISHED"
    assert not (there / "kd_lab_rescue").exists()


def test_settle__what_was_kept_cannot_go_in__one_sentence_and_the_others_do(store, tmp_path):
    bad, good = (noted_and_left(tmp_path, store.uri, "FINISHED") for _ in range(2))
    config = tmp_path / "kd_lab_rescue" / bad / "artifacts" / "config.yaml"
    log = next((tmp_path / "kd_lab_rescue" / bad).glob("log-*.jsonl"))
    log.write_text(log.read_text() + Entries(artifacts=["config.yaml"]).to_line())
    config.unlink(missing_ok=True)
    config.symlink_to("/etc/passwd")
    said = settle(store)
    assert any("config.yaml" in sentence for sentence in said)
    assert (status(store, good), status(store, bad)) == ("FINISHED", "RUNNING")
