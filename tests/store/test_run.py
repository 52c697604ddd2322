"""A run while it is written: on the disk at once, in the store by itself, ended with the status that is true."""

import pickle
import resource
import sqlite3
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
import sqlalchemy
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import sqlalchemy_store

from kd_lab.errors import PrunedError, TrainingFailedError
from kd_lab.names import TAG_REASON
from kd_lab.store import writer
from kd_lab.store.entries import Input
from kd_lab.store.guard import GuardedClient
from kd_lab.store.journal import Header, Journal
from kd_lab.store.run import Run
from tests.store.conftest import START, in_a_child

DIGITS = [
    Input("digits", "ab-train", "code", "{}", "{}", '{"samples": 9}', {"mlflow.data.context": "training"}),
    Input("digits", "ab-test", "code", "{}", None, None, {"mlflow.data.context": "test"}),
]


def history(run, store, key):
    return [(point.step, point.value) for point in MlflowClient(store.uri).get_metric_history(run.run_id, key)]


def status(run, store):
    return MlflowClient(store.uri).get_run(run.run_id).info.status


def waiting(run, tmp_path):
    """What the store does not have yet."""
    return Journal(tmp_path / "kd_lab_rescue" / run.run_id).entries()


def test_log__on_the_disk_at_once__in_the_store_by_flush(store, start, tmp_path):
    run = start(inputs=DIGITS)
    assert waiting(run, tmp_path).inputs == DIGITS
    run.flush()
    assert not waiting(run, tmp_path)
    read = MlflowClient(store.uri).get_run(run.run_id).inputs.dataset_inputs
    assert [Input.of(one) for one in read] == DIGITS
    run.log(0, {"train/loss_total": 2.0})
    (point,) = waiting(run, tmp_path).points
    assert (point.key, point.value, point.step) == ("train/loss_total", 2.0, 0)
    run.log(1, {"train/loss_total": 1.5, "train/loss_hard": 3.0})
    run.log_measurement({"test/accuracy_top1": 0.5})
    assert history(run, store, "train/loss_total") == []
    for _ in range(2):
        before = run.seconds
        run.flush()
        assert run.seconds > before > 0
        assert history(run, store, "train/loss_total") == [(0, 2.0), (1, 1.5)]
        assert history(run, store, "train/loss_hard") == [(1, 3.0)]
    assert store.get(run.run_id).metrics["test/accuracy_top1"] == 0.5


def test_log__some_seconds_later__in_the_store_by_itself(store, start, monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.2)
    run = start()
    for step in range(3):
        run.log(step, {"a": float(step)})
        deadline = time.monotonic() + 20
        while waiting(run, tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert history(run, store, "a")[-1] == (step, float(step))


def test_every_call__asks_the_store_in_a_thread_of_its_own(store, start, monkeypatch):
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
        run.flush()
    assert len(asked_by) >= 4
    assert threading.main_thread() not in asked_by
    assert status(run, store) == "FINISHED"


def test_flush__more_than_mlflow_takes_at_once__all_written(store, start):
    run = start()
    for step in range(2500):
        run.log(step, {"a": float(step)})
    run.flush()
    assert history(run, store, "a") == [(step, float(step)) for step in range(2500)]


def test_artifacts__text_file_figure(store, start, tmp_path):
    run = start()
    (tmp_path / "other name.bin").write_bytes(b"\x00\x01")
    run.log_text("hello", "report.md")
    run.log_file(tmp_path / "other name.bin", "model/weights.safetensors")
    run.log_figure(Figure(), "figures/a.png")
    run.flush()
    stored = store.get(run.run_id)
    assert stored.download("report.md").read_text() == "hello"
    assert stored.download("model/weights.safetensors").read_bytes() == b"\x00\x01"
    assert stored.download("figures/a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError, match=r"Expected a file to log as a\.bin"):
        run.log_file(tmp_path / "missing", "a.bin")


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


def test_with__end_fails_while_unwinding__first_error_wins(start, caplog):
    run = start()
    run.log(0, {"acc@5": 1.0})  # which MLflow refuses
    with pytest.raises(ValueError, match="the cause"), run:
        raise ValueError("the cause")
    assert "acc@5" in caplog.text


def test_finish__twice__first_counts(store, start):
    with start() as run:
        run.finish("KILLED", reason="stopped")
    assert status(run, store) == "KILLED"


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


def test_pickle__what_a_copys_process_could_not_write__the_run_writes_at_its_end(store, start, tmp_path):
    run = start()
    packed = pickle.dumps(run)
    in_a_child(lambda: pickle.loads(packed).log(1, {"a": 2.0}))  # it ends before the store has it
    run.log(2, {"a": 3.0})
    run.finish()
    assert history(run, store, "a") == [(1, 2.0), (2, 3.0)]
    assert not (tmp_path / "kd_lab_rescue").exists()


@pytest.mark.parametrize("wrong", ["acc@5", "digest"])
def test_wrong_request__raised_and_the_rest_is_written(store, start, wrong):
    run = start(inputs=[DIGITS[0]._replace(digest="x" * 37)] if wrong == "digest" else ())
    if wrong == "acc@5":
        run.log(0, {wrong: 1.0})
    with pytest.raises(MlflowException, match=wrong):
        run.flush()
    run.log(1, {"a": 1.0})
    run.finish("FAILED")
    assert history(run, store, "a") == [(1, 1.0)]
    assert status(run, store) == "FAILED"


def test_wrong_request__raised_in_a_training_that_never_flushes(start, monkeypatch):
    monkeypatch.setattr(writer, "WRITE_EVERY_S", 0.0)
    run = start()
    run.log(0, {"acc@5": 1.0})

    def train():
        for step in range(1000):
            run.log(step, {"a": 1.0})
            time.sleep(0.02)

    with pytest.raises(MlflowException, match="acc@5"):
        train()


def test_disk_full__one_sentence(store, start):
    """A database that may not grow any more."""
    run = start()
    engine = sqlalchemy_store.SqlAlchemyStore._get_or_create_engine(store.uri)

    def cap(connection: sqlite3.Connection, _: object, __: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlalchemy.event.listen(engine, "checkout", cap)
    try:
        for step in range(5000):
            run.log(step, {"a" * 200: 1.0})
        with pytest.raises(TrainingFailedError, match=r"^tracking\.uri=sqlite.*: the disk is full"):
            run.flush()
    finally:
        sqlalchemy.event.remove(engine, "checkout", cap)


def test_no_space_for_what_is_kept__one_sentence(away, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        run = away.start_run(**START)
        for fill in (lambda: run.log_text("x" * 100_000, "report.md"), lambda: run.log(0, {"a" * 100_000: 1.0})):
            with pytest.raises(TrainingFailedError, match="the disk is full"):
                fill()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@contextmanager
def files_of(most):
    """No file may have more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = r"the disk is full; free some space and start again\.$"


def test_store__files_may_not_grow__said_as_a_full_disk(start):
    run = start()
    run.flush()
    with files_of(1000), pytest.raises(TrainingFailedError, match=FULL):
        run.log_text("x" * 5000, "report.md")
    run.log_text("kept", "report.md")
    run.finish()


def test_begin__no_room_to_say_what_it_is__leaves_no_folder(tmp_path):
    header = Header("http://127.0.0.1:9", "a" * 32, study="digits", params={"long": "x" * 5000})
    with files_of(1000), pytest.raises(TrainingFailedError, match=FULL):
        Run.begin(header, tmp_path / "kd_lab_rescue" / ("a" * 32), None)
    assert list(tmp_path.iterdir()) == []
