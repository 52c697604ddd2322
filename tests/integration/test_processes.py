"""What needs processes of its own: jobs side by side, interruptions, DDP, a full disk."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run
from safetensors.torch import load_file

from kd_lab import names
from tests.integration.processes import SMALL, all_runs, client, end_all, finish, kd_lab, roles, start

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    yield
    end_all()


TWO_PROCESSES = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def test_side_by_side__the_same_teacher_is_trained_once(tmp_path: Path) -> None:
    jobs = [start(tmp_path, *SMALL, "teacher.recipe.steps=800", f"seed={seed}") for seed in (0, 1)]
    results = [finish(job) for job in jobs]
    assert [code for code, _, _ in results] == [0, 0], results
    assert roles(all_runs(tmp_path)) == {"teacher": 1, "baseline": 2, "student": 2}
    assert sum("found again and verified" in out for _, out, _ in results) == 1


def test_side_by_side__eight_jobs_on_a_store_that_does_not_exist(tmp_path: Path) -> None:
    jobs = [start(tmp_path, *SMALL, "baseline=false", f"seed={seed}") for seed in range(8)]
    results = [finish(job) for job in jobs]
    assert [code for code, _, _ in results] == [0] * 8, results
    found = all_runs(tmp_path)
    assert roles(found) == {"teacher": 1, "student": 8}
    assert all(run.info.status == "FINISHED" for run in found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted__ends_killed_and_keeps_the_curves(tmp_path: Path, number: signal.Signals) -> None:
    job = start(tmp_path, *SMALL, "baseline=false", "student.recipe.steps=400000")
    deadline = time.monotonic() + 120
    student: list[Run] = []
    while not (student and names.train_loss("kd") in student[0].data.metrics):
        assert time.monotonic() < deadline, job.poll()
        time.sleep(0.5)
        if (tmp_path / "mlartifacts").exists():
            student = [run for run in all_runs(tmp_path) if run.data.tags["role"] == "student"]
    job.send_signal(number)
    code, _, err = finish(job)
    assert code == 130, err
    assert err.strip() == "kd-lab: interrupted; what was measured so far is kept"
    run = client(tmp_path).get_run(student[0].info.run_id)
    assert run.info.status == "KILLED"
    assert len(client(tmp_path).get_metric_history(run.info.run_id, names.train_loss("kd"))) > 1


def test_diverged__step_and_term_and_failed(tmp_path: Path) -> None:
    overrides = ["student/recipe/optimizer=sgd", "student.recipe.optimizer.lr=1e12", "baseline=false"]
    code, _, err = kd_lab(tmp_path, *SMALL, *overrides)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("kd-lab: training stopped at step ")
    assert "the loss term 'kd' became " in err or "the loss term 'hard' became " in err
    student = next(run for run in all_runs(tmp_path) if run.data.tags["role"] == "student")
    assert student.info.status == "FAILED"
    assert "training stopped at step" in student.data.tags[names.TAG_REASON]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    student = next(run for run in all_runs(folder) if run.data.tags["role"] == "student")
    return load_file(client(folder).download_artifacts(student.info.run_id, names.ARTIFACT_WEIGHTS))


def test_ddp__two_processes_end_where_one_does(tmp_path: Path) -> None:
    # 2400 transfer points in batches of 37: the last one is uneven, labels are spread unevenly, hard and soft terms.
    job = [*SMALL, "student.recipe.batch_size=37", "student.recipe.steps=80", "loss.hard_weight=0.5", "baseline=false"]
    job += ["student/recipe/optimizer=sgd", "student.recipe.optimizer.lr=0.02"]
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, trainer in zip(
        folders, ([], ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]), strict=True
    ):
        folder.mkdir()
        code, _, err = kd_lab(folder, *job, *trainer)
        assert code == 0, err
    one, two = (weights(folder) for folder in folders)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)
    histories = []
    for folder in folders:
        found = all_runs(folder)
        assert roles(found) == {"teacher": 1, "student": 1}
        run_id = next(run.info.run_id for run in found if run.data.tags["role"] == "student")
        histories.append(client(folder).get_metric_history(run_id, names.train_loss("kd")))
    steps = [[point.step for point in history] for history in histories]
    assert steps[0] == steps[1] == sorted(set(steps[1]))


def test_ddp__a_sweep_trains_each_job_once(tmp_path: Path) -> None:
    code, _, err = kd_lab(tmp_path, "-m", *SMALL, *TWO_PROCESSES, "baseline=false", "seed=0,1")
    assert code == 0, err
    assert roles(all_runs(tmp_path)) == {"sweep": 1, "teacher": 1, "student": 2}


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
