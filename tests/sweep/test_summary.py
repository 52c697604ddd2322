import csv
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from kd_lab import names
from kd_lab.store import client
from kd_lab.store.lease import Lease, id_of_sweep
from kd_lab.store.store import Store
from kd_lab.store.view import TAG as VIEW
from kd_lab.sweep.states import FAILED, FINISHED, FOUND, KILLED, JobState
from kd_lab.sweep.summary import MAX_ARMS, close_sweep
from tests.store.servers import Proxy, Server

NUMBERS = itertools.count()


def student(
    store: Store, seed: int, accuracy: float, *, sweep: str = "s", status: str = "FINISHED", **more: object
) -> JobState:
    """A student's run, and the job that it was of."""
    loss = str(more.get("loss", "kd"))
    node = {"weight": 1.0, "temperature": more.get("temperature", 2.0)}
    run = store.start_run(
        role="student",
        name=f"student {seed}",
        params={
            "seed": seed,
            "network": "mlp 32",
            "loss_name": loss,
            "loss": {"terms": {more.get("term", loss): node}},
        },
        tags={names.TAG_SWEEP: sweep},
        config_yaml="{}\n",
        parent=None,
    )
    run.log_measurement({names.TEST_ACCURACY_TOP1: accuracy, names.COST_TRAIN_STEPS: more.get("steps", 100)})
    run.finish(status)
    number = next(NUMBERS)
    if status != "FINISHED":
        return job(store, number, state=FAILED, open_run=run.run_id, reason="the loss became nan", code=1)
    return job(store, number, state=FINISHED if sweep == "s" else FOUND, run_id=run.run_id)


def job(store: Store, number: int, **facts: Any) -> JobState:
    return JobState(number=number, label=f"job={number}", uri=store.uri, study="digits", sweep="s", **facts)


