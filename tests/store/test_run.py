import errno
import logging
import os
import pickle
import sqlite3
import threading
import time

import pytest
import sqlalchemy
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE
from mlflow.store.tracking import sqlalchemy_store

from kd_lab.errors import PrunedError, TrainingFailedError
from kd_lab.names import TAG_REASON
from kd_lab.store import run as run_module
from kd_lab.store import writer
from kd_lab.store.entries import Input, Point
from kd_lab.store.guard import GuardedClient
from kd_lab.store.journal import Journal
from kd_lab.store.run import Run

DIGITS = [
    Input("digits", "ab-train", "code", "{}", "{}", '{"samples": 9}', {"mlflow.data.context": "training"}),
    Input("digits", "ab-test", "code", "{}", None, None, {"mlflow.data.context": "test"}),
]


def history(run, store, key):
    return [(point.step, point.value) for point in MlflowClient(store.uri).get_metric_history(run.run_id, key)]


def status(run, store):
    return MlflowClient(store.uri).get_run(run.run_id).info.status


def down(*_, **__):
    raise MlflowException("API request to http://x failed with exception refused", TEMPORARILY_UNAVAILABLE)


def full(*_, **__):
    raise MlflowException("(sqlite3.OperationalError) database or disk is full", TEMPORARILY_UNAVAILABLE)


def kept(run, tmp_path):
    return Journal(tmp_path / "kd_lab_rescue" / run.run_id)


def test_log__on_the_disk_at_once__in_the_store_by_flush(store, start, tmp_path):
    run = start()
    run.flush()
    assert not kept(run, tmp_path).entries()
    run.log(0, {"train/loss_total": 2.0})
    (point,) = kept(run, tmp_path).entries().points
    assert (point.key, point.value, point.step) == ("train/loss_total", 2.0, 0)
    run.log(1, {"train/loss_total": 1.5, "train/loss_hard": 3.0})
    assert history(run, store, "train/loss_total") == []
    run.flush()
    assert history(run, store, "train/loss_total") == [(0, 2.0), (1, 1.5)]
    assert history(run, store, "train/loss_hard") == [(1, 3.0)]
    run.flush()
    assert len(history(run, store, "train/loss_total")) == 2


def test_log__some_seconds_later__in_the_store_by_itself(store, start, monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.2)
    run = start()
    for step in range(3):
        run.log(step, {"a": float(step)})
        deadline = time.monotonic() + 20
        while kept(run, tmp_path).entries():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert history(run, store, "a")[-1] == (step, float(step))


def test_every_call__asks_the_store_in_a_thread_of_its_own(store, start, monkeypatch, tmp_path):
    asked_by = []
    for name in ("log_batch", "log_artifact", "set_terminated"):
        plain = getattr(GuardedClient, name)

        def noted(*arguments, plain=plain, **more):
            asked_by.append(threading.current_thread())
            return plain(*arguments, **more)

        monkeypatch.setattr(GuardedClient, name, noted)
    with start(params={"a": 1}) as run:
        run.log(1, {"a": 1.0})
        run.set_tags({"t": "1"})
        run.log_text("hello", "report.md")
        run.log_figure(Figure(), "figures/a.png")
        run.flush()
        run.log_measurement({"b": 1.0})
    assert len(asked_by) >= 6
    assert threading.main_thread() not in asked_by
    assert status(run, store) == "FINISHED"


def test_store_that_hangs__no_call_waits_for_it(store, start, monkeypatch, tmp_path, caplog):
    free = threading.Event()
    hanging = threading.Event()
    plain = MlflowClient.log_batch

    def hang(*arguments, **more):
        hanging.set()
        assert free.wait(60)
        return plain(*arguments, **more)

    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(writer, "PATIENCE_WITH_FILE_S", 1.0)
    monkeypatch.setattr(MlflowClient, "log_batch", hang)
    run = start(params={"a": 1})
    assert hanging.wait(20)
    # The store is asked and does not answer: every one of these returns while it is.
    for step in range(1000):
        run.log(step, {"a": float(step)})
    run.set_tags({"t": "1"})
    run.log_text("hello", "report.md")
    run.finish()
    assert not free.is_set()
    assert status(run, store) == "RUNNING"
    left = kept(run, tmp_path).entries()
    assert [point.step for point in left.points] == list(range(1000))
    assert left.artifacts == ["config.yaml", "report.md"]
    assert left.end.status == "FINISHED"
    assert "`kd-lab sync` brings it in" in caplog.text
    free.set()


