"""One job of a sweep, in whichever process it runs: what it does is told in the sweep's scratch folder."""

import os
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_lab import names
from kd_lab.errors import PrunedError, TrainingFailedError, UserError, masked
from kd_lab.job.compose import check_complete
from kd_lab.job.console import Reporter, in_a_line
from kd_lab.job.job import run
from kd_lab.job.order import Context
from kd_lab.store.client import first_line
from kd_lab.sweep.states import FAILED, FINISHED, KILLED, PRUNED, RUNNING, JobFolder
from kd_lab.sweep.sweep import FOLDER, TITLE
from kd_lab.sweep.trial import run_trial
from kd_lab.sweep.trials import in_words
from kd_lab.sweep.turn import run_turn
from kd_lab.types import Measurement, RunResult


class MemberReporter(Reporter):
    """Tells one job in the sweep's folder, not on the console."""

    def __init__(self, folder: JobFolder, number: int) -> None:
        super().__init__()
        self._folder, self._number = folder, number

    @property
    def lines(self) -> bool:
        """Never: the process in front tells of the jobs."""
        return False

    def doing(self, text: str) -> None:
        """What the live table shows beside the job."""
        self._folder.change(self._number, doing=text)

    def note(self, text: str) -> None:
        """The same: a note is what the job is busy with (waiting for another one's teacher)."""
        self.doing(text)

    def warn(self, text: str) -> None:
        """Told by the process in front."""
        self._folder.warn(self._number, text)

    def opened(self, run_id: str) -> None:
        """Remember it, in case this process is killed."""
        self._folder.change(self._number, open_run=run_id)

    def finished(self, result: RunResult, config: Mapping[str, Any]) -> None:  # noqa: ARG002
        """The result, in a line and as a number."""
        validation = result.validation_accuracy
        self._folder.change(
            self._number,
            run_id=result.student.run_id,
            result=in_a_line(result),
            score=result.student.measurement[names.TEST_ACCURACY_TOP1] if validation is None else validation,
            on_validation=validation is not None,
        )

    def tried(self, run_id: str | None, measured: Measurement, objectives: Sequence[str]) -> None:
        """What a trial of a search reached."""
        values = [measured[objective] for objective in objectives]
        result = ", ".join(in_words(objective, value) for objective, value in zip(objectives, values, strict=True))
        accuracy = measured[names.VAL_ACCURACY_TOP1] if names.VAL_ACCURACY_TOP1 in objectives else None
        facts = {"run_id": run_id, "values": values, "result": result}
        self._folder.change(self._number, **facts, score=accuracy, on_validation=True)


def run_member(config: Mapping[str, Any], number: int, at_once: int) -> None:
    """Run a job of the sweep that this process belongs to; its failure is recorded, not raised.

    Args:
        config: composed and resolved.
        number: which job of the sweep.
        at_once: how many jobs share this machine.

    Raises:
        KeyboardInterrupt: the sweep was stopped.
    """
    folder = JobFolder(Path(os.environ[FOLDER]))
    state = folder.change(number, state=RUNNING, started=time.time())
    reporter = MemberReporter(folder, number)
    context = Context(state.sweep, os.environ[TITLE], state.label, at_once, state.tried)
    try:
        check_complete(config)
        with reporter.listening():
            if state.trial is not None:
                reporter.tried(*run_trial(config, context, reporter, state.trial), state.trial.objectives)
            elif state.turn is not None:
                reporter.tried(*run_turn(config, context, reporter, state.turn), [state.turn.objective])
            else:
                run(config, context, reporter)
    except PrunedError as pruned:
        folder.change(number, state=PRUNED, ended=time.time(), reason=str(pruned))
    except (UserError, TrainingFailedError) as error:
        _failed(folder, number, str(error), 2 if isinstance(error, UserError) else 1)
    except Exception as error:  # a bug, ours or in the user's own class: the other jobs go on all the same
        reason = f"{type(error).__name__}: {first_line(error)}"
        _failed(folder, number, reason, 1, trace=masked(traceback.format_exc()))
    except BaseException:
        folder.change(number, state=KILLED, ended=time.time())
        raise
    else:
        folder.change(number, state=FINISHED, ended=time.time())


def _failed(folder: JobFolder, number: int, reason: str, code: int, trace: str = "") -> None:
    folder.change(number, state=FAILED, ended=time.time(), reason=reason, code=code, trace=trace)
