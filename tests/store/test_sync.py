"""What was kept comes into the store: completely, and once, wherever it is interrupted."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.store import entries
from kd_lab.store.entries import End, Entries, Input
from kd_lab.store.journal import Header, Journal
from kd_lab.store.lease import host
from kd_lab.store.location import Location
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import bring_in, sync, waiting_here
from tests.store.conftest import in_a_child
from tests.store.servers import free_port

NOTHING = ["Nothing to bring in: no run is kept here that its store does not have."]
READS = [
    Input("digits", f"ab-{part}", "code", "{}", None, "{}", {names.TAG_DATA_CONTEXT: context})
    for part, context in (("train", "training"), ("test", "test"))
]
WRITES = ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag", "log_inputs")
WEIGHTS = names.ARTIFACT_WEIGHTS


@pytest.fixture(autouse=True)
def _small_requests(monkeypatch):
    monkeypatch.setattr(entries, "MAX_POINTS", 40)


def started(store, role, **tags):
    parent = tags.get(names.TAG_PARENT)
    run = store.start_run(
        role=role, name=f"{role} of a test", params={"seed": 3}, tags=tags, config_yaml="", parent=parent, inputs=READS
    )
    for step in range(100):
        run.log(step, {"train/loss_total": 1 / (1 + step)})
    return run


def a_family(store):
    """A sweep's teacher, baseline and student, begun and ended; the ids of sweep and teacher."""
    parent = store.sweep_parent("5" * 32, "a sweep")
    with started(store, "teacher", **{names.TAG_KEY: "k", names.TAG_PARENT: parent}) as teacher:
        teacher.log_text("weights", WEIGHTS)
        teacher.log_text(f"run_id: {teacher.run_id}\n", "model/MLmodel")
    with started(store, "baseline", **{names.TAG_PARENT: parent}) as baseline:
        pass
    links = {names.TAG_TEACHER_RUN: teacher.run_id, names.TAG_BASELINE_RUN: baseline.run_id, names.TAG_PARENT: parent}
    with started(store, "student", **links) as student:
        student.log_text(f"- teacher: run {teacher.run_id}\n- student: run {student.run_id}\n", "report.md")
        student.log_measurement({"nan": float("nan"), "inf": float("inf")})
    ended = Run(store.uri, parent)
    ended.log_text(f"job,student_run\nseed=0,{student.run_id}\n", "jobs.csv")
    ended.finish()
    return parent, teacher.run_id


def meant_for(uri, *folders):
    """As if the runs that wait here had been begun for this store."""
    for header in [folder / "run.json" for folder in folders] or Path("kd_lab_rescue").glob("*/run.json"):
        said = json.loads(header.read_text())
        said["tags"][names.TAG_HOST] = host(Location.parse(uri))
        header.write_text(json.dumps(said | {"uri": uri}))