def test_flush__more_than_mlflow_takes_at_once__all_written(store, start):
    run = start()
    for step in range(2500):
        run.log(step, {"a": float(step)})
    run.flush()
    assert history(run, store, "a") == [(step, float(step)) for step in range(2500)]


def test_log_measurement__no_step(store, start):
    run = start()
    run.log_measurement({"test/accuracy_top1": 0.5})
    run.flush()
    assert store.get(run.run_id).metrics == {"test/accuracy_top1": 0.5}


def test_artifacts__text_file_figure(store, start, tmp_path):
    run = start()
    (tmp_path / "other name.bin").write_bytes(b"\x00\x01")
    figure = Figure()
    figure.subplots().plot([0, 1])
    run.log_text("hello", "report.md")
    run.log_file(tmp_path / "other name.bin", "model/weights.safetensors")
    run.log_figure(figure, "figures/a.png")
    run.flush()
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


def test_with__end_fails_while_unwinding__first_error_wins(start, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("the echo")

    run = start()
    run.log(0, {"a": 1.0})
    monkeypatch.setattr(MlflowClient, "set_terminated", broken)
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
    assert before > 0  # config.yaml was kept
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


def test_pickle__what_a_copy_could_not_write__the_run_writes_at_its_end(store, start, tmp_path, monkeypatch):
    run = start()
    copy = pickle.loads(pickle.dumps(run))
    monkeypatch.setattr("kd_lab.store.journal.os.getpid", lambda: 7)  # the copy's process, which ends without a word
    copy._journal.append(writer.Entries(points=[Point("a", 2.0, 5, 1)]))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run.log(2, {"a": 3.0})
    run.finish()
    assert history(run, store, "a") == [(1, 2.0), (2, 3.0)]
    assert not (tmp_path / "kd_lab_rescue").exists()


def test_away__comes_back__nothing_lost(store, start, monkeypatch, caplog, tmp_path):
    run = start()
    run.flush()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        patch.setattr(MlflowClient, "log_artifact", down)
        run.log(0, {"a": 1.0})
        run.set_tags({"kd_lab.key": "k"})
        run.log_text("kept", "figures/x.txt")
        run.flush()
        run.flush()  # does not ask again
    assert (kept(run, tmp_path).files / "figures" / "x.txt").read_text() == "kept"
    run.finish()
    stored = store.find("k")
    assert stored is not None
    assert stored.metrics == {"a": 1.0}
    assert stored.download("figures/x.txt").read_text() == "kept"
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert caplog.text.count("the store does not answer") == 1
    assert caplog.text.count("the store answers again") == 1


def test_away__never_back__everything_in_the_rescue_folder(store, start, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(writer, "PATIENCE_WITH_FILE_S", 1.0)
    with start(params={"a": 1}) as run:
        run.flush()
        for name in ("log_batch", "log_artifact", "set_terminated"):
            monkeypatch.setattr(MlflowClient, name, down)
        run.log(7, {"a": 1.0})
        run.log_text("kept", "report.md")
    left = kept(run, tmp_path)
    assert (left.files / "report.md").read_text() == "kept"
    (point,) = left.entries().points
    assert (point.key, point.value, point.step) == ("a", 1.0, 7)
    assert left.entries().end.status == "FINISHED"
    assert left.header().run_id == run.run_id
    assert str(left.folder.parent) in caplog.records[-1].getMessage()
    assert caplog.records[-1].levelno == logging.WARNING


def test_away__asked_again_after_a_while_not_at_each_call(start, monkeypatch):
    calls = threading.Semaphore(0)

    def count(*_, **__):
        calls.release()
        down()

    run = start()
    run.flush()
    monkeypatch.setattr(MlflowClient, "log_batch", count)
    monkeypatch.setattr(writer, "RETRY_AFTER_S", 0.5)
    run.log(0, {"a": 1.0})
    run.flush()
    assert calls.acquire(timeout=5)
    for step in range(200):
        run.log(step, {"a": 1.0})
        run.flush()
    assert not calls.acquire(blocking=False)
    assert calls.acquire(timeout=5)


def test_answer_lost__the_point_is_written_once(store, start, monkeypatch):
    """A request that the store served, and whose answer never came."""
    plain = MlflowClient.log_batch

    def lose(*arguments, **more):
        plain(*arguments, **more)
        down()

    run = start()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lose)
        run.log(3, {"a": 1.0, "b": float("nan"), "c": float("inf")})
        run.flush()
    sent = []
    monkeypatch.setattr(
        MlflowClient, "log_batch", lambda *a, metrics, **k: (sent.extend(metrics), plain(*a, metrics=metrics, **k))
    )
    run.finish()
    assert sent == []
    assert len(history(run, store, "a")) == len(history(run, store, "b")) == len(history(run, store, "c")) == 1


def inputs(run, store):
    return [Input.of(one) for one in MlflowClient(store.uri).get_run(run.run_id).inputs.dataset_inputs]


def test_inputs__in_the_store(store, start, tmp_path):
    run = start(inputs=DIGITS)
    assert kept(run, tmp_path).entries().inputs == DIGITS
    run.flush()
    assert inputs(run, store) == DIGITS
    assert not kept(run, tmp_path).entries()


def test_inputs__answer_lost__there_once(store, start, monkeypatch):
    plain = MlflowClient.log_inputs

    def lose(*arguments, **more):
        plain(*arguments, **more)
        down()

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", lose)
        run = start(inputs=DIGITS)
        run.flush()
    run.finish()
    assert status(run, store) == "FINISHED"
    assert inputs(run, store) == DIGITS


def test_inputs__another_job_makes_the_same_dataset_at_this_moment(store, start, monkeypatch):
    other = start()
    other.flush()
    plain = MlflowClient.log_inputs

    def collide(client, run_id, datasets):
        monkeypatch.undo()
        plain(client, other.run_id, datasets=datasets)
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", BAD_REQUEST)

    monkeypatch.setattr(MlflowClient, "log_inputs", collide)
    run = start(inputs=DIGITS)
    run.flush()
    assert inputs(run, store) == inputs(other, store) == DIGITS


def test_inputs__refused__raised(start):
    run = start(inputs=[DIGITS[0]._replace(digest="x" * 37)])
    with pytest.raises(MlflowException, match="digest"):
        run.flush()


def test_wrong_request__raised_and_the_rest_is_written(store, start):
    run = start()
    run.log(0, {"acc@5": 1.0})
    with pytest.raises(MlflowException, match="acc@5"):
        run.flush()
    run.log(1, {"a": 1.0})
    run.finish("FAILED")
    assert history(run, store, "a") == [(1, 1.0)]
    assert status(run, store) == "FAILED"


def test_wrong_request__told_to_a_training_that_never_flushes(start, monkeypatch):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.0)
    run = start()
    run.log(0, {"acc@5": 1.0})

    def train():
        for step in range(1000):
            run.log(step, {"a": 1.0})
            time.sleep(0.02)

    with pytest.raises(MlflowException, match="acc@5"):
        train()


