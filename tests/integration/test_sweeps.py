"""Sweeps as a user runs them: real processes, interrupted, killed, started again, some of whose jobs fail."""

import csv
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from kd_lab import names
from tests.integration.processes import (
    COMMAND,
    ONE_THREAD,
    SMALL,
    all_runs,
    client,
    end_all,
    finish,
    kd_lab,
    of_role,
    roles,
    start,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    yield
    end_all()


def until(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)


def statuses(folder: Path, role: str) -> list[str]:
    return [run.info.status for run in of_role(folder, role)] if (folder / "mlartifacts").exists() else []


def jobs_of(folder: Path, parent: Run) -> dict[str, dict[str, str]]:
    """`jobs.csv` of a sweep's parent run, by job."""
    with open(client(folder).download_artifacts(parent.info.run_id, names.ARTIFACT_JOBS), newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def test_sweep__one_parent_and_a_failing_job_that_stops_nobody(tmp_path: Path) -> None:
    code, out, err = kd_lab(tmp_path, "-m", *SMALL, "seed=0,1", "student.recipe.batch_size=64,9999")
    assert code == 2, err
    assert "Traceback" not in err
    assert out.count(": failed: student.recipe.batch_size=9999: larger than") == 2
    assert "4 jobs: 2 done, 2 failed in " in out
    found = all_runs(tmp_path)
    assert roles(found) == {"sweep": 1, "teacher": 1, "baseline": 2, "student": 2}
    parent = next(run for run in found if run.data.tags["role"] == "sweep")
    assert parent.info.status == "FAILED"
    assert "seed=0,1" in parent.info.run_name
    children = [run for run in found if run is not parent]
    assert {run.data.tags[names.TAG_PARENT] for run in children} == {parent.info.run_id}
    students = [run for run in found if run.data.tags["role"] == "student"]
    good = [f"seed={seed} student.recipe.batch_size=64" for seed in (0, 1)]
    assert [run.data.tags[names.TAG_JOB] for run in students] == good
    assert "mean ± sample sd" in out
    jobs = jobs_of(tmp_path, parent)
    assert [jobs[label]["student_run"] for label in good] == [run.info.run_id for run in students]
    bad = jobs["seed=1 student.recipe.batch_size=9999"]
    assert (bad["state"], bad["student_run"]) == ("failed", "")
    assert bad["reason"].startswith("student.recipe.batch_size=9999: larger than the 2400 samples")
    assert f"- seed=1 student.recipe.batch_size=9999: {bad['reason']}" in parent.data.tags[names.TAG_NOTE]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mlartifacts",
        "mlflow.db",
        "mlflow.db.lock",
        "mlflow.db.locks",
    ]


def test_sweep__misspelt_key_leaves_nothing(tmp_path: Path) -> None:
    code, _, err = kd_lab(tmp_path, "-m", "seed=0,1", "student.recipe.epoch=1")
    assert code == 2
    assert err.strip() == ("kd-lab: student.recipe.epoch=1: no such key; did you mean student.recipe.epochs?")
    assert list(tmp_path.iterdir()) == []


def test_sweep__bugs_and_crashes_of_a_users_class_fail_their_job_alone(tmp_path: Path) -> None:
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
    own = ["student._target_=own_net.Net", "+student.does=crashes,raises,works", "baseline=false"]
    code, out, err = kd_lab(tmp_path, "-m", *SMALL, *own)
    assert code == 1, err
    assert "Traceback" not in err + out
    assert "does=raises: failed: KeyError: 'oh'" in out
    assert "does=crashes: failed: its process was ended by SIGKILL" in out
    assert "3 jobs: 1 done, 2 failed in " in out
    students = {run.data.tags[names.TAG_JOB].split("=")[1]: run for run in of_role(tmp_path, "student")}
    assert {k: run.info.status for k, run in students.items()} == {
        "works": "FINISHED",
        "raises": "FAILED",
        "crashes": "FAILED",
    }
    assert students["crashes"].data.tags[names.TAG_REASON].startswith("its process was ended by SIGKILL")
    (parent,) = of_role(tmp_path, "sweep")
    trace = Path(client(tmp_path).download_artifacts(parent.info.run_id, names.ARTIFACT_FAILED)).read_text()
    assert "raise KeyError('oh')" in trace


def test_resume__killed_in_the_middle_does_only_what_is_missing(tmp_path: Path) -> None:
    command = ["-m", *SMALL, "student.recipe.steps=4000", "baseline=false", "seed=0,1,2"]
    first = start(tmp_path, *command)
    until(lambda: statuses(tmp_path, "student") == ["FINISHED", "RUNNING"])
    first.kill()
    # The worker notices, and closes what it was doing.
    until(lambda: statuses(tmp_path, "student") == ["FINISHED", "KILLED"])
    code, out, err = kd_lab(tmp_path, *command)
    assert code == 0, err
    assert out.startswith("1 of 3 jobs are there already")
    assert "seed=0: found again: student" in out
    assert "3 jobs: 2 done, 1 found again in " in out
    students = of_role(tmp_path, "student")
    assert [(run.data.params["seed"], run.info.status) for run in students] == [
        ("0", "FINISHED"),
        ("1", "KILLED"),
        ("1", "FINISHED"),
        ("2", "FINISHED"),
    ]
    (parent,) = of_role(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags[names.TAG_PARENT] for run in students} == {parent.info.run_id}
    done = {f"seed={run.data.params['seed']}": run.info.run_id for run in students if run.info.status == "FINISHED"}
    assert {label: job["student_run"] for label, job in jobs_of(tmp_path, parent).items()} == done
    assert re.search(r"^ kd +3 ", out, re.MULTILINE), out


def test_resume__more_values_and_other_ones(tmp_path: Path) -> None:
    command = ["-m", *SMALL, "baseline=false"]
    assert kd_lab(tmp_path, *command, "seed=0,1")[0] == 0
    code, out, err = kd_lab(tmp_path, *command, "seed=0,1", "loss=kd,soft_label", "measure.latency_runs=6")
    assert code == 0, err
    assert out.startswith("2 of 4 jobs are there already")
    students = of_role(tmp_path, "student")
    assert [run.data.tags[names.TAG_JOB] for run in students] == [
        "seed=0",
        "seed=1",
        "seed=0 loss=soft_label",
        "seed=1 loss=soft_label",
    ]
    first, second = of_role(tmp_path, "sweep")
    jobs = jobs_of(tmp_path, second)
    assert {label: (job["state"], job["student_run"]) for label, job in jobs.items()} == {
        "seed=0 loss=soft_label": ("finished", students[2].info.run_id),
        "seed=1 loss=soft_label": ("finished", students[3].info.run_id),
        "seed=0 loss=kd": ("found again", students[0].info.run_id),
        "seed=1 loss=kd": ("found again", students[1].info.run_id),
    }
    assert students[0].data.tags[names.TAG_PARENT] == first.info.run_id
    assert "kd" in second.data.tags[names.TAG_NOTE]
    assert "soft_label" in second.data.tags[names.TAG_NOTE]

    code, out, _ = kd_lab(tmp_path, *command, "seed=0,1", "sweep.resume=false")
    assert code == 0
    assert "found again" not in out
    assert len(of_role(tmp_path, "student")) == 6
    code, out, _ = kd_lab(tmp_path, *command, "seed=0", "study=another")
    assert code == 0
    assert "found again" not in out
    code, out, _ = kd_lab(tmp_path, *SMALL, "baseline=false", "seed=0")
    assert code == 0
    assert len(of_role(tmp_path, "student")) == 7  # a single job always runs


def test_jobs_at_once__share_the_teacher_and_the_cores(tmp_path: Path) -> None:
    code, out, err = kd_lab(tmp_path, "-m", *SMALL, "teacher.recipe.steps=800", "seed=0,1,2,3", "sweep.jobs=2")
    assert code == 0, err
    assert "4 jobs: 4 done in " in out
    found = all_runs(tmp_path)
    assert roles(found) == {"sweep": 1, "teacher": 1, "baseline": 4, "student": 4}
    assert all(run.info.status == "FINISHED" for run in found)
    trained = [run for run in found if run.data.tags["role"] != "sweep"]
    assert {run.data.tags[names.TAG_JOBS_AT_ONCE] for run in trained} == {"2"}
    assert {run.data.tags["kd_lab.threads"] for run in trained} == {"1"}
    students = sorted((run.info.start_time, run.info.end_time) for run in found if run.data.tags["role"] == "student")
    assert any(students[i + 1][0] < students[i][1] for i in range(3)), "no two of them ran at the same time"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted__all_workers_end_killed(tmp_path: Path, number: signal.Signals) -> None:
    sweep = start(tmp_path, "-m", *SMALL, "baseline=false", "student.recipe.steps=400000", "seed=0,1,2", "sweep.jobs=2")
    until(lambda: statuses(tmp_path, "student") == ["RUNNING"] * 2)
    workers = psutil.Process(sweep.pid).children(recursive=True)
    assert len(workers) >= 2
    sweep.send_signal(number)
    code, out, err = finish(sweep)
    assert code == 130, err
    assert err.strip() == "kd-lab: interrupted; what was measured so far is kept"
    assert "3 jobs: 2 killed, 1 waiting in " in out
    assert "The same command again does the rest." in out
    assert not any(worker.is_running() for worker in workers)
    assert statuses(tmp_path, "student") == ["KILLED"] * 2
    assert statuses(tmp_path, "sweep") == ["KILLED"]


def test_cluster__jobs_through_submitit_without_a_queue(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "own_net.py").write_text(
        "import os, signal\nfrom torch import nn\n\n\ndef Net(num_classes: int, crash: bool) -> nn.Module:\n"
        "    if crash:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return nn.Linear(20, num_classes)\n"
    )
    own = ["student._target_=own_net.Net", "+student.crash=false,true", "seed=0,1", "baseline=false"]
    cluster = ["sweep.cluster=local", "sweep.jobs=2", "sweep.resources.timeout_min=20"]
    code, out, err = kd_lab(tmp_path, "-m", *SMALL, *own, *cluster)
    assert code == 1, err
    assert "4 jobs: 2 done, 2 failed in " in out
    assert out.count("crash=True seed=0: failed: its job in the queue ended by itself") == 1
    students = of_role(tmp_path, "student")
    assert {run.data.tags[names.TAG_JOB] for run in students} == {f"student.crash=False seed={s}" for s in (0, 1)}
    assert {run.info.status for run in students} == {"FINISHED"}
    assert {run.data.tags[names.TAG_JOBS_AT_ONCE] for run in students} == {"2"}
    code, out, _ = kd_lab(tmp_path, "-m", *SMALL, *own[:1], "+student.crash=false", *own[2:])
    assert code == 0
    assert out.startswith("2 of 2 jobs are there already")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_cluster__interrupted_jobs_end_killed(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    more = ["baseline=false", "student.recipe.steps=400000", "seed=0", "sweep.cluster=local"]
    sweep = start(tmp_path, "-m", *SMALL, *more)
    until(lambda: statuses(tmp_path, "student") == ["RUNNING"])
    sweep.send_signal(signal.SIGINT)
    code, out, err = finish(sweep)
    assert code == 130, err
    assert "1 job: 1 killed in " in out
    assert statuses(tmp_path, "student") == ["KILLED"]
    assert statuses(tmp_path, "sweep") == ["KILLED"]


def test_terminal__a_live_table_and_nothing_that_tears_it(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = ONE_THREAD | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    command = [*COMMAND, "-m", *SMALL, "baseline=false", "seed=0,1", "student.recipe.batch_size=64,9999"]
    sweep = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    assert sweep.wait(timeout=60) == 2
    text = seen.decode()
    assert "4 jobs: 4 waiting" in text
    assert "running" in text
    assert "best so far" in text
    assert "4 jobs: 2 done, 2 failed in " in text
    assert text.count("failed (seed=0 batch_size=9999; seed=1 batch_size=9999): student.recipe.batch_size=9999") == 1
    assert "mean ± sample sd" in text
    for noise in ("Warning", "GPU available", "Traceback", "`Trainer"):
        assert noise not in text
