"""Sweeps as a user runs them: real workers, interrupted, killed, started again, some of whose jobs fail."""

import csv
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from kd_lab import names
from kd_lab.store.entries import End, Entries
from kd_lab.store.journal import Header, Journal
from tests.integration.conftest import Said
from tests.integration.processes import (
    COMMAND,
    all_runs,
    artifact,
    client,
    finish,
    of_role,
    roles,
    standing_in,
    start,
    statuses,
    until,
)

pytestmark = pytest.mark.slow
Command = Callable[..., Said]

FEW = ["-m", "dataset=synthetic", "student.recipe.steps=20", "teacher.recipe.steps=10", "measure.latency_runs=1"]
TOO_LARGE = "student.recipe.batch_size=64,9999"


@pytest.fixture
def sweep(kd_lab: Command, small: list[str]) -> Command:
    """`sweep("seed=0,1")`: a sweep of small jobs, from this process; its workers are processes of their own."""
    return lambda *overrides: kd_lab("", *FEW[:2], *small, *FEW[2:], *overrides)


def jobs_of(parent: Run) -> dict[str, dict[str, str]]:
    """`jobs.csv` of a sweep's parent run, by job."""
    with artifact(parent, names.ARTIFACT_JOBS).open(newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def test_sweep__one_parent_and_a_failing_job_that_stops_nobody(sweep: Command, tmp_path: Path) -> None:
    said = sweep("seed=0,1", TOO_LARGE)
    assert said.code == 2, said.err
    assert "Traceback" not in said.err
    assert said.out.count(": failed: student.recipe.batch_size=9999: larger than") == 1
    assert said.out.count(": failed for the same reason as ") == 1
    assert "4 jobs: 2 done, 2 failed in " in said.out
    assert "mean ± sample sd" in said.out
    found = all_runs(tmp_path)
    assert roles(found) == {"sweep": 1, "teacher": 1, "baseline": 2, "student": 2}
    parent = next(run for run in found if run.data.tags["role"] == "sweep")
    assert parent.info.status == "FAILED"
    assert "seed=0,1" in parent.info.run_name
    assert {run.data.tags[names.TAG_PARENT] for run in found if run is not parent} == {parent.info.run_id}
    students = of_role(tmp_path, "student")
    good = [f"seed={seed} student.recipe.batch_size=64" for seed in (0, 1)]
    assert [run.data.tags[names.TAG_JOB] for run in students] == good
    jobs = jobs_of(parent)
    assert [jobs[label]["student_run"] for label in good] == [run.info.run_id for run in students]
    bad = jobs["seed=1 student.recipe.batch_size=9999"]
    assert (bad["state"], bad["student_run"]) == ("failed", "")
    assert bad["reason"].startswith("student.recipe.batch_size=9999: larger than the 2400 samples")
    both = "; ".join(f"seed={seed} student.recipe.batch_size=9999" for seed in (0, 1))
    assert f"- {both}: {bad['reason']}" in parent.data.tags[names.TAG_NOTE]
    left = {"mlartifacts", "mlflow.db", "mlflow.db.lock", "mlflow.db.locks"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_sweep__bugs_and_crashes_of_a_users_class_fail_their_job_alone(sweep: Command, tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(
        "import os, signal\nfrom torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, does: str) -> None:\n"
        "        super().__init__(nn.Linear(20, num_classes))\n"
        "        self.does = does\n\n"
        "    def forward(self, x):\n"
        "        if self.training and self.does == 'raises':\n            raise KeyError('oh')\n"
        "        if self.training and self.does == 'crashes':\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().forward(x)\n"
    )
    said = sweep("student._target_=own_net.Net", "+student.does=crashes,raises,works", "baseline=false")
    assert said.code == 1, said.err
    assert "Traceback" not in said.err + said.out
    assert "does=raises: failed: KeyError: 'oh'" in said.out
    assert "does=crashes: failed: its process was ended by SIGKILL" in said.out
    assert "3 jobs: 1 done, 2 failed in " in said.out
    students = {run.data.tags[names.TAG_JOB].split("=")[1]: run for run in of_role(tmp_path, "student")}
    ends = {"works": "FINISHED", "raises": "FAILED", "crashes": "FAILED"}
    assert {does: run.info.status for does, run in students.items()} == ends
    assert students["crashes"].data.tags[names.TAG_REASON].startswith("its process was ended by SIGKILL")
    (parent,) = of_role(tmp_path, "sweep")
    assert "raise KeyError('oh')" in artifact(parent, names.ARTIFACT_FAILED).read_text()


def test_resume__killed__does_only_what_is_missing(sweep: Command, small: list[str], tmp_path: Path) -> None:
    grid = ["student.recipe.steps=6000", "baseline=false", "seed=0,1,2"]
    first = start(tmp_path, *FEW[:2], *small, *FEW[2:], *grid)
    until(lambda: statuses(tmp_path, "student") == ["FINISHED", "RUNNING"])
    first.signal(signal.SIGKILL)
    until(lambda: statuses(tmp_path, "student") == ["FINISHED", "KILLED"])  # its worker notices
    said = sweep(*grid)
    assert said.code == 0, said.err
    assert said.out.startswith("1 of 3 jobs are there already")
    assert "seed=0: found again: student" in said.out
    assert "3 jobs: 2 done, 1 found again in " in said.out
    students = of_role(tmp_path, "student")
    seeds = [("0", "FINISHED"), ("1", "KILLED"), ("1", "FINISHED"), ("2", "FINISHED")]
    assert [(run.data.params["seed"], run.info.status) for run in students] == seeds
    (parent,) = of_role(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags[names.TAG_PARENT] for run in students} == {parent.info.run_id}
    done = {f"seed={run.data.params['seed']}": run.info.run_id for run in students if run.info.status == "FINISHED"}
    assert {label: job["student_run"] for label, job in jobs_of(parent).items()} == done
    assert re.search(r"^ kd +3 ", said.out, re.MULTILINE), said.out


def test_resume__a_job_whose_end_the_store_was_not_told__is_found_and_not_done_twice(
    kd_lab: Command, done: list[str], tmp_path: Path
) -> None:
    (student,) = of_role(tmp_path, "student")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client(tmp_path).update_run(student.info.run_id, status="RUNNING")
    journal = Journal(tmp_path / "kd_lab_rescue" / student.info.run_id)  # killed when its end was noted, and no more
    local_id = student.data.tags[names.TAG_LOCAL_ID]
    journal.begin(Header(store, student.info.run_id, local_id, "synthetic", tags=student.data.tags))
    journal.place(names.ARTIFACT_WEIGHTS).write_bytes(artifact(student, names.ARTIFACT_WEIGHTS).read_bytes())
    journal.append(Entries(end=End("FINISHED", 5)))
    journal.close()

    said = kd_lab("-m dataset=synthetic seed=0", *done)

    assert said.code == 0, said.err
    assert said.out.startswith(f"1 run that waited in {tmp_path}/kd_lab_rescue brought to {store}\n1 of 1 jobs are ")
    assert statuses(tmp_path, "student") == ["FINISHED"]
    assert not (tmp_path / "kd_lab_rescue").exists()


def test_resume__more_values_and_all_again(sweep: Command, tmp_path: Path) -> None:
    assert sweep("baseline=false", "seed=0,1").code == 0
    said = sweep("baseline=false", "seed=0,1", "loss=kd,soft_label", "measure.latency_runs=2")
    assert said.code == 0, said.err
    assert said.out.startswith("2 of 4 jobs are there already")
    students = of_role(tmp_path, "student")
    labels = ["seed=0", "seed=1", "seed=0 loss=soft_label", "seed=1 loss=soft_label"]
    assert [run.data.tags[names.TAG_JOB] for run in students] == labels
    first, second = of_role(tmp_path, "sweep")
    assert {label: (job["state"], job["student_run"]) for label, job in jobs_of(second).items()} == {
        "seed=0 loss=soft_label": ("finished", students[2].info.run_id),
        "seed=1 loss=soft_label": ("finished", students[3].info.run_id),
        "seed=0 loss=kd": ("found again", students[0].info.run_id),
        "seed=1 loss=kd": ("found again", students[1].info.run_id),
    }
    assert students[0].data.tags[names.TAG_PARENT] == first.info.run_id
    assert {"kd", "soft_label"} <= set(re.findall(r"\w+", second.data.tags[names.TAG_NOTE]))
    said = sweep("baseline=false", "seed=0", "sweep.resume=false")
    assert (said.code, "found again" in said.out) == (0, False)
    assert len(of_role(tmp_path, "student")) == 5


def test_jobs_at_once__share_the_teacher_and_the_cores(sweep: Command, tmp_path: Path) -> None:
    said = sweep("student.recipe.steps=3000", "seed=0,1,2", "sweep.jobs=2", "baseline=false")
    assert said.code == 0, said.err
    assert "3 jobs: 3 done in " in said.out
    found = all_runs(tmp_path)
    assert roles(found) == {"sweep": 1, "teacher": 1, "student": 3}
    assert all(run.info.status == "FINISHED" for run in found)
    trained = [run for run in found if run.data.tags["role"] != "sweep"]
    assert {run.data.tags[names.TAG_JOBS_AT_ONCE] for run in trained} == {"2"}
    assert {run.data.tags["kd_lab.threads"] for run in trained} == {"1"}
    students = sorted((run.info.start_time, run.info.end_time) for run in found if run.data.tags["role"] == "student")
    assert any(students[i + 1][0] < students[i][1] for i in range(2)), "no two of them ran at the same time"


@pytest.mark.parametrize(
    ("number", "more", "ends"),
    [
        (signal.SIGINT, ["seed=0,1,2", "sweep.jobs=2"], "3 jobs: 2 killed, 1 waiting in "),
        (signal.SIGHUP, ["seed=0"], "1 job: 1 killed in "),
        (signal.SIGTERM, ["seed=0", "sweep.cluster=local"], "1 job: 1 (killed|running) in "),  # not waited for
    ],
)
def test_interrupted__all_workers_end_killed(
    small: list[str], tmp_path: Path, number: signal.Signals, more: list[str], ends: str
) -> None:
    endless = ["baseline=false", "student.recipe.steps=400000"]
    sweep = start(tmp_path, *FEW[:2], *small, *FEW[2:], *endless, *more)
    running = ["RUNNING"] * int(ends.split()[2])
    until(lambda: statuses(tmp_path, "student") == running)
    workers = [process for process in standing_in(tmp_path) if process.pid != sweep.pid]
    assert len(workers) >= len(running)
    sweep.signal(number)
    code, out, err = finish(sweep)
    assert code == 130, err
    assert err.endswith("kd-lab: interrupted; what was measured so far is kept\n")
    assert re.search(ends, out), out
    assert "The same command again does the rest." in out
    assert psutil.wait_procs(workers, timeout=10)[1] == []  # those of a queue are told to end and not waited for
    assert statuses(tmp_path, "student") == ["KILLED"] * len(running)
    by = "SIGINT" if "sweep.cluster=local" in more else "SIGTERM"  # submitit cancels by the first, a sweep by the other
    assert all(by in run.data.tags[names.TAG_REASON] for run in of_role(tmp_path, "student"))
    assert statuses(tmp_path, "sweep") == ["KILLED"]


def test_cluster__jobs_through_submitit_without_a_queue(sweep: Command, tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(
        "import os, signal\nfrom torch import nn\n\n\ndef Net(num_classes: int, crash: bool) -> nn.Module:\n"
        "    if crash:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return nn.Linear(20, num_classes)\n"
    )
    own = ["student._target_=own_net.Net", "+student.crash=false,true", "baseline=false"]
    said = sweep(*own, "sweep.cluster=local", "sweep.jobs=2", "sweep.resources.timeout_min=20")
    assert said.code == 1, said.err
    assert "2 jobs: 1 done, 1 failed in " in said.out
    assert said.out.count("crash=True: failed: its job in the queue ended by itself") == 1
    (student,) = of_role(tmp_path, "student")
    assert (student.data.tags[names.TAG_JOB], student.info.status) == ("student.crash=False", "FINISHED")
    assert student.data.tags[names.TAG_JOBS_AT_ONCE] == "2"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_terminal__a_live_table_and_nothing_that_tears_it(small: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    command = [*COMMAND, *FEW[:2], *small, *FEW[2:], "baseline=false", "seed=0", TOO_LARGE]
    sweep = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    assert sweep.wait(60) == 2
    text = seen.decode()
    for shown in ("1 running, 1 waiting", "best so far", "2 jobs: 1 done, 1 failed in ", "mean ± sample sd"):
        assert shown in text
    assert text.count("failed (batch_size=9999): student.recipe.batch_size=9999") == 1
    for noise in ("Warning", "GPU available", "Traceback", "`Trainer"):
        assert noise not in text
