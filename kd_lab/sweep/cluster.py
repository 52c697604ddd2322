"""The jobs of a sweep on a cluster: each one in SLURM's queue, through submitit."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kd_lab.errors import UserError
from kd_lab.sweep.queued import Queued
from kd_lab.sweep.states import ENDED, FAILED, KILLED, JobFolder
from kd_lab.sweep.workers import Jobs

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job

POLL_S = 0.5
GRACE_S = 15.0
"""How long a file may take to arrive from another machine once its job has ended."""
PATIENCE_S = 60.0
"""How long jobs may take to close their runs once they were told to stop."""
TIMEOUTS = "_max_num_timeout"
"""Ends the name of the one setting that submitit takes when its executor is made, and not later."""


class Cluster:
    """Keeps up to `most` jobs in the queue. name: `slurm`, or `local`, processes of this machine without a queue."""

    def __init__(self, folder: JobFolder, name: str, most: int, resources: Mapping[str, Any]) -> None:
        self._folder, self._name, self._most = folder, name, most
        self._executor = _executor(folder, name, resources)

    def run(self, jobs: Jobs) -> None:
        """Run the jobs; each one's state says how it went. They are cancelled if this is."""
        queued: dict[int, Job[None]] = {}
        at_once = 1 if self._name == "slurm" else min(self._most, jobs.left)  # SLURM shares out what it has
        try:
            while jobs.left or queued:
                while jobs.left and len(queued) < self._most:
                    number, config = jobs.next()
                    queued[number] = self._executor.submit(Queued(), config, number, at_once)
                time.sleep(POLL_S)
                for number in [n for n, job in queued.items() if self._has_ended(n, job)]:
                    del queued[number]
                    jobs.ended(number)
        except BaseException:
            self._cancel(queued)
            raise

    def _has_ended(self, number: int, job: "Job[None]") -> bool:
        """One that was killed has, once its place in the queue is gone: the queue itself may start it again."""
        state = self._folder.read(number).state
        if state in ENDED and (state != KILLED or job.done()):
            return True
        if not job.done():
            return False
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if self._folder.read(number).state in ENDED:
                return True
            time.sleep(POLL_S)
        reason = f"its job in the queue ended by itself ({job.state})"
        self._folder.change(number, state=FAILED, ended=time.time(), reason=reason, code=1, lost=True)
        return True

    def _cancel(self, queued: "Mapping[int, Job[None]]") -> None:
        for job in queued.values():
            job.cancel(check=False)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not all(job.done(force_check=True) for job in queued.values()):
            time.sleep(POLL_S)


def _executor(folder: JobFolder, name: str, resources: Mapping[str, Any]) -> "AutoExecutor":
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise UserError(f"sweep.cluster={name}: needs submitit; install it with: pip install submitit") from error
    given = " ".join(f"sweep.resources.{key}={value}" for key, value in resources.items())
    timeouts = {key: value for key, value in resources.items() if key.endswith(TIMEOUTS)}
    try:
        executor = AutoExecutor(folder=folder.path / "queue", cluster=name, **timeouts)
        executor.update_parameters(**{key: value for key, value in resources.items() if key not in timeouts})
    except (RuntimeError, NameError, TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"sweep.cluster={name} {given}".strip() + f": submitit cannot use this ({reason})") from error
    return executor
