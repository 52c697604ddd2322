"""Jobs that a queue ends at their time limit, by submitit's own local executor: signals as SLURM sends them."""

import signal
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from kd_lab import names
from tests.integration.processes import SMALL, client, finish, kd_lab, of_role, start, statuses, until

pytestmark = pytest.mark.slow

JOB = ["-m", *SMALL, "seed=0", "teacher=none", "loss=label_smoothing", "baseline=false", "student.recipe.steps=8000"]
QUEUED = ["sweep.cluster=local", "sweep.resources.timeout_min=2"]
"""Less than submitit takes for a whole stay: the signal counts as the end of the time limit."""


def curve(run: Run, folder: Path) -> list[tuple[int, float]]:
    key = names.train_loss("label_smoothing")
    return [(p.step, p.value) for p in client(folder).get_metric_history(run.info.run_id, key)]


def warn(sweep: psutil.Process) -> None:
    """What SLURM sends before the time limit, to the job alone."""
    (job,) = (one for one in sweep.children(recursive=True) if "submitit.core._submit" in one.cmdline())
    job.send_signal(signal.SIGUSR2)


def begun(folder: Path) -> bool:
    """Whether the student is being trained."""
    return statuses(folder, "student") == ["RUNNING"] and len(curve(of_role(folder, "student")[-1], folder)) > 1


def test_time_limit__the_job_goes_on_in_the_queue_and_equals_one_that_had_the_time(
    tmp_path: Path, empty_store: Path
) -> None:
    whole, queued = (tmp_path / name for name in ("whole", "queued"))
    for folder in (whole, queued):
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    code, _, err = kd_lab(whole, *JOB)
    assert code == 0, err

    sweep = start(queued, *JOB, *QUEUED)
    until(lambda: begun(queued))
    warn(psutil.Process(sweep.pid))
    code, out, err = finish(sweep)

    assert code == 0, err
    assert "1 job: 1 done in " in out
    assert statuses(queued, "student") == ["KILLED", "FINISHED"]
    (one,), (first, last) = of_role(whole, "student"), of_role(queued, "student")
    assert last.data.tags[names.TAG_WEIGHTS_SHA256] == one.data.tags[names.TAG_WEIGHTS_SHA256]
    assert curve(last, queued) == curve(one, whole)
    assert 1 < len(curve(first, queued)) < len(curve(last, queued))
    assert "a queue at its time limit" in first.data.tags[names.TAG_REASON]
    assert not Path(f"{queued}/mlflow.db.checkpoints").exists()
