"""A job and a sweep as a user runs them, whose server is away: from the start, or killed in the middle."""

import csv
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kd_lab import names
from tests.integration.conftest import SMALL, Said
from tests.integration.processes import all_runs, finish, of_role, roles, start, statuses, the_run, until
from tests.store.servers import Server, free_port

pytestmark = pytest.mark.slow
Command = Callable[..., Said]

LINKS = {*names.REFERENCES, names.TAG_LOCAL_ID, names.TAG_HOST}
NOTHING = "Nothing to bring in: no run is kept here that its store does not have.\n"
JOB = ["dataset=synthetic", *SMALL]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Not started yet."""
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.stop()


def there(server: Server, study: str) -> list[Run]:
    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(study)
    return [] if found is None else list(client.search_runs([found.experiment_id], order_by=["start_time ASC"]))


def content(uri: str, run: Run) -> dict[str, object]:
    """All that a run says, but for the ids of runs and what depends on the store."""
    client = MlflowClient(uri)
    folder = Path(client.download_artifacts(run.info.run_id, ""))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        "run": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in LINKS},
        "points": {key: points(client, run, key) for key in sorted(run.data.metrics)},
        "artifacts": {
            name: b"" if path.suffix in {".md", ".csv"} else path.read_bytes().replace(run.info.run_id.encode(), b"id")
            for name, path in files.items()
        },
    }


def points(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float, int]]:
    return [(one.step, one.value, one.timestamp) for one in client.get_metric_history(run.info.run_id, key)]


@pytest.mark.parametrize("more", ["", "-m seed=0,1"])
def test_server__away_at_the_start__one_sentence_and_nothing_is_written(
    kd_lab: Command, tmp_path: Path, more: str
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    code, out, err = kd_lab(more, *JOB, f"tracking.uri={uri}")
    assert (code, out) == (2, "")
    assert err.startswith(f"kd-lab: tracking.uri={uri}: no MLflow server answers there (")
    assert "tracking.offline=fallback" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_fallback__a_sweep_runs_and_is_seen_and_the_next_job_brings_all_of_it(
    kd_lab: Command, server: Server, empty_store: Path, tmp_path: Path
) -> None:
    job = [*JOB, "study=kept", f"tracking.uri={server.uri}", "tracking.offline=fallback"]
    code, out, err = kd_lab("-m seed=0,1", *job)
    assert code == 0, err
    assert out.count(f"tracking.uri={server.uri}: the store does not answer (") == 1
    assert "2 jobs: 2 done in " in out
    wait = f"6 runs wait in {tmp_path}/kd_lab_rescue for {server.uri}: `kd-lab sync` brings them there; `kd-lab sync "
    assert out.splitlines()[-1].startswith(f"{wait}tracking.uri=sqlite:///mlflow.db` copies them to where `kd-lab c")
    assert [path.name for path in tmp_path.iterdir()] == ["kd_lab_rescue"]
    assert kd_lab("compare").err.startswith(wait)
    assert kd_lab("ui").err.startswith(wait)
    said = kd_lab("sync")
    assert said.code == 2
    assert said.err.startswith(f"kd-lab: tracking.uri={server.uri}: the server is still away (")
    assert "6 runs kept here for it, try again when it is back." in said.err

    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    code, out, err = kd_lab("sync tracking.uri=sqlite:///mlflow.db")
    assert (code, len(out.splitlines())) == (0, 6), err
    code, out, err = kd_lab("compare")
    assert (code, err.startswith(wait)) == (0, True)
    assert "reaches a mean test accuracy of" in out
    local = all_runs(tmp_path, "kept")
    assert roles(local) == {"sweep": 1, "teacher": 1, "baseline": 2, "student": 2}

    server.start()
    code, out, err = kd_lab("seed=1", *job)
    assert code == 0, err
    assert out.startswith(f"6 runs that waited in {tmp_path}/kd_lab_rescue brought to {server.uri}\n")
    assert out.count(" found again and verified") == 2
    assert kd_lab("sync") == (0, NOTHING, "")
    *brought, student = there(server, "kept")
    assert student.data.tags["role"] == "student"
    own = f"sqlite:///{tmp_path}/mlflow.db"
    assert [content(own, run) for run in local] == [content(server.uri, run) for run in brought]
    ids = {run.data.tags[names.TAG_LOCAL_ID]: run.info.run_id for run in brought}
    known = {run.info.run_id: ids[run.data.tags[names.TAG_LOCAL_ID]] for run in local}
    for mine, theirs in zip(local, brought, strict=True):
        for tag in names.REFERENCES:
            assert theirs.data.tags.get(tag) == known.get(mine.data.tags.get(tag, ""))
    (parent,) = [run for run in brought if run.data.tags["role"] == "sweep"]
    jobs = Path(MlflowClient(server.uri).download_artifacts(parent.info.run_id, names.ARTIFACT_JOBS))
    named = [row["student_run"] for row in csv.DictReader(jobs.read_text().splitlines())]
    assert sorted(named) == sorted(run.info.run_id for run in brought if run.data.tags["role"] == "student")


def test_server__killed_in_the_middle_of_a_job__the_job_ends_and_sync_brings_the_rest_once(
    kd_lab: Command, server: Server, tmp_path: Path
) -> None:
    server.start()
    # A teacher that the server does not have, and a baseline that is trained for some seconds after it is seen there.
    long = ["student.recipe.steps=4000", "student.widths=[256,256]", "teacher.seed=7"]
    job = start(tmp_path, *JOB, *long, "study=cut", f"tracking.uri={server.uri}")
    until(lambda: any(run.data.tags["role"] == "baseline" for run in there(server, "cut")))
    server.stop(signal.SIGKILL)
    code, out, err = finish(job)
    assert (code, err) == (0, "")
    assert out.count("the store does not answer (") == 1
    assert f"kept in {tmp_path}/kd_lab_rescue, and `kd-lab sync` brings it in." in out
    assert out.splitlines()[-1].startswith(f"2 runs wait in {tmp_path}/kd_lab_rescue")

    server.start()
    assert roles(there(server, "cut")) == {"teacher": 1, "baseline": 1}
    said = kd_lab("sync")
    assert said.code == 0, said.err
    runs = {run.data.tags["role"]: run for run in there(server, "cut")}
    assert {role: run.info.status for role, run in runs.items()} == dict.fromkeys(names.ROLES, "FINISHED")
    client = MlflowClient(server.uri)
    for role in (names.BASELINE, names.STUDENT):
        assert [step for step, *_ in points(client, runs[role], names.TRAIN_LOSS_TOTAL)] == list(range(20, 4001, 20))
        assert len(points(client, runs[role], names.TEST_ACCURACY_TOP1)) == 1
        artifacts = content(server.uri, runs[role])["artifacts"]
        assert {names.ARTIFACT_CONFIG, names.ARTIFACT_WEIGHTS, names.ARTIFACT_PREDICTIONS} <= set(artifacts)  # type: ignore[call-overload]
    assert runs["student"].data.tags[names.TAG_BASELINE_RUN] == runs["baseline"].info.run_id
    assert runs["student"].data.tags[names.TAG_TEACHER_RUN] == runs["teacher"].info.run_id
    assert not (tmp_path / "kd_lab_rescue").exists()
    assert kd_lab("sync") == (0, NOTHING, "")


def test_sweep__killed__closed_by_the_next_command(kd_lab: Command, small: list[str], tmp_path: Path) -> None:
    sweep = start(tmp_path, "-m", *JOB, "student.recipe.steps=400000", "baseline=false", "seed=0,1")
    until(lambda: statuses(tmp_path, "student") == ["RUNNING"])
    sweep.signal(signal.SIGKILL)
    until(lambda: statuses(tmp_path, "student") == ["KILLED"])  # its worker notices
    assert statuses(tmp_path, "sweep") == ["RUNNING"]
    said = kd_lab("dataset=synthetic", *small, "baseline=false")
    assert said.code == 0, said.err
    assert "was killed earlier; closed as KILLED" in said.out
    parent = the_run(tmp_path, "sweep")
    assert parent.info.status == "KILLED"
    assert parent.data.tags[names.TAG_REASON].startswith("the process ended without closing this run")
    assert len(of_role(tmp_path, "student")) == 2