def parent() -> MlflowRun:
    """The only sweep's run."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()], "tags.role = 'sweep'")
    return run


def artifact(name: str) -> str:
    """The text of one of its artifacts."""
    return (Path(parent().info.artifact_uri.removeprefix("file://")) / name).read_text(encoding="utf-8")


def ended() -> tuple[str, str, str]:
    """Its status, description and report."""
    return parent().info.status, parent().data.tags[names.TAG_NOTE], artifact(names.ARTIFACT_REPORT)


def test_close_sweep__prints_and_keeps_the_comparison(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [student(store, seed, 0.9 + 0.01 * seed) for seed in range(3)]
    for seed in range(3):
        student(store, seed, 0.1, sweep="another")
    close_sweep(jobs, "sweep seed=0,1,2", "FINISHED")
    out = capsys.readouterr().out
    assert "study digits: accuracy on the test part" in out
    assert "91.00 ± 1.00" in out
    status, note, report = ended()
    assert status == "FINISHED"
    assert note == report
    assert note.startswith("mlp 32 kd reaches a mean test accuracy of 91.00% over 3 seeds.")
    assert "| kd | 3 | 91.00 ± 1.00 |" in report
    page = artifact(names.ARTIFACT_PAGE)
    assert "mlp 32 kd reaches a mean test accuracy of 91.00% over 3 seeds." in page
    assert "at the end of the sweep; kd-lab" in page


def test_close_sweep__a_page_that_cannot_be_drawn__the_run_ends_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Path:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("kd_lab.sweep.summary.page_of", broken)
    with pytest.raises(RuntimeError, match="no fonts"):
        close_sweep([student(store, 0, 0.9)], "sweep", "FINISHED")
    status, note, report = ended()
    assert status == "FINISHED"
    assert note == report
    assert "| kd | 1 | 90.00 |" in report


def test_close_sweep__jobs_found_again_count_as_those_that_ran(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [student(store, 0, 0.90, sweep="an earlier one"), student(store, 1, 0.92)]
    close_sweep(jobs, "sweep seed=0,1", "FINISHED")
    assert "| kd | 2 | 91.00 ± 1.41 |" in ended()[2]
    assert artifact(names.ARTIFACT_JOBS).splitlines() == [
        "job,state,student_run,seconds,reason",
        f"{jobs[0].label},found again,{jobs[0].run_id},0.0,",
        f"{jobs[1].label},finished,{jobs[1].run_id},0.0,",
    ]


def test_close_sweep__what_was_swept_over_is_a_column_of_mlflows_table(store: Store) -> None:
    jobs = [student(store, 0, 0.9, temperature=2.0), student(store, 0, 0.8, temperature=4.0)]
    jobs = [replace(job, label=f"loss.temperature={t} seed=0") for job, t in zip(jobs, (2, 4), strict=True)]
    close_sweep(jobs, "sweep loss.temperature=2,4 seed=0", "FINISHED")
    view = MlflowClient(store.uri).get_experiment(store.experiment_id).tags[VIEW]
    assert "params.`loss.terms.kd.temperature`" in json.loads(view)["selectedColumns"]


def test_close_sweep__jobs_that_failed_alike__one_reason_in_the_report(store: Store) -> None:
    failed = [replace(student(store, seed, 0.7, status="FAILED"), label=f"seed={seed}") for seed in (1, 2)]
    close_sweep([student(store, 0, 0.9), *failed], "sweep", "FAILED")
    assert "Failed:\n\n- seed=1; seed=2: the loss became nan\n" in ended()[2]


def test_close_sweep__whatever_was_swept_over__one_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [student(store, 0, 0.9), student(store, 0, 0.8, loss="ab", steps=150)]
    jobs.append(student(store, 1, 0.7, status="FAILED"))
    close_sweep(jobs, "sweep", "FAILED")
    out = capsys.readouterr().out
    assert "- Mixed: budget (100 steps: 1; 150 steps: 1 students)" in out
    assert "- Left out: 1 failed." in out
    status, note, _ = ended()
    assert status == "FAILED"
    assert f"Failed:\n\n- {jobs[2].label}: the loss became nan\n\nMade by `kd-lab -m`" in note


def test_close_sweep__many_arms__described_by_the_best(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [student(store, 0, 0.5 + 0.01 * number, temperature=float(number)) for number in range(MAX_ARMS + 3)]
    close_sweep(jobs, "sweep", "FINISHED")
    _, note, report = ended()
    assert note.count("| kd T=") == MAX_ARMS
    assert "And 3 more arms." in note
    assert report.count("| kd T=") == MAX_ARMS + 3


def test_close_sweep__no_student_finished__closed_without_a_table(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = student(store, 0, 0.9, status="FAILED")
    close_sweep([failed], "sweep seed=0", "FAILED")
    assert capsys.readouterr().out == ""
    told = f"Failed:\n\n- {failed.label}: the loss became nan\n\nMade by `kd-lab -m seed=0`\n"
    assert ended() == ("FAILED", told, told)


def test_close_sweep__a_lost_run_is_closed_and_one_that_has_ended_is_not(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(store.uri)
    done = student(store, 0, 0.9).run_id
    still = [client.create_run(store.experiment_id, tags={"role": "student"}).info.run_id for _ in range(2)]
    reason = "its process was ended by SIGKILL"
    jobs = [
        job(store, 0, state=FAILED, open_run=still[0], lost=True, reason=reason, code=1),
        job(store, 1, state=KILLED, open_run=still[1], lost=True),
        job(store, 2, state=FAILED, open_run=done, lost=True, reason=reason, code=1),
    ]
    close_sweep(jobs, "sweep", "FAILED")
    runs = [client.get_run(str(one.open_run)) for one in jobs]
    assert [run.info.status for run in runs] == ["FAILED", "KILLED", "FINISHED"]
    assert [run.data.tags.get(names.TAG_REASON) for run in runs] == [reason, None, None]


def test_close_sweep__nothing_begun__nothing_made(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    close_sweep([job(store, 0, state=FAILED, reason="too large", code=2)], "sweep", "FAILED")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="not enough values"):
        parent()


def test_close_sweep__names_of_others__text_wherever_they_leave(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "=<img src=x onerror=alert(1)>|[a](http://x.example)\x1b[2J [/b]"
    own = Store.open(store.uri, "[/b] mine")
    done = [
        replace(student(own, seed, 0.9, loss=evil, term="kd"), study="[/b] mine", label=f"={evil}") for seed in range(2)
    ]
    failed = job(store, 99, state=FAILED, reason=f"{evil}\n# Heading", trace=f"Error: {evil}", open_run=done[0].run_id)
    jobs = [*done, replace(failed, study="[/b] mine", label="@ref")]
    close_sweep(jobs, "sweep 'study=a`b' 'loss=<img>'", "FINISHED")

    out = capsys.readouterr().out
    assert "study [/b] mine: accuracy on the test part" in out
    assert "\x1b" not in out
    for text in ended()[1:]:
        assert "<img" not in text
        assert "](" not in text
        assert "\x1b" not in text
        assert "| =&lt;img src=x onerror=alert(1)>\\|[a]\\(http://x.example)\\x1b[2J [/b] | 2 |" in text
        assert "\n- @ref: =&lt;img" in text.replace("\\@", "@")
        assert "\n# Heading" not in text
        assert text.endswith("Made by ``kd-lab -m 'study=a`b' 'loss=&lt;img>'``\n")
    rows = list(csv.DictReader(io.StringIO(artifact(names.ARTIFACT_JOBS))))
    assert [row["job"][:3] for row in rows] == ["'==", "'==", "'@r"]
    assert rows[2]["reason"].startswith("'=<img")
    assert "\\x1b[2J" in artifact(names.ARTIFACT_FAILED)
    assert "\x1b" not in artifact(names.ARTIFACT_FAILED) + artifact(names.ARTIFACT_JOBS) + artifact(names.ARTIFACT_PAGE)
    assert "<img" not in artifact(names.ARTIFACT_PAGE)


@pytest.mark.slow
def test_close_sweep__server_that_is_back_just_now__has_all_of_it_and_nothing_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "_silent", {})
    server = Server(tmp_path)
    server.start()
    proxy = Proxy(server)
    try:
        proxy.mode = "500"
        store = Store.open(proxy.uri, "digits", although_away=True)
        store.sweep_parent("s", "sweep")
        held = Lease.take(store.location, id_of_sweep("digits", "s"))  # as the sweep does
        jobs = [student(store, seed, 0.9 + 0.01 * seed) for seed in range(2)]
        proxy.mode = "pass"
        client._silent.clear()
        capsys.readouterr()
        close_sweep(jobs, "sweep seed=0,1", "FINISHED")
        assert held is not None
        held.release(done=True)
        out = capsys.readouterr().out
        brought = MlflowClient(proxy.uri).search_runs([store.experiment_id])
        listed = MlflowClient(proxy.uri).download_artifacts(
            next(run.info.run_id for run in brought if run.data.tags["role"] == "sweep"), names.ARTIFACT_JOBS
        )
    finally:
        proxy.stop()
        server.stop()
    assert f"2 runs that waited in {tmp_path}/kd_lab_rescue brought to {proxy.uri}" in out
    assert "90.50" in out
    assert {run.info.status for run in brought} == {"FINISHED"}
    students = {run.info.run_id for run in brought if run.data.tags["role"] == "student"}
    assert {row["student_run"] for row in csv.DictReader(Path(listed).read_text().splitlines())} == students
    assert not (tmp_path / "kd_lab_rescue").exists()


def test_close_sweep__runs_that_the_store_lacks__said_and_closed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    close_sweep([job(store, 0, state=FINISHED, run_id="1" * 32)], "sweep seed=0", "FINISHED")
    assert "The jobs cannot be compared: study=digits: there are no runs of trained networks yet" in (
        capsys.readouterr().out
    )
    assert parent().info.status == "FINISHED"