def contents(uri):
    """Everything in a store, by role: the run, and how many points each metric has."""
    mlflow = MlflowClient(uri)
    found = {}
    for run in mlflow.search_runs([study.experiment_id for study in mlflow.search_experiments()]):
        points = {key: len(mlflow.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}
        role = run.data.tags[names.TAG_ROLE]
        assert role not in found
        found[role] = (run, points)
    return found


def check_family(uri):
    found = contents(uri)
    assert set(found) == {"sweep", *names.ROLES}
    student, teacher = found["student"][0], found["teacher"][0]
    ids = {role: run.info.run_id for role, (run, _) in found.items()}
    assert student.data.tags[names.TAG_TEACHER_RUN] == ids["teacher"]
    assert student.data.tags[names.TAG_BASELINE_RUN] == ids["baseline"]
    for role in names.ROLES:
        run, points = found[role]
        assert run.data.tags[names.TAG_PARENT] == ids["sweep"]
        assert run.info.run_name == f"{role} of a test"
        assert run.data.params == {"seed": "3"}
        assert points["train/loss_total"] == 100
        assert [Input.of(one) for one in run.inputs.dataset_inputs] == READS
    assert found["student"][1] == {"train/loss_total": 100, "nan": 1, "inf": 1}
    assert {run.info.status for run, _ in found.values()} == {"FINISHED"}
    for role, artifact, text in (
        ("student", "report.md", f"- teacher: run {ids['teacher']}\n- student: run {ids['student']}\n"),
        ("sweep", "jobs.csv", f"job,student_run\nseed=0,{ids['student']}\n"),
        ("teacher", "model/MLmodel", f"run_id: {ids['teacher']}\n"),
        ("teacher", WEIGHTS, "weights"),
    ):
        assert Path(MlflowClient(uri).download_artifacts(ids[role], artifact)).read_text() == text
    assert teacher.info.start_time < teacher.info.end_time <= student.info.start_time < student.info.end_time


def test_waiting__found_by_key_and_by_id_before_it_is_brought_in(away):
    _, teacher = a_family(away)
    for found in (away.find("k"), away.get(teacher), *away.finished("digits", "teacher")):
        assert found.run_id == teacher
        assert found.download(WEIGHTS).read_text() == "weights"
        assert found.metrics["train/loss_total"] == 1 / 100
    assert away.find("another") is None
    assert away.finished("another study", "teacher") == []


def test_sync__a_family__all_there_with_its_links_and_times(away, store, tmp_path):
    parent, teacher = a_family(away)
    meant_for(store.uri)
    (said,) = waiting_here(store.uri)
    assert said == f"4 runs wait in {tmp_path}/kd_lab_rescue for {store.uri}: `kd-lab sync` brings them there."

    lines = list(sync(None))

    check_family(store.uri)
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert lines[0].startswith(f"teacher of a test ({teacher[:8]}): 100 metric points and 3 artifacts brought to run ")
    assert lines[3].startswith(f"a sweep ({parent[:8]}): 0 metric points and 1 artifact brought to run ")
    assert len(lines) == 4
    assert list(sync(None)) == NOTHING
    assert waiting_here(store.uri) == []
    assert store.get(teacher).run_id == store.find("k").run_id != teacher


def test_sync__to_a_file__copied_once_and_still_waiting_for_the_server(away, store, tmp_path):
    a_family(away)
    for points in (100, 0):
        lines = list(sync("sqlite:///mlflow.db"))
        assert f": {points} metric points and 3 artifacts copied to run " in lines[0]
        assert lines[0].endswith(f" in {store.uri}; FINISHED; it waits for {away.uri} all the same")
        check_family(store.uri)
    (said,) = waiting_here(store.uri)
    assert said.startswith(f"4 runs wait in {tmp_path}/kd_lab_rescue for {away.uri}: `kd-lab sync` brings them there; ")
    assert said.endswith(
        "`kd-lab sync tracking.uri=sqlite:///mlflow.db` copies them to where `kd-lab compare` and `kd-lab ui` look."
    )


def test_bring_in__the_next_job__all_that_waits_for_its_store_and_nothing_else(away, store, tmp_path):
    a_family(away)
    in_a_child(lambda: started(away, "killed"))
    meant_for(store.uri)
    elsewhere, alive = started(away, "elsewhere"), started(store, "alive")
    elsewhere.finish()
    assert bring_in(store) == [f"5 runs that waited in {tmp_path}/kd_lab_rescue brought to {store.uri}"]
    found = contents(store.uri)
    assert (found["killed"][0].info.status, found["alive"][0].info.status) == ("KILLED", "RUNNING")
    assert {path.name for path in (tmp_path / "kd_lab_rescue").iterdir()} == {elsewhere.run_id, alive.run_id}
    assert bring_in(store) == []
    alive.finish()


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
def test_sync__interrupted_anywhere_and_started_again__the_same(away, tmp_path, empty_store, monkeypatch):
    """Ended before and after each single request that writes, and before a folder is removed."""
    a_family(away)
    (tmp_path / "kd_lab_rescue").rename(tmp_path / "all")
    plain = {name: getattr(MlflowClient, name) for name in WRITES}
    stop_at, whole = 0, False
    while not whole:
        target = tmp_path / f"{stop_at}.db"
        uri = f"sqlite:///{target}"
        shutil.copyfile(empty_store, target)
        shutil.copytree(tmp_path / "all", tmp_path / "kd_lab_rescue", dirs_exist_ok=True)
        meant_for(uri)
        steps = Steps(stop_at)
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(MlflowClient, name, steps.around(plain[name]))
            patch.setattr(Journal, "remove", steps.around(Journal.remove))
            try:
                list(sync(None))
                whole = True
            except KeyboardInterrupt:
                pass
        list(sync(None))
        check_family(uri)
        stop_at += 5  # a step that is no divisor of what one run takes: all kinds of requests are met
    assert stop_at > 50


@pytest.mark.slow
def test_sync__a_student_before_its_teacher__linked_all_the_same(away, store, tmp_path):
    _, teacher = a_family(away)
    meant_for(store.uri)
    folder = tmp_path / "kd_lab_rescue" / teacher
    folder.rename(tmp_path / "later")
    list(sync(None))
    student = contents(store.uri)["student"][0].info.run_id
    folder.parent.mkdir()
    (tmp_path / "later").rename(folder)
    list(sync(None))
    found = contents(store.uri)
    assert found["student"][0].info.run_id == student
    assert found["student"][0].data.tags[names.TAG_TEACHER_RUN] == found["teacher"][0].info.run_id


def test_sync__a_run_that_is_still_written__left_alone(away, store):
    run = started(away, "student")
    assert list(sync(store.uri)) == [f"student of a test ({run.run_id[:8]}): still running, left alone"]
    assert contents(store.uri) == {}
    run.finish()
    assert "; FINISHED; " in next(sync(store.uri))


def test_sync__killed_before_it_ended__killed_as_of_its_last_metric(away, store, tmp_path):
    in_a_child(lambda: started(away, "student"))
    (folder,) = (tmp_path / "kd_lab_rescue").iterdir()
    last = Journal(folder).entries().points[-1]
    assert "; KILLED; " in next(sync(store.uri))
    found = contents(store.uri)["student"][0]
    assert (found.info.status, found.info.end_time) == ("KILLED", last.timestamp_ms)
    assert "the process ended without closing this run" in found.data.tags[names.TAG_REASON]


def test_sync__half_a_line__the_rest_comes_in(away, store, tmp_path):
    with started(away, "student") as run:
        pass
    log = next((tmp_path / "kd_lab_rescue" / run.run_id).glob("log-*.jsonl"))
    log.write_text(log.read_text() + '{"points": [["a", 1.0, 5')
    list(sync(store.uri))
    assert contents(store.uri)["student"][1] == {"train/loss_total": 100}


def test_sync__a_run_of_another_store__one_sentence_and_kept(start, tmp_path, empty_store):
    run, folder = start(), tmp_path / "kd_lab_rescue"
    shutil.copytree(folder / run.run_id, tmp_path / "before" / run.run_id)
    run.finish()
    (tmp_path / "before").rename(folder)
    shutil.copyfile(empty_store, tmp_path / "other.db")
    with pytest.raises(UserError, match=rf"^tracking\.uri=.*other\.db: run {run.run_id} is not there; it was begun in"):
        list(sync(f"sqlite:///{tmp_path}/other.db"))
    assert (folder / run.run_id).is_dir()


def test_sync__server_still_away__one_sentence_and_the_others_come_in(away, store, tmp_path):
    with started(away, "teacher") as waits, started(away, "student") as comes:
        pass
    meant_for(store.uri, tmp_path / "kd_lab_rescue" / comes.run_id)
    with pytest.raises(UserError, match=rf"^tracking\.uri={away.uri}: the server is still away \(.*refused\); 1 run"):
        list(sync(None))
    assert set(contents(store.uri)) == {"student"}
    assert (tmp_path / "kd_lab_rescue" / waits.run_id).is_dir()


def test_sweep_parent__begun_while_the_store_was_away__the_same_one_there(away, store, tmp_path):
    parent = away.sweep_parent("5" * 32, "a sweep")
    Run(away.uri, parent).finish("KILLED", "Ctrl-C")
    meant_for(store.uri)
    there = store.sweep_parent("5" * 32, "a sweep")
    assert not (tmp_path / "kd_lab_rescue").exists()
    found = contents(store.uri)["sweep"][0]
    assert (found.info.run_id, found.info.status) == (there, "RUNNING")
    assert names.TAG_REASON not in found.data.tags


def test_sweep_parent__gone_on_with_while_the_store_is_away__one_that_ends_as_the_last(away, store):
    for status, reason in (("KILLED", "Ctrl-C"), ("FINISHED", None)):
        parent = away.sweep_parent("5" * 32, "a sweep")
        Run(away.uri, parent).finish(status, reason)
    list(sync(store.uri))
    found = contents(store.uri)["sweep"][0]
    assert (found.info.status, names.TAG_REASON in found.data.tags) == ("FINISHED", False)


def test_open__away__refused_unless_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"http://127.0.0.1:{free_port()}"
    for refused in (lambda: Store.open(uri, "digits"), lambda: Store.existing(uri)):
        with pytest.raises(UserError, match=rf"^tracking\.uri={uri}: no MLflow server answers there"):
            refused()
    assert list(tmp_path.iterdir()) == []
    assert Store.existing(uri, although_away=True).find("k") is None


@pytest.mark.slow
def test_sync__its_store_was_deleted__said_and_made_anew_where_it_is_named(tmp_path, empty_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, "gone.db")

    def write():
        run = started(Store.open("sqlite:///gone.db", "digits"), "student")
        run.log_text("weights", WEIGHTS)
        run.flush()
        run.log_measurement({"late": 1.0})
        run._journal.append(Entries(end=End("FINISHED", 5)))

    in_a_child(write)
    Path("gone.db").unlink()
    with pytest.raises(UserError, match=r"which was deleted or made anew since; `kd-lab sync tracking\.uri=sqlite:///"):
        list(sync(None))
    assert not Path("gone.db").exists()

    (said,) = list(sync("sqlite:///gone.db"))

    assert said.endswith("FINISHED (made anew, without what that store had of it)")
    run, points = contents(f"sqlite:///{tmp_path}/gone.db")["student"]
    assert (run.info.status, run.data.params, points) == ("FINISHED", {"seed": "3"}, {"late": 1})
    assert {path.name for path in Path("mlartifacts").rglob("*.*")} == {"config.yaml", Path(WEIGHTS).name}
    assert not Path("kd_lab_rescue").exists()


def test_sync__its_store_was_deleted_and_little_is_kept__what_to_delete(tmp_path, empty_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, "new.db")
    folder = tmp_path / "kd_lab_rescue" / ("3" * 32)
    Journal(folder).begin(Header(f"sqlite:///{tmp_path}/new.db", folder.name))
    with pytest.raises(UserError, match=rf"too little is kept here without it; delete {folder}"):
        list(sync("sqlite:///new.db"))


@pytest.mark.parametrize("uri", [None, "sqlite:///bad.db"])
def test_sync__store_that_is_no_database__one_sentence(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    Journal(tmp_path / "kd_lab_rescue" / ("3" * 32)).begin(Header(f"sqlite:///{tmp_path}/bad.db", "3" * 32))
    Path("bad.db").write_bytes(b"not a database, but longer than a header of SQLite would be " * 20)
    with pytest.raises(UserError, match=r"bad\.db: MLflow cannot use this store \(.*file is not a database"):
        list(sync(uri))
