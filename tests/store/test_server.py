"""The same on a real `mlflow server` of this machine, which is killed, or hidden behind a proxy that misbehaves."""

import signal
import time

import pytest
from mlflow import MlflowClient

from kd_lab.analysis.runs import runs
from kd_lab.errors import UserError
from kd_lab.names import TAG_KEY
from kd_lab.store import writer
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import sync

pytestmark = pytest.mark.slow
START = {"role": "student", "name": "n", "params": {"seed": 1}, "config_yaml": "a: 1\n", "parent": None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(uri, run_id, key):
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run_id, key)]


def test_server__run_from_start_to_table(server, folder):
    store = Store.open(server.uri, "digits")
    (folder / "w").write_bytes(b"\x00\x01")
    with store.start_run(**START, tags={TAG_KEY: "k"}) as run:
        run.log(0, {"train/loss_total": 1.0})
        run.log_measurement({"test/accuracy_top1": 0.5})
        run.log_file(folder / "w", "model/weights.safetensors")
    found = store.find("k")
    assert found is not None
    assert found.config() == {"a": 1}
    assert found.download("model/weights.safetensors").read_bytes() == b"\x00\x01"
    assert store.get(run.run_id).metrics == {"train/loss_total": 1.0, "test/accuracy_top1": 0.5}
    with pytest.raises(UserError, match=r"has no artifact nothing\.txt"):
        found.download("nothing.txt")
    with pytest.raises(UserError, match="there is no such run"):
        store.get("0" * 32)
    parent = store.sweep_parent("s", "sweep")
    assert store.sweep_parent("s", "sweep") == parent
    Run(store.uri, parent).finish()
    frame = runs("digits", server.uri)
    assert list(frame["run_id"]) == [run.run_id]
    assert list(frame["test/accuracy_top1"]) == [0.5]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_server__killed_and_started_again__every_point_once(server, folder, monkeypatch, caplog, number):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.5)
    store = Store.open(server.uri, "digits")
    with store.start_run(**START, tags={TAG_KEY: f"survivor of {number}"}) as run:
        for step in range(30):
            run.log(step, {"a": float(step)})
            time.sleep(0.02)
        server.stop(number)
        for step in range(30, 60):
            run.log(step, {"a": float(step)})
            time.sleep(0.05)
        run.log_text("kept", "report.md")
        run.flush()
        assert "the run goes on" in caplog.text
        server.start()
        for step in range(60, 90):
            run.log(step, {"a": float(step)})
            time.sleep(0.02)
    found = store.find(f"survivor of {number}")
    assert found is not None
    assert found.download("report.md").read_text() == "kept"
    assert history(server.uri, run.run_id, "a") == [(step, float(step)) for step in range(90)]
    assert not (folder / "kd_lab_rescue").exists()


@pytest.mark.parametrize("mode", ["500", "sleep", "lose"])
def test_server__that_misbehaves__run_goes_on_and_sync_brings_the_rest_once(proxy, folder, monkeypatch, mode):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.5)
    store = Store.open(proxy.uri, "digits")
    with store.start_run(**START, tags={}) as run:
        run.log(0, {"a": 0.0})
        run.flush()
        proxy.mode = mode
        for step in range(1, 50):
            run.log(step, {"a": float(step)})
            time.sleep(0.02)
        run.log_text("kept", "report.md")
        started = time.monotonic()
    assert time.monotonic() - started < 20  # the patience of the tests is 2 s, a server would be asked for 90
    assert (folder / "kd_lab_rescue" / run.run_id).is_dir()
    proxy.mode = "pass"
    time.sleep(1)  # a request that slept is served now
    lines = list(sync(None))
    assert len(lines) == 1
    assert lines[0].endswith("FINISHED")
    assert history(proxy.uri, run.run_id, "a") == [(step, float(step)) for step in range(50)]
    assert store.get(run.run_id).download("report.md").read_text() == "kept"
    assert not (folder / "kd_lab_rescue").exists()


def test_server__hangs_when_a_run_begins__the_run_is_kept(proxy, folder, monkeypatch):
    monkeypatch.setattr("kd_lab.store.client.WAIT_S", 1.0)
    store = Store.open(proxy.uri, "hanging")
    proxy.mode = "sleep"
    started = time.monotonic()
    assert store.find("k") is None
    with store.start_run(**START, tags={TAG_KEY: "k"}) as run:
        run.log(0, {"a": 0.0})
    assert time.monotonic() - started < 3  # asked once, not again by the next call
    proxy.mode = "pass"
    time.sleep(1)
    (line,) = list(sync(None))
    assert f"({run.run_id[:8]}): 1 metric point and 1 artifact brought to run " in line
    found = store.get(run.run_id)  # by the id that it had here
    assert found.run_id != run.run_id
    assert found.metrics == {"a": 0.0}


def test_server__not_mlflow__user_error(server, folder):
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: MLflow cannot use this store"):
        Store.open(f"{server.uri}/nothing/here", "digits")


def test_server__answers_500_at_the_start__user_error(proxy, folder):
    proxy.mode = "500"
    with pytest.raises(UserError, match=r"^tracking\.uri=.*: MLflow cannot use this store \(.*500"):
        Store.open(proxy.uri, "digits")
