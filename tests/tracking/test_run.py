import errno
import json
import logging
import os
import pickle
import sqlite3

import pytest
import sqlalchemy
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.tracking import sqlalchemy_store

from kd_lab.errors import PrunedError, TrainingFailedError
from kd_lab.names import TAG_REASON
from kd_lab.tracking import run as run_module
from kd_lab.tracking.run import Run


def history(run, store, key):
    return [(point.step, point.value) for point in MlflowClient(store.uri).get_metric_history(run.run_id, key)]


def status(run, store):
    return MlflowClient(store.uri).get_run(run.run_id).info.status


def down(*_, **__):
    raise MlflowException("API request to http://x failed with exception refused", TEMPORARILY_UNAVAILABLE)


def full(*_, **__):
    raise MlflowException("(sqlite3.OperationalError) database or disk is full", TEMPORARILY_UNAVAILABLE)


def test_log__buffered__written_by_flush(store, start):
    run = start()
    run.log(0, {"train/loss_total": 2.0})
    run.log(1, {"train/loss_total": 1.5, "train/loss_hard": 3.0})
    assert history(run, store, "train/loss_total") == []
    run.flush()
    assert history(run, store, "train/loss_total") == [(0, 2.0), (1, 1.5)]
    assert history(run, store, "train/loss_hard") == [(1, 3.0)]
    run.flush()
    assert len(history(run, store, "train/loss_total")) == 2


def test_log__five_seconds_later__written_by_itself(store, start, monkeypatch):
    run = start()
    run.log(0, {"a": 1.0})
    late = run_module.time.monotonic() + 5.0
    monkeypatch.setattr(run_module.time, "monotonic", lambda: late)
    run.log(1, {"a": 2.0})
    assert history(run, store, "a") == [(0, 1.0), (1, 2.0)]


def test_flush__more_than_mlflow_takes_at_once__all_written(store, start):
    run = start()
    for step in range(2500):
        run.log(step, {"a": float(step)})
    run.flush()
    assert history(run, store, "a") == [(step, float(step)) for step in range(2500)]


def test_log_measurement__at_once(store, start):
    run = start()
    run.log_measurement({"test/accuracy_top1": 0.5})
    assert store.get(run.run_id).metrics == {"test/accuracy_top1": 0.5}


def test_artifacts__text_file_figure(store, start, tmp_path):
    run = start()
    (tmp_path / "other name.bin").write_bytes(b"\x00\x01")
    figure = Figure()
    figure.subplots().plot([0, 1])
    run.log_text("hello", "report.md")
    run.log_file(tmp_path / "other name.bin", "model/weights.safetensors")
    run.log_figure(figure, "figures/a.png")
    stored = store.get(run.run_id)
    assert stored.download("report.md").read_text() == "hello"
    assert stored.download("model/weights.safetensors").read_bytes() == b"\x00\x01"
    assert stored.download("figures/a.png").read_bytes().startswith(b"\x89PNG")


def test_log_file__no_such_file(start, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a file to log as a\.bin"):
        start().log_file(tmp_path / "missing", "a.bin")


def test_with__ends_finished(store, start):
    with start() as run:
        run.log(3, {"a": 1.0})
        assert status(run, store) == "RUNNING"
    assert status(run, store) == "FINISHED"
    assert history(run, store, "a") == [(3, 1.0)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad\nmore"), "FAILED"),
        (KeyboardInterrupt("bad"), "KILLED"),
        (SystemExit("bad"), "KILLED"),
        (PrunedError("bad"), "KILLED"),
    ],
)
def test_with__exception__status_and_reason(store, start, error, expected):
    run = start()
    run.log(0, {"a": 1.0})
    with pytest.raises(type(error), match="bad"), run:
        raise error
    assert status(run, store) == expected
    assert store.get(run.run_id).tags[TAG_REASON] == "bad"
    assert history(run, store, "a") == [(0, 1.0)]


