"""What a population has found, in words, as a table and as a figure; and the same words of any search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from kd_lab.outside.text import csv
from kd_lab.sweep.searched import Searched
from kd_lab.sweep.states import FINISHED, FOUND, WAITING, JobState, TurnTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def found_by(jobs: Sequence[JobState]) -> tuple[str, int]:
    """What was chosen by a search, in words, and from how many configurations; no words where nothing was searched."""
    members = Members.of(jobs)
    if members.turns:
        return members.sentence(), members.configurations
    searched = Searched.of(jobs)
    return searched.sentence() if searched.trials else "", len(searched.ended)


@dataclass(frozen=True)
class Members:
    """The turns of a population, round by round."""

    turns: list[JobState]

    @classmethod
    def of(cls, jobs: Sequence[JobState]) -> "Members":
        """Those of all jobs of a sweep that were at least begun."""
        return cls([job for job in jobs if job.turn is not None and job.state != WAITING])

    @property
    def configurations(self) -> int:
        """How many schedules were tried: one of each member, and one for each time that a member was replaced."""
        population = sum(task.round == 0 for task in self._tasks())
        return population + sum(task.parent != task.member for task in self._tasks())

    @property
    def best(self) -> list[JobState]:
        """The turns that led to the best member, first to last; none where the end was not reached."""
        places = {(task.round, task.member): turn for task, turn in zip(self._tasks(), self.turns, strict=True)}
        found = [turn for turn in self.turns if turn.chosen]
        while found and (task := _task(found[-1])).round:
            found.append(places[task.round - 1, task.parent])
        return found[::-1]

    def sentence(self) -> str:
        """What was chosen from how many at which cost, or that nothing was."""
        population, rounds = (1 + max(getattr(task, key) for task in self._tasks()) for key in ("member", "round"))
        tried = (
            f"{self.configurations} configurations (a population of {population} over {rounds} rounds, "
            f"{self.configurations - population} times one was replaced; the cost of {population} trainings)"
        )
        best = self.best
        if not best:
            return f"Tried on the validation part: {tried}; nothing is chosen."
        schedules = [f"{key}={_course([turn.params[key] for turn in best])}" for key in best[0].params]
        kept = f", its network is in run {best[-1].run_id}" if best[-1].run_id else ""
        return (
            f"Chosen on the validation part from {tried}: member {_task(best[-1]).member + 1}, {best[-1].result}{kept}."
            f" What it was trained with, and is run again with: {', '.join(schedules)}."
        )

    def table(self) -> pd.DataFrame:
        """One row per turn: whose network it went on with, its values, what it reached; members and rounds from 1."""
        lineage = {turn.number for turn in self.best}
        rows = []
        for task, turn in zip(self._tasks(), self.turns, strict=True):
            place = {"round": task.round + 1, "member": task.member + 1, "parent": task.parent + 1}
            row = {**place, "until_step": task.until, "state": FINISHED if turn.state == FOUND else turn.state}
            score = math.nan if turn.values is None else turn.values[0]
            facts = {"seconds": round(turn.seconds, 1), "run": turn.run_id, "reason": turn.reason}
            rows.append({**row, "of_best": turn.number in lineage, **turn.params, task.objective: score, **facts})
        return pd.DataFrame(rows)

    def csv(self) -> str:
        """The table as a file."""
        return csv(self.table())

    def figure(self) -> "Figure":
        """Each value, and what it reached, over the steps of the training."""
        from kd_lab.analysis.figures.members import members_figure

        return members_figure(self.table(), [*self.turns[0].params, self._tasks()[0].objective])

    def _tasks(self) -> list[TurnTask]:
        return [_task(turn) for turn in self.turns]


def _task(turn: JobState) -> TurnTask:
    assert turn.turn is not None
    return turn.turn


def _course(values: Sequence[float]) -> str:
    """`4 -> 4.8`: each value once for as long as it stays."""
    kept = [value for place, value in enumerate(values) if not place or value != values[place - 1]]
    return " -> ".join(f"{value:g}" for value in kept)
