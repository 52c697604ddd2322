"""What needs processes of its own: jobs side by side, interruptions, DDP, a full disk."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run
from safetensors.torch import load_file

from kd_lab import names
from tests.integration.conftest import Said
from tests.integration.processes import (
    SMALL,
    all_runs,
    artifact,
    client,
    finish,
    kd_lab,
    of_role,
    roles,
    start,
    the_run,
    until,
)

pytestmark = pytest.mark.slow
Command = Callable[..., Said]

TWO_PROCESSES = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def test_side_by_side__a_store_that_does_not_exist_and_one_teacher_for_all(tmp_path: Path) -> None:
    job = [*SMALL, "teacher.recipe.steps=800", "baseline=false"]
    results = [finish(one) for one in [start(tmp_path, *job, f"seed={seed}") for seed in range(3)]]
    assert [code for code, _, _ in results] == [0] * 3, results
    assert sum("found again and verified" in out for _, out, _ in results) == 2
    found = all_runs(tmp_path)
    assert roles(found) == {"teacher": 1, "student": 3}
    assert all(run.info.status == "FINISHED" for run in found)


def curve(run: Run) -> list[int]:
    """The steps that the loss was noted at."""
    uri = run.info.artifact_uri.partition("/mlartifacts/")[0].removeprefix("file://")
    return [point.step for point in client(Path(uri)).get_metric_history(run.info.run_id, names.train_loss("kd"))]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, "interrupted (SIGINT, as by Ctrl-C)"),
        (signal.SIGTERM, "ended by SIGTERM, as `kill`, a queue at its time limit or a system that goes down sends it"),
        (signal.SIGHUP, "ended by SIGHUP: its terminal was closed"),
    ],
)
def test_interrupted__ends_killed_says_by_what_and_keeps_the_curves(
    small: list[str], tmp_path: Path, number: signal.Signals, reason: str
) -> None:
    job = start(tmp_path, "dataset=synthetic", *small, "baseline=false", "student.recipe.steps=400000")
    until(lambda: roles(all_runs(tmp_path))["student"] == 1 and len(curve(the_run(tmp_path, "student"))) > 1)
    job.signal(number)
    code, _, err = finish(job)
    assert code == 130, err
    assert err.strip() == "kd-lab: interrupted; what was measured so far is kept"
    student = the_run(tmp_path, "student")
    assert (student.info.status, student.data.tags[names.TAG_REASON]) == ("KILLED", reason)


def test_diverged__step_and_term_and_failed(kd_lab: Command, small: list[str], tmp_path: Path) -> None:
    overrides = ["student/recipe/optimizer=sgd", "student.recipe.optimizer.lr=1e12", "baseline=false"]
    code, _, err = kd_lab("dataset=synthetic", *small, *overrides)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("kd-lab: training stopped at step ")
    assert "the loss term 'kd' became " in err or "the loss term 'hard' became " in err
    student = the_run(tmp_path, "student")
    assert student.info.status == "FAILED"
    assert "training stopped at step" in student.data.tags[names.TAG_REASON]


def test_ddp__two_processes_end_where_one_does(kd_lab: Command, tmp_path: Path) -> None:
    # 2400 transfer points in batches of 37: the last one is uneven, labels are spread unevenly, hard and soft terms.
    job = [*SMALL, "student.recipe.batch_size=37", "student.recipe.steps=80", "loss.hard_weight=0.5", "baseline=false"]
    job += ["student/recipe/optimizer=sgd", "student.recipe.optimizer.lr=0.02"]
    one_process = kd_lab("", *job)
    assert one_process.code == 0, one_process.err
    said = kd_lab("", *job, *TWO_PROCESSES)
    assert (said.code, said.err) == (0, "")
    assert "teacher: every process answered from what it said once of" in " ".join(said.out.split())
    # The number of processes is in a network's key, so each job has a teacher of its own, and keeps its answers.
    assert len(list(tmp_path.glob("mlflow.db.answers/*/*"))) == 2
    assert roles(all_runs(tmp_path)) == {"teacher": 2, "student": 2}
    students = of_role(tmp_path, "student")
    one, two = (load_file(artifact(student, names.ARTIFACT_WEIGHTS)) for student in students)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)
    steps = [curve(student) for student in students]
    assert steps[0] == steps[1] == sorted(set(steps[1]))


def test_ddp__a_sweep_trains_each_job_once(kd_lab: Command, small: list[str], tmp_path: Path) -> None:
    said = kd_lab(
        "-m dataset=synthetic seed=0 loss=label_smoothing", *small, *TWO_PROCESSES, "teacher=none", "baseline=false"
    )
    assert said.code == 0, said.err
    assert roles(all_runs(tmp_path)) == {"sweep": 1, "student": 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_full_disk__is_a_sentence(small_disk: Path) -> None:
    code, _, err = kd_lab(small_disk, *SMALL, "teacher.widths=[2000]")
    assert code == 1, err
    assert "Traceback" not in err
    # A line before it may say that not even the end of the run could be recorded: the store is on that disk.
    last = err.strip().splitlines()[-1]
    assert last.startswith("kd-lab: ")
    assert "the disk is full; free some space and start again." in last
