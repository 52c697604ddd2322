"""A job and a sweep as a user runs them, whose server is away: from the start, or killed in the middle."""

import csv
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kd_lab import names
from tests.integration.processes import SMALL, all_runs, end_all, finish, kd_lab, of_role, roles, start
from tests.store.servers import Server, free_port

pytestmark = pytest.mark.slow
LINKS = {*names.REFERENCES, names.TAG_LOCAL_ID, names.TAG_HOST}
NOTHING = "Nothing to bring in: no run is kept here that its store does not have.\n"


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    folder = tmp_path / "server"
    folder.mkdir()
    found = Server(folder)
    yield found
    found.stop()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def there(uri: str) -> list[Run]:
    client = MlflowClient(uri)
    study = client.get_experiment_by_name("synthetic")
    return [] if study is None else list(client.search_runs([study.experiment_id], order_by=["start_time ASC"]))


def content(uri: str, run: Run) -> dict[str, object]:
    """All that a run says, but for the ids of runs and what depends on the store."""
    client = MlflowClient(uri)
    folder = Path(client.download_artifacts(run.info.run_id, ""))
    keys = sorted(run.data.metrics)
    return {
        "run": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in LINKS},
        "points": {key: [(p.step, p.value, p.timestamp) for p in history(client, run, key)] for key in keys},
        "artifacts": {
            path.relative_to(folder).as_posix(): path.read_bytes().replace(run.info.run_id.encode(), b"this run")
            if path.suffix not in {".md", ".csv"}
            else b""
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def history(client: MlflowClient, run: Run, key: str) -> list:  # type: ignore[type-arg]
    return list(client.get_metric_history(run.info.run_id, key))


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_server__away_at_the_start__one_sentence_and_nothing_is_written(here: Path, more: list[str]) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    code, out, err = kd_lab(here, *more, *SMALL, f"tracking.uri={uri}")
    assert (code, out) == (2, "")
    assert err.startswith(f"kd-lab: tracking.uri={uri}: no MLflow server answers there (")
    assert "tracking.offline=fallback" in err
    assert len(err.splitlines()) == 1
    assert list(here.iterdir()) == []


def test_fallback__a_sweep_runs_and_is_seen_and_the_next_job_brings_all_of_it(here: Path, server: Server) -> None:
    job = [*SMALL, f"tracking.uri={server.uri}", "tracking.offline=fallback"]
    code, out, err = kd_lab(here, "-m", *job, "seed=0,1", "sweep.jobs=2")
    assert code == 0, err
    assert out.count(f"tracking.uri={server.uri}: the store does not answer (") == 1
    assert "2 jobs: 2 done in " in out
    wait = f"6 runs wait in {here}/kd_lab_rescue for {server.uri}: `kd-lab sync` brings them there; `kd-lab sync "
    assert out.splitlines()[-1].startswith(f"{wait}tracking.uri=sqlite:///mlflow.db` copies them to where `kd-lab c")
    assert [path.name for path in here.iterdir()] == ["kd_lab_rescue"]
    for command in ("compare", "ui"):
        assert kd_lab(here, command)[2].startswith(wait)
    code, _, err = kd_lab(here, "sync")
    assert code == 2
    assert err.startswith(f"kd-lab: tracking.uri={server.uri}: the server is still away (")
    assert "6 runs kept here for it, try again when it is back." in err

    code, out, err = kd_lab(here, "sync", "tracking.uri=sqlite:///mlflow.db")
    assert (code, len(out.splitlines())) == (0, 6), err
    code, out, err = kd_lab(here, "compare")
    assert (code, err.startswith(wait)) == (0, True)
    assert "reaches a mean test accuracy of" in out
    local = all_runs(here)
    assert roles(local) == {"sweep": 1, "teacher": 1, "baseline": 2, "student": 2}

    server.start()
    code, out, err = kd_lab(here, *job, "seed=1")
    assert code == 0, err
    assert out.startswith(f"6 runs that waited in {here}/kd_lab_rescue brought to {server.uri}\n")
    assert "baseline: run " in out
    assert out.count(" found again and verified") == 2
    assert kd_lab(here, "sync") == (0, NOTHING, "")
    *brought, student = there(server.uri)
    assert student.data.tags["role"] == "student"
    own = f"sqlite:///{here}/mlflow.db"
    assert [content(own, run) for run in local] == [content(server.uri, run) for run in brought]
    ids = {run.data.tags[names.TAG_LOCAL_ID]: run.info.run_id for run in brought}
    known = {run.info.run_id: ids[run.data.tags[names.TAG_LOCAL_ID]] for run in local}
    for mine, theirs in zip(local, brought, strict=True):
        for tag in names.REFERENCES:
            assert theirs.data.tags.get(tag) == known.get(mine.data.tags.get(tag, ""))
    (parent,) = [run for run in brought if run.data.tags["role"] == "sweep"]
    with open(MlflowClient(server.uri).download_artifacts(parent.info.run_id, names.ARTIFACT_JOBS), newline="") as file:
        named = [row["student_run"] for row in csv.DictReader(file)]
    assert sorted(named) == sorted(run.info.run_id for run in brought if run.data.tags["role"] == "student")


def test_server__killed_in_the_middle_of_a_job__the_job_ends_and_sync_brings_the_rest_once(
    here: Path, server: Server
) -> None:
    server.start()
    job = start(here, *SMALL, "student.recipe.steps=6000", f"tracking.uri={server.uri}")
    deadline = time.monotonic() + 300
    while not any(run.data.tags["role"] == "baseline" and run.data.metrics for run in there(server.uri)):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.5)
    server.stop(signal.SIGKILL)
    code, out, err = finish(job)
    assert (code, err) == (0, "")
    assert out.count("the store does not answer (") == 1
    assert f"kept in {here}/kd_lab_rescue, and `kd-lab sync` brings it in." in out
    assert out.splitlines()[-1].startswith(f"2 runs wait in {here}/kd_lab_rescue")

    server.start()
    assert roles(there(server.uri)) == {"teacher": 1, "baseline": 1}
    code, out, err = kd_lab(here, "sync")
    assert code == 0, err
    runs = {run.data.tags["role"]: run for run in there(server.uri)}
    assert {role: run.info.status for role, run in runs.items()} == dict.fromkeys(names.ROLES, "FINISHED")
    client = MlflowClient(server.uri)
    for role in (names.BASELINE, names.STUDENT):
        steps = [point.step for point in history(client, runs[role], names.TRAIN_LOSS_TOTAL)]
        assert steps == list(range(20, 6001, 20))
        assert len(history(client, runs[role], names.TEST_ACCURACY_TOP1)) == 1
        kept = content(server.uri, runs[role])["artifacts"]
        assert {names.ARTIFACT_CONFIG, names.ARTIFACT_WEIGHTS, names.ARTIFACT_PREDICTIONS} <= set(kept)  # type: ignore[call-overload]
    assert runs["student"].data.tags[names.TAG_BASELINE_RUN] == runs["baseline"].info.run_id
    assert runs["student"].data.tags[names.TAG_TEACHER_RUN] == runs["teacher"].info.run_id
    assert not (here / "kd_lab_rescue").exists()
    assert kd_lab(here, "sync") == (0, NOTHING, "")


def test_sweep__killed__closed_by_the_next_command(here: Path) -> None:
    sweep = start(here, "-m", *SMALL, "student.recipe.steps=400000", "baseline=false", "seed=0,1")
    deadline = time.monotonic() + 300
    while not ((here / "mlartifacts").exists() and of_role(here, "student")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    sweep.kill()
    while of_role(here, "student")[0].info.status == "RUNNING":  # its worker notices
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert of_role(here, "sweep")[0].info.status == "RUNNING"
    code, out, err = kd_lab(here, *SMALL, "baseline=false")
    assert code == 0, err
    assert "was killed earlier; closed as KILLED" in out
    (parent,) = of_role(here, "sweep")
    assert parent.info.status == "KILLED"
    assert parent.data.tags[names.TAG_REASON].startswith("the process ended without closing this run")
