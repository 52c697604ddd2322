"""kd-lab in processes of its own, and what it left in the store."""

import atexit
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration import nursery
from tests.integration.nursery import Nursery, Process

COMMAND = [sys.executable, "-c", nursery.COMMAND]
SMALL = [
    "dataset=synthetic",
    "teacher=mlp",
    "teacher.recipe.steps=30",
    "student.recipe.steps=60",
    "measure.latency_runs=5",
    "measure.figures=false",
]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


LONGEST_S = 500.0
STARTED: "list[Process | subprocess.Popen[str]]" = []


@functools.cache
def forks() -> tuple[Nursery, Path]:
    """What all tests of this process start commands from, and the folder of what these print."""
    made, said = Nursery(), tempfile.TemporaryDirectory()
    atexit.register(said.cleanup)
    atexit.register(made.close)
    return made, Path(said.name)


def start(folder: Path, *overrides: str) -> Process:
    """Begin a command in a process of its own, without the seconds that its imports take."""
    made, said = forks()
    started = made.start(overrides, folder, said, {})
    STARTED.append(started)
    return started


def standing_in(folder: Path) -> list[psutil.Process]:
    """All other processes whose working folder that is: a command, its workers, and what these have started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.cwd() == str(folder):
                found.append(process)
    return found


def end_all() -> None:
    """End what a failed test has left."""
    while STARTED:
        one = STARTED.pop()
        one.signal(signal.SIGKILL) if isinstance(one, Process) else one.kill()


def finish(process: "Process | subprocess.Popen[str]") -> tuple[int, str, str]:
    if isinstance(process, subprocess.Popen):
        out, err = process.communicate(timeout=LONGEST_S)
        return process.returncode, out, err
    code = process.wait(LONGEST_S)
    assert code is not None, f"it goes on after {LONGEST_S:.0f} s: {process.said}"
    return code, process.printed, process.complained


def kd_lab(folder: Path, *overrides: str) -> tuple[int, str, str]:
    return finish(start(folder, *overrides))


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def all_runs(folder: Path, study: str = "synthetic") -> list[Run]:
    experiment = client(folder).get_experiment_by_name(study)
    if experiment is None:
        return []
    return list(client(folder).search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def of_role(folder: Path, role: str, study: str = "synthetic") -> list[Run]:
    """Oldest first."""
    return [run for run in all_runs(folder, study) if run.data.tags["role"] == role]


def statuses(folder: Path, role: str) -> list[str]:
    """Oldest first; none where no run was begun yet."""
    return [run.info.status for run in of_role(folder, role)] if (folder / "mlartifacts").exists() else []


def until(what: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def roles(runs: list[Run]) -> Counter[str]:
    return Counter(run.data.tags["role"] for run in runs)


def the_run(folder: Path, role: str, study: str = "synthetic") -> Run:
    """The only one of that role."""
    (found,) = of_role(folder, role, study)
    return found


def artifact(run: Run, name: str = "") -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / name
