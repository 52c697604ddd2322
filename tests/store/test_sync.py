"""What was kept comes into the store: completely, and once, wherever it is interrupted."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab.errors import UserError
from kd_lab.names import (
    ROLES,
    TAG_BASELINE_RUN,
    TAG_DATA_CONTEXT,
    TAG_KEY,
    TAG_PARENT,
    TAG_REASON,
    TAG_ROLE,
    TAG_SYNC_TO,
    TAG_SYNCED_RUN,
    TAG_TEACHER_RUN,
)
from kd_lab.store import pending
from kd_lab.store.client import StoreAwayError
from kd_lab.store.journal import Kept
from kd_lab.store.location import Location
from kd_lab.store.pending import Input
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import sync

LOCAL = "sqlite:///local.db"
READS = [
    Input("digits", f"ab-{part}", "code", "{}", None, "{}", {TAG_DATA_CONTEXT: context})
    for part, context in (("train", "training"), ("test", "test"))
]
WRITES = (
    "create_run",
    "log_batch",
    "log_artifact",
    "set_terminated",
    "set_tag",
    "log_inputs",
)


def away(uri, _question):
    raise StoreAwayError(f"tracking.uri={uri}: the store does not answer (in this test).")


@pytest.fixture
def gone(monkeypatch):
    """Around what happens while the store is away for whoever starts a run."""

    @contextmanager
    def around():
        with monkeypatch.context() as patch:
            patch.setattr("kd_lab.store.store.asked", away)
            yield

    return around


@pytest.fixture(autouse=True)
def _small_requests(monkeypatch):
    monkeypatch.setattr(pending, "MAX_POINTS", 40)


def started(store, role, **tags):
    run = store.start_run(
        role=role,
        name=f"{role} of a test",
        params={"seed": 3},
        tags=tags,
        config_yaml="a: 1\n",
        parent=tags.get(TAG_PARENT),
        inputs=READS,
    )
    for step in range(100):
        run.log(step, {"train/loss_total": 1 / (1 + step)})
    return run


def a_family(store):
    """A sweep's teacher, baseline and student, begun and ended."""
    parent = store.sweep_parent("5" * 32, "a sweep")
    with started(store, "teacher", **{TAG_KEY: "k", TAG_PARENT: parent}) as teacher:
        teacher.log_text("weights", "model/weights.safetensors")
        teacher.log_text(f"run_id: {teacher.run_id}\n", "model/MLmodel")
    with started(store, "baseline", **{TAG_PARENT: parent}) as baseline:
        pass
    links = {TAG_TEACHER_RUN: teacher.run_id, TAG_BASELINE_RUN: baseline.run_id, TAG_PARENT: parent}
    with started(store, "student", **links) as student:
        student.log_text(f"- teacher: run {teacher.run_id}\n- student: run {student.run_id}\n", "report.md")
        student.log_measurement({"nan": float("nan"), "inf": float("inf")})
    ended = Run(store.uri, parent)
    ended.log_text(f"job,student_run\nseed=0,{student.run_id}\n", "jobs.csv")
    ended.finish()
    return parent, teacher


