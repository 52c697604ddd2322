"""A sweep in the process that the user started: its name, its scratch folder, its end."""

import hashlib
import os
import shlex
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from kd_lab.errors import UserError
from kd_lab.outside.scratch import own_folder
from kd_lab.store.lease import Lease, id_of_sweep
from kd_lab.store.location import Location
from kd_lab.sweep.states import ENDED, FAILED, KILLED, RUNNING, JobFolder

TITLE = "KD_LAB_SWEEP_TITLE"
FOLDER = "KD_LAB_SWEEP_DIR"
HOW = ("sweep.", "hydra", "tracking.", "tracking=")
"""How overrides begin that say how a sweep is run, not what it is."""


class Sweep:
    """Around Hydra's multirun.

    Jobs may run in other processes: what they have to say comes back through files in a scratch folder, whose path
    they inherit as an environment variable.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.title = title(arguments)
        # Machines of a cluster share the folder that one starts in, as a rule, and never /tmp.
        self._shared = any(a.startswith("sweep.cluster=") for a in arguments)
        self.exit_code = 0

    def __enter__(self) -> "Sweep":
        prefix, folder = (".kd-lab-sweep-", Path.cwd()) if self._shared else ("sweep-", own_folder())
        self._scratch = tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True)
        os.environ |= {FOLDER: self._scratch.name, TITLE: self.title}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._close(JobFolder(Path(self._scratch.name)), error)
        finally:
            _release()
            self._scratch.cleanup()
            for name in (FOLDER, TITLE):
                os.environ.pop(name, None)

    def _close(self, folder: JobFolder, error: BaseException | None) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        for job in folder.all():
            if job.state == RUNNING:
                end = {"state": KILLED} if interrupted else {"state": FAILED, "code": 1, "reason": "it never ended"}
                folder.change(job.number, **end, lost=True)
        jobs = folder.all()
        self.exit_code = max((job.code for job in jobs), default=0)
        whole = all(job.state in ENDED for job in jobs)
        status = "KILLED" if interrupted else "FAILED" if self.exit_code or error or not whole else "FINISHED"
        if not jobs:
            return
        from kd_lab.sweep.summary import close_sweep

        for _, members in groupby(sorted(jobs, key=lambda job: (job.uri, job.study)), lambda job: (job.uri, job.study)):
            close_sweep(sorted(members, key=lambda job: job.number), self.title, status)


_held: list[Lease] = []


def hold(configs: Sequence[Mapping[str, Any]], sweep: str, called: str = "") -> None:
    """Show that the sweep is alive, until it ends or this process does: nobody else closes its parent run then.

    Args:
        configs: of its jobs.
        sweep: its id.
        called: what a refusal calls it; by default the sweep of its study.

    Raises:
        UserError: another process runs it now.
    """
    for uri, study in sorted({(str(config["tracking"]["uri"]), str(config["study"])) for config in configs}):
        try:
            lease = Lease.take(Location.parse(uri), id_of_sweep(study, sweep))
        except (UserError, OSError):  # the jobs say so
            continue
        if lease is None:
            raise UserError(
                f"{called or f'study={study}: this sweep'} is running already; wait for its end, or add "
                "sweep.resume=false to run all of it a second time."
            )
        _held.append(lease)


def _release() -> None:
    while _held:
        _held.pop().release(done=True)


def title(arguments: list[str]) -> str:
    """`sweep` and what the user typed, without the options and without how it is to be run."""
    return shlex.join(["sweep", *(a for a in arguments if not a.startswith(("-", *HOW)))])


def sweep_id(title: str) -> str:
    """The same for the same command, whatever the order of its words: started again, it goes on under its old run."""
    return hashlib.sha256("\n".join(sorted(shlex.split(title))).encode()).hexdigest()[:32]


def new_sweep_id() -> str:
    """For a sweep that has nothing to do with an earlier one."""
    return uuid.uuid4().hex
