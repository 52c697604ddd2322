"""What a search has found, in words and as a table: its trials, and which of them were chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kd_lab.outside.text import csv
from kd_lab.sweep.states import ENDED, FAILED, FINISHED, FOUND, KILLED, PRUNED, JobState, count

WORDS = {(FINISHED, FOUND): "done", (PRUNED,): "pruned", (FAILED,): "failed"}


@dataclass(frozen=True)
class Searched:
    """The trials of a search, in the order in which they were drawn."""

    trials: list[JobState]

    @classmethod
    def of(cls, jobs: Sequence[JobState]) -> "Searched":
        """Those of all jobs of a sweep that are trials."""
        return cls([job for job in jobs if job.trial is not None])

    @property
    def ended(self) -> list[JobState]:
        """Those that were tried to their end, whichever it was."""
        return [job for job in self.trials if job.state in ENDED and job.state != KILLED]

    def sentence(self) -> str:
        """What was chosen from how many, or why nothing was."""
        parts = [f"{count(self.ended, *states)} {word}" for states, word in WORDS.items() if count(self.ended, *states)]
        number = len(self.ended)
        tried = f"{number} configuration{'' if number == 1 else 's'} ({', '.join(parts) or 'none'})"
        chosen = [job for job in self.trials if job.chosen]
        if not chosen:
            return f"Tried on the validation part: {tried}; nothing is chosen."
        if len(chosen) == 1:
            return f"Chosen on the validation part from {tried}: {chosen[0].label}, {chosen[0].result}."
        lines = [f"- {job.label}: {job.result}" for job in chosen]
        front = f"Chosen on the validation part from {tried}: the {len(chosen)} that no other one is better than."
        return "\n".join([front, *lines])

    def csv(self) -> str:
        """One row per trial: its values, what it reached, how it ended."""
        rows = []
        for trial in self.trials:
            assert trial.trial is not None
            values = trial.values or [math.nan] * len(trial.trial.objectives)
            reached = dict(zip(trial.trial.objectives, values, strict=True))
            state = FINISHED if trial.state == FOUND else trial.state
            facts = {"seconds": round(trial.seconds, 1), "run": trial.run_id or trial.open_run, "reason": trial.reason}
            row = {"trial": trial.number, "state": state, "chosen": trial.chosen}
            rows.append({**row, **trial.params, **reached, **facts})
        return csv(pd.DataFrame(rows))
