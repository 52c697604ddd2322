"""The same on a real `mlflow server` of this machine, which is killed, or hidden behind a proxy that misbehaves."""

import signal
import time

import pytest
from mlflow import MlflowClient

from kd_lab.analysis.runs import runs
from kd_lab.errors import UserError
from kd_lab.names import TAG_KEY
from kd_lab.store import writer
from kd_lab.store.entries import Input, Point, unwritten
from kd_lab.store.journal import Journal
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import sync
from tests.store.conftest import START

pytestmark = pytest.mark.slow
READS = Input("digits", "ab-test", "code", "{}", None, "{}", {"mlflow.data.context": "test"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(uri, run_id, key):
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run_id, key)]


def test_server__run_from_start_to_table(server, folder):
    store = Store.open(server.uri, "from-start-to-table")
    (folder / "w").write_bytes(b"\x00\x01")
    with store.start_run(**START | {"tags": {TAG_KEY: "k"}}) as run:
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
    assert store.get(run.run_id[:8]).run_id == run.run_id
    parent = store.sweep_parent("s", "sweep")
    assert store.sweep_parent("s", "sweep") == parent
    Run(store.uri, parent).finish()
    frame = runs("from-start-to-table", server.uri)
    assert list(frame["run_id"]) == [run.run_id]
    assert list(frame["test/accuracy_top1"]) == [0.5]


def test_server__killed_and_started_again__every_point_once(server, folder, monkeypatch, caplog):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.5)
    store = Store.open(server.uri, "digits")
    with store.start_run(**START | {"tags": {TAG_KEY: "survivor"}}) as run:
        for step in range(90):
            if step == 30:
                server.stop(signal.SIGKILL)
            if step == 60:
                run.log_text("kept", "report.md")
                run.flush()
                assert "the run goes on" in caplog.text
                server.start()
            run.log(step, {"a": float(step)})
            time.sleep(0.02)
    found = store.find("survivor")
    assert found is not None
    assert found.download("report.md").read_text() == "kept"
    assert history(server.uri, run.run_id, "a") == [(step, float(step)) for step in range(90)]
    assert caplog.text.count("the store does not answer") == caplog.text.count("the store answers again") == 1
    assert not (folder / "kd_lab_rescue").exists()


@pytest.mark.parametrize("mode", ["500", "sleep", "lose"])
def test_server__that_misbehaves__no_call_waits_and_sync_brings_the_rest_once(proxy, folder, monkeypatch, caplog, mode):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.5)
    store = Store.open(proxy.uri, "digits")
    run = store.start_run(**START, inputs=[READS])
    run.log(0, {"a": 0.0})
    run.flush()
    proxy.mode = mode
    before = run.seconds
    for step in range(1, 50):
        run.log(step, {"a": float(step), "nan": float("nan"), "inf": float("inf")})
        time.sleep(0.02)
    run.log_text("kept", "report.md")
    assert run.seconds - before < 1  # every one of these returned while the server was asked
    began = time.monotonic()
    for _ in range(20):
        run.flush()
    assert time.monotonic() - began < 10  # waited for once, with the patience of the tests, 2 s
    run.finish()
    assert time.monotonic() - began < 20
    assert caplog.text.count("the store does not answer (") == 1
    left = Journal(folder / "kd_lab_rescue" / run.run_id)
    assert (left.header().run_id, left.entries().end.status) == (run.run_id, "FINISHED")
    proxy.mode = "pass"
    time.sleep(1)  # a request that slept is served now
    (line,) = list(sync(None))
    assert line.endswith("FINISHED")
    assert history(proxy.uri, run.run_id, "a") == [(step, float(step)) for step in range(50)]
    assert len(history(proxy.uri, run.run_id, "nan")) == len(history(proxy.uri, run.run_id, "inf")) == 49
    assert [Input.of(one) for one in MlflowClient(proxy.uri).get_run(run.run_id).inputs.dataset_inputs] == [READS]
    assert store.get(run.run_id).download("report.md").read_text() == "kept"
    assert not (folder / "kd_lab_rescue").exists()


def test_server__hangs_when_a_run_begins__the_run_is_kept(proxy, folder, monkeypatch):
    monkeypatch.setattr("kd_lab.store.client.WAIT_S", 1.0)
    store = Store.open(proxy.uri, "hanging")
    proxy.mode = "sleep"
    started = time.monotonic()
    assert store.find("k") is None
    with store.start_run(**START | {"tags": {TAG_KEY: "k"}}) as run:
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


def test_server__nothing_is_asked_that_nobody_doubts(proxy, folder):
    store = Store.open(proxy.uri, "digits")
    run = store.start_run(**START)
    run.flush()
    proxy.requests.clear()
    run.log_measurement({f"test/metric_{i}": float(i) for i in range(20)})
    run.finish()
    assert [request.rpartition("/")[2] for request in proxy.requests] == ["log-batch", "update"]


def test_server__points_that_may_be_there__asked_for_where_there_are_any(proxy, folder):
    store = Store.open(proxy.uri, "digits")
    run = store.start_run(**START)
    run.log(0, {"a": 1.0})
    run.flush()
    proxy.requests.clear()
    points = [Point("a", 1.0, 1, 5), *(Point(f"new_{i}", 1.0, 1, 0) for i in range(20))]
    assert unwritten(proxy.uri, run.run_id, points) == points
    assert len(proxy.requests) == 2
    run.finish()


def test_server__half_a_second_a_request__all_of_a_run_in_time(proxy, folder, monkeypatch, caplog):
    def slowly(answer):
        time.sleep(0.5)
        return answer

    proxy.rewrite = slowly
    store = Store.open(proxy.uri, "digits")
    with store.start_run(**START) as run:
        run.log_measurement({f"test/metric_{i}": float(i) for i in range(20)})
    assert "does not answer" not in caplog.text
    assert not (folder / "kd_lab_rescue").exists()
    assert store.get(run.run_id).status == "FINISHED"
