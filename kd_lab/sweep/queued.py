"""One job of a sweep on a cluster's machine, and in the queue again where its time there was not enough.

SLURM sends a signal some time before it ends a job (`sweep.resources.slurm_signal_delay_s`, 90 s): at the time limit
and, where it is set up so, when another job needs the place. The training keeps its state and ends, its run is closed,
and submitit puts the job into the queue again, where it goes on from that state.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from kd_lab.sweep.endings import end_like_interrupt
from kd_lab.sweep.states import FAILED, KILLED, RUNNING, WAITING, JobFolder
from kd_lab.sweep.sweep import FOLDER

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

UNDONE = (WAITING, RUNNING, KILLED)
TOO_SHORT = (
    "its time limit ended it more often than sweep.resources.slurm_max_num_timeout allows; its state is kept, and the "
    "same command again goes on from it"
)


class Queued:
    """A job, called where it runs; `checkpoint` is submitit's name for what is called when it is started again."""

    def __call__(self, config: Mapping[str, Any], number: int, at_once: int) -> None:
        """Run it.

        Raises:
            UncompletedJobError: its time was up more often than submitit allows.
        """
        end_like_interrupt()  # submitit lets SIGTERM pass by, which is how SLURM cancels
        warning = Warned()
        try:
            from kd_lab.sweep.member import run_member  # takes seconds, in which the signal may come

            run_member(config, number, at_once)
        except KeyboardInterrupt:
            folder = JobFolder(Path(os.environ[FOLDER]))
            if not warning.came or folder.read(number).state not in UNDONE:
                raise
            _again(folder, number, warning)

    def checkpoint(self, *task: Any) -> "DelayedSubmission":
        """The same again: what it has done is in the store and in the states of its trainings."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *task)


class Warned:
    """From now on the signal that submitit answers by queueing a job again is, until `answer`, a SIGTERM."""

    def __init__(self) -> None:
        from submitit import JobEnvironment

        self._received: tuple[int, FrameType | None] | None = None
        self._before = signal.signal(getattr(signal, f"SIG{JobEnvironment.USR_SIG}"), self._note)

    @property
    def came(self) -> bool:
        """Whether it was received."""
        return self._received is not None

    def answer(self) -> None:
        """Have submitit put the job into the queue again and end this process, or say why it does not."""
        assert self._received is not None
        assert callable(self._before)
        self._before(*self._received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.came:
            self._received = number, frame
            signal.raise_signal(signal.SIGTERM)


def _again(folder: JobFolder, number: int, warning: Warned) -> None:
    from submitit.core.utils import UncompletedJobError

    folder.change(number, state=WAITING, doing="in the queue again", ended=None)
    try:
        warning.answer()
    except UncompletedJobError:
        folder.change(number, state=FAILED, ended=time.time(), reason=TOO_SHORT, code=1)
        raise