@pytest.mark.parametrize("name", ["log_batch", "log_artifact"])
def test_disk_full__one_sentence(start, monkeypatch, name):
    run = start()
    run.log(0, {"a": 1.0})
    monkeypatch.setattr(GuardedClient, name, full)
    run.log_text("x", "x.txt")
    with pytest.raises(TrainingFailedError, match=r"^tracking\.uri=sqlite.*: the disk is full"):
        run.flush()


def test_no_space_left__one_sentence(start, monkeypatch):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_module.shutil, "copyfile", no_space)
    run = start()
    with pytest.raises(TrainingFailedError, match="the disk is full"):
        run.log_file(run._journal.folder / "run.json", "copy.json")
    monkeypatch.setattr("kd_lab.store.journal.os.write", no_space)
    with pytest.raises(TrainingFailedError, match="the disk is full"):
        run.log(0, {"a": 1.0})


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


def test_store_that_hangs__waited_for_once(start, monkeypatch, caplog):
    free = threading.Event()
    monkeypatch.setattr(writer, "PATIENCE_WITH_FILE_S", 1.0)
    run = start()
    run.flush()
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: free.wait(60))
    run.log(0, {"a": 1.0})
    started = time.monotonic()
    run.flush()
    assert time.monotonic() - started >= 1
    started = time.monotonic()
    for _ in range(20):
        run.flush()
    assert time.monotonic() - started < 1
    assert caplog.text.count("the store does not answer (not in 1 s)") == 1
    free.set()