def contents(uri):
    """Everything in a store, by role."""
    mlflow = MlflowClient(uri)
    studies = [study.experiment_id for study in mlflow.search_experiments()]
    found = {}
    for run in mlflow.search_runs(studies):
        points = {key: len(mlflow.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}
        role = run.data.tags[TAG_ROLE]
        assert role not in found
        found[role] = (run, points)
    return found


def check_family(uri):
    found = contents(uri)
    assert set(found) == {"sweep", *ROLES}
    student, teacher = found["student"][0], found["teacher"][0]
    ids = {role: run.info.run_id for role, (run, _) in found.items()}
    assert student.data.tags[TAG_TEACHER_RUN] == ids["teacher"]
    assert student.data.tags[TAG_BASELINE_RUN] == ids["baseline"]
    for role in ROLES:
        run, points = found[role]
        assert run.data.tags[TAG_PARENT] == ids["sweep"]
        assert run.info.run_name == f"{role} of a test"
        assert run.data.params == {"seed": "3"}
        assert points["train/loss_total"] == 100
        assert [Input.of(one) for one in run.inputs.dataset_inputs] == READS
    assert found["student"][1] == {"train/loss_total": 100, "nan": 1, "inf": 1}
    assert {run.info.status for run, _ in found.values()} == {"FINISHED"}
    mlflow = MlflowClient(uri)
    report = Path(mlflow.download_artifacts(ids["student"], "report.md")).read_text()
    assert report == f"- teacher: run {ids['teacher']}\n- student: run {ids['student']}\n"
    jobs = Path(mlflow.download_artifacts(ids["sweep"], "jobs.csv")).read_text()
    assert jobs == f"job,student_run\nseed=0,{ids['student']}\n"
    assert Path(mlflow.download_artifacts(ids["teacher"], "model/weights.safetensors")).read_text() == "weights"
    model = Path(mlflow.download_artifacts(ids["teacher"], "model/MLmodel")).read_text()
    assert model == f"run_id: {ids['teacher']}\n"
    assert teacher.info.start_time < teacher.info.end_time <= student.info.start_time < student.info.end_time


def test_sync__a_family__all_there_with_its_links_and_times(store, gone, tmp_path):
    with gone():
        parent, teacher = a_family(store)
    assert contents(store.uri) == {}
    assert store.find("k").run_id == teacher.run_id  # a teacher is found again before it is brought in
    assert store.find("k").download("model/weights.safetensors").read_text() == "weights"
    assert store.find("k").metrics["train/loss_total"] == 1 / 100

    lines = list(sync(None, LOCAL))

    check_family(store.uri)
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert len(lines) == 4
    assert lines[3].startswith(f"a sweep ({parent[:8]}): 0 metric points and 1 artifact brought to run ")
    assert lines[0].startswith(
        f"teacher of a test ({teacher.run_id[:8]}): 100 metric points and 3 artifacts brought to"
    )
    assert list(sync(None, LOCAL)) == ["Nothing to bring in: no run is kept here that its store does not have."]
    check_family(store.uri)
    assert store.get(teacher.run_id).run_id == store.find("k").run_id != teacher.run_id


class Steps:
    """Counts before and after each call, and interrupts at one of these moments."""

    def __init__(self, stop_at):
        self.left = stop_at

    def around(self, function):
        def counted(*arguments, **more):
            self.count()
            done = function(*arguments, **more)
            self.count()
            return done

        return counted

    def count(self):
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_sync__interrupted_anywhere_and_started_again__the_same(store, gone, tmp_path, empty_database, monkeypatch):
    """Ended before and after each single request that writes, and before a folder is removed."""
    with gone():
        a_family(store)
    shutil.copytree(tmp_path / "kd_lab_rescue", tmp_path / "all")
    plain = {name: getattr(MlflowClient, name) for name in WRITES}
    stop_at, whole = 0, False
    while not whole:
        target = tmp_path / f"{stop_at}.db"
        shutil.copyfile(empty_database, target)
        shutil.copytree(tmp_path / "all", tmp_path / "kd_lab_rescue", dirs_exist_ok=True)

        steps = Steps(stop_at)
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(MlflowClient, name, steps.around(plain[name]))
            patch.setattr(Kept, "remove", steps.around(Kept.remove))
            try:
                list(sync(f"sqlite:///{target}", LOCAL))
                whole = True
            except KeyboardInterrupt:
                pass
        list(sync(f"sqlite:///{target}", LOCAL))
        check_family(f"sqlite:///{target}")
        stop_at += 5  # a step that is no divisor of what one run takes: all kinds of requests are met
    assert stop_at > 50


def test_sync__a_student_before_its_teacher__linked_all_the_same(store, gone, tmp_path):
    with gone():
        a_family(store)
    header = tmp_path / "kd_lab_rescue"
    teacher = next(
        path for path in header.glob("*/run.json") if json.loads(path.read_text())["name"].startswith("teacher")
    )
    teacher.parent.rename(tmp_path / "later")
    list(sync(None, LOCAL))
    ids = {role: run.info.run_id for role, (run, _) in contents(store.uri).items()}
    header.mkdir()
    (tmp_path / "later").rename(teacher.parent)
    list(sync(None, LOCAL))
    found = contents(store.uri)
    assert found["student"][0].info.run_id == ids["student"]
    assert found["student"][0].data.tags[TAG_TEACHER_RUN] == found["teacher"][0].info.run_id


def test_sync__a_run_that_is_still_written__left_alone(store, gone):
    with gone():
        run = started(store, "student")
    (line,) = list(sync(None, LOCAL))
    assert line == f"student of a test ({run.run_id[:8]}): still running, left alone"
    assert contents(store.uri) == {}
    run.finish()
    assert next(sync(None, LOCAL)).endswith("FINISHED")


def test_sync__killed_before_it_ended__killed_as_of_its_last_metric(store, gone, tmp_path):
    with gone():
        run = started(store, "student")
    run._lease.release(done=False)  # as the system does when the process dies
    last = Kept(tmp_path / "kd_lab_rescue" / run.run_id).pending().points[-1]
    assert next(sync(None, LOCAL)).endswith("KILLED")
    found = contents(store.uri)["student"][0]
    assert (found.info.status, found.info.end_time) == ("KILLED", last.timestamp_ms)
    assert "the process ended without closing this run" in found.data.tags[TAG_REASON]


def test_sync__half_a_line__the_rest_comes_in(store, gone, tmp_path):
    with gone(), started(store, "student") as run:
        pass
    log = next((tmp_path / "kd_lab_rescue" / run.run_id).glob("log-*.jsonl"))
    log.write_text(log.read_text() + '{"points": [["a", 1.0, 5')
    list(sync(None, LOCAL))
    assert contents(store.uri)["student"][1] == {"train/loss_total": 100}


def test_sync__a_run_of_another_store__one_sentence_and_kept(store, tmp_path, empty_database):
    run = started(store, "student")
    run.flush()
    run._writer = None  # a process that ends here
    run.finish()
    shutil.copyfile(empty_database, tmp_path / "other.db")
    with pytest.raises(UserError, match=rf"^tracking\.uri=.*other\.db: run {run.run_id} is not there; it was begun in"):
        list(sync(f"sqlite:///{tmp_path}/other.db", LOCAL))
    assert (tmp_path / "kd_lab_rescue" / run.run_id).is_dir()


def test_sync__server_still_away__one_sentence_and_the_others_come_in(store, gone, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Location.parse("http://127.0.0.1:9").locks.mkdir(parents=True)  # it was used before
    with gone(), started(store, "student") as run:
        pass
    there = tmp_path / "kd_lab_rescue" / ("0" * 32)
    shutil.copytree(tmp_path / "kd_lab_rescue" / run.run_id, there)
    header = json.loads((there / "run.json").read_text()) | {"uri": "http://127.0.0.1:9", "local_id": "0" * 32}
    (there / "run.json").write_text(json.dumps(header))
    said = []
    with pytest.raises(
        UserError, match=r"^tracking\.uri=http://127\.0\.0\.1:9: the server is still away \(.*refused\); 1 run kept"
    ):
        said.extend(sync(None, LOCAL))
    assert set(contents(store.uri)) == {"student"}
    assert there.is_dir()


@pytest.fixture
def stand_in(tmp_path, empty_database, monkeypatch):
    """A local file that stands in for the store "server.db", which is there but pretends to be a server."""
    shutil.copyfile(empty_database, tmp_path / "local.db")
    shutil.copyfile(empty_database, tmp_path / "server.db")
    monkeypatch.chdir(tmp_path)
    return Store.open(LOCAL, "digits", instead_of=f"sqlite:///{tmp_path}/server.db")


def test_sync__runs_of_a_stand_in__all_there_and_marked(stand_in, tmp_path):
    server = f"sqlite:///{tmp_path}/server.db"
    _, teacher = a_family(stand_in)
    lines = list(sync(None, LOCAL))
    assert len(lines) == 4
    check_family(server)
    tags = {tag for run, _ in contents(server).values() for tag in run.data.tags}
    assert not {TAG_SYNC_TO, TAG_SYNCED_RUN} & tags
    local = stand_in.get(teacher.run_id)
    assert local.tags[TAG_SYNCED_RUN] == contents(server)["teacher"][0].info.run_id
    assert list(sync(None, LOCAL)) == ["Nothing to bring in: no run is kept here that its store does not have."]
    assert stand_in.find("k").run_id == teacher.run_id  # still there for the next time without a server


def test_sync__a_teacher_that_was_in_the_stand_in_before__comes_along(tmp_path, stand_in):
    server = f"sqlite:///{tmp_path}/server.db"
    earlier = Store.open(LOCAL, "digits")
    with started(earlier, "teacher") as teacher:
        pass
    with started(earlier, "baseline"):
        pass  # of no concern to the server
    with started(stand_in, "student", **{TAG_TEACHER_RUN: teacher.run_id}):
        pass
    assert len(list(sync(None, LOCAL))) == 2
    found = contents(server)
    assert set(found) == {"teacher", "student"}
    assert found["student"][0].data.tags[TAG_TEACHER_RUN] == found["teacher"][0].info.run_id


def test_sync__stand_in_interrupted__the_same(stand_in, tmp_path, monkeypatch):
    a_family(stand_in)
    plain = MlflowClient.set_tag

    def stop(*arguments, **more):
        if arguments[2] == TAG_SYNCED_RUN:
            raise KeyboardInterrupt
        return plain(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_tag", stop)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                list(sync(None, LOCAL))
    list(sync(None, LOCAL))
    check_family(f"sqlite:///{tmp_path}/server.db")