def test_with__flush_fails_while_unwinding__first_error_wins(start, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("the echo")

    run = start()
    run.log(0, {"a": 1.0})
    monkeypatch.setattr(MlflowClient, "log_batch", broken)
    with pytest.raises(ValueError, match="the cause"), run:
        raise ValueError("the cause")
    assert "the echo" in caplog.text


def test_finish__twice__first_counts(store, start):
    with start() as run:
        run.finish("KILLED", reason="stopped")
    assert status(run, store) == "KILLED"


def test_seconds__grow_with_calls_only(start, monkeypatch):
    run = start()
    before = run.seconds
    assert before > 0  # config.yaml was written
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr(run_module.time, "perf_counter", lambda: next(clock))
    run.log(0, {"a": 1.0})
    run.flush()
    assert run.seconds == pytest.approx(before + 14)


def test_pickle__copy_writes_to_the_same_run_without_the_buffer(store, start):
    run = start()
    run.log(0, {"a": 1.0})
    copy = pickle.loads(pickle.dumps(run))
    copy.log(1, {"a": 2.0})
    copy.flush()
    assert history(run, store, "a") == [(1, 2.0)]
    assert type(copy) is Run
    run.flush()
    assert sorted(history(run, store, "a")) == [(0, 1.0), (1, 2.0)]


def test_away__comes_back__nothing_lost(store, start, monkeypatch, caplog, tmp_path):
    run = start()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        patch.setattr(MlflowClient, "log_artifact", down)
        run.log(0, {"a": 1.0})
        run.set_tags({"kd_lab.key": "k"})
        run.log_text("kept", "figures/x.txt")
        run.flush()
    assert (tmp_path / "kd_lab_rescue" / run.run_id / "figures" / "x.txt").read_text() == "kept"
    run.finish()
    stored = store.find("k")
    assert stored is not None
    assert stored.metrics == {"a": 1.0}
    assert stored.download("figures/x.txt").read_text() == "kept"
    assert not (tmp_path / "kd_lab_rescue" / run.run_id).exists()
    assert caplog.text.count("the store does not answer") == 1


def test_away__never_back__everything_in_the_rescue_folder(store, start, monkeypatch, caplog, tmp_path):
    with start() as run:
        for name in ("log_batch", "log_artifact", "log_artifacts", "set_terminated"):
            monkeypatch.setattr(MlflowClient, name, down)
        run.log(7, {"a": 1.0})
        run.log_text("kept", "report.md")
    kept = tmp_path / "kd_lab_rescue" / run.run_id
    assert (kept / "report.md").read_text() == "kept"
    point = json.loads((kept / "metrics.jsonl").read_text())
    assert (point["key"], point["value"], point["step"]) == ("a", 1.0, 7)
    assert json.loads((kept / "end.json").read_text())["status"] == "FINISHED"
    assert str(kept) in caplog.records[-1].getMessage()
    assert caplog.records[-1].levelno == logging.WARNING


def test_away__not_asked_again_for_30_s(start, monkeypatch):
    calls = []

    def count(*_, **__):
        calls.append(1)
        down()

    run = start()
    now = [run_module.time.monotonic()]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(MlflowClient, "log_batch", count)
    for later, expected in ((6, 1), (10, 1), (19, 1), (2, 2)):
        now[0] += later
        run.log(0, {"a": 1.0})
        assert len(calls) == expected


def test_wrong_request__raised_not_kept(start):
    run = start()
    run.log(0, {"acc@5": 1.0})
    with pytest.raises(MlflowException, match="acc@5"):
        run.flush()


@pytest.mark.parametrize("name", ["log_batch", "log_artifact"])
def test_disk_full__one_sentence(start, monkeypatch, name):
    run = start()
    run.log(0, {"a": 1.0})
    monkeypatch.setattr(MlflowClient, name, full)
    with pytest.raises(TrainingFailedError, match=r"^tracking\.uri=sqlite.*: the disk is full"):
        run.flush() if name == "log_batch" else run.log_text("x", "x.txt")


def test_no_space_left__one_sentence(start, monkeypatch):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(MlflowClient, "log_artifact", no_space)
    with pytest.raises(TrainingFailedError, match="the disk is full"):
        start()  # writes config.yaml


def test_disk_full__as_sqlite_says_it(store, start):
    """The real thing: a database that may not grow any more."""
    run = start()
    engine = sqlalchemy_store.SqlAlchemyStore._get_or_create_engine(store.uri)

    def cap(connection: sqlite3.Connection, _: object, __: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlalchemy.event.listen(engine, "checkout", cap)
    try:
        for step in range(5000):
            run.log(step, {"a" * 200: 1.0})
        with pytest.raises(TrainingFailedError, match="the disk is full"):
            run.flush()
    finally:
        sqlalchemy.event.remove(engine, "checkout", cap)
