"""The trials of a search, seen from the process that hands them out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from kd_lab.job.compose import Config
from kd_lab.sweep.jobs import Job, state_of
from kd_lab.sweep.states import FINISHED, FOUND, JobFolder
from kd_lab.sweep.trials import Trials

KEPT = ("label", "run_id", "result", "score", "on_validation", "values", "reason", "code", "trace", "started", "ended")
"""Of a trial's state, in Optuna's journal."""


class Queue:
    """The trials of a search, each drawn when there is room for it."""

    def __init__(
        self,
        trials: Trials,
        most: int,
        folder: JobFolder,
        sweep: str,
        *,
        drawn: Callable[[Mapping[str, Any]], Job],
        base: Job,
    ) -> None:
        self._trials, self._folder, self._sweep, self._drawn = trials, folder, sweep, drawn
        self._optuna: dict[int, int] = {}
        self._until = float("inf")
        before = trials.before()
        for number, tried in enumerate(before):
            self._optuna[number] = tried.number
            job = replace(base, label=str(tried.job["label"]))
            # The journal lies beside the store: of what somebody may have written into it no other fact is taken.
            facts = {key: value for key, value in tried.job.items() if key in KEPT and key != "label"}
            facts["state"] = FOUND if tried.state == FINISHED else tried.state
            folder.write(state_of(number, job, sweep, trial=trials.task(), params=tried.values, **facts))
        self._next, self._end = len(before), max(most, len(before))
        for number in range(self._next, self._end):
            folder.write(state_of(number, replace(base, label=f"trial {number}"), sweep, trial=trials.task()))

    def until(self, timeout: float | None) -> "Queue":
        """Begin no trial after so many seconds."""
        if timeout is not None:
            self._until = time.monotonic() + timeout
        return self

    @property
    def left(self) -> int:
        """How many are still to be drawn."""
        return self._end - self._next if time.monotonic() < self._until else 0

    def next(self) -> tuple[int, Config]:
        """Draw the next one."""
        number = self._next
        self._next += 1
        found = self._trials.draw()
        self._optuna[number] = found.number
        job = self._drawn(found.values)
        task = self._trials.task(found.trial_id)
        self._folder.write(state_of(number, job, self._sweep, trial=task, params=found.values))
        return number, job.config

    def ended(self, number: int) -> None:
        """Tell Optuna."""
        state = self._folder.read(number)
        kept = {key: value for key, value in asdict(state).items() if key in KEPT}
        self._trials.tell(self._optuna[number], state.state, state.values, kept, lost=state.lost)

    def chosen(self) -> list[dict[str, Any]]:
        """The configurations that no other one is better than; their trials are marked."""
        numbers = {optuna: number for number, optuna in self._optuna.items()}
        best = [numbers[one] for one in self._trials.best()]
        return [self._folder.change(number, chosen=True).params for number in best]
