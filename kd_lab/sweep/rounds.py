"""`sweep=pbt`: a population, trained side by side and round by round."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from kd_lab.errors import TrainingFailedError
from kd_lab.job.compose import Config
from kd_lab.job.search_settings import Dimension, PopulationSettings, SearchSettings
from kd_lab.names import HIGHER_IS_BETTER
from kd_lab.outside.paths import remove_own_folder
from kd_lab.sweep.jobs import Job, state_of
from kd_lab.sweep.journal import Journal
from kd_lab.sweep.learned import with_schedule
from kd_lab.sweep.population import Rules, Values, history, ranked
from kd_lab.sweep.space import label_of
from kd_lab.sweep.states import FINISHED, FOUND, PRUNED, WAITING, JobFolder, JobState, TurnTask
from kd_lab.sweep.workers import Jobs


def ends_of(steps: int, steps_per_epoch: int, rounds: int) -> list[int]:
    """After which optimizer step each of so many rounds of whole epochs ends."""
    epochs = -(-steps // steps_per_epoch)
    return [min(round((number + 1) * epochs / rounds) * steps_per_epoch, steps) for number in range(rounds)]


class Rounds:
    """One population; how each turn of a member went is in the folder of the sweep, and in the journal.

    Args:
        settings: of the search.
        dimensions: what is searched.
        folder: the sweep's.
        sweep: its id.
        journal: what was done before.
        states: the folder of the states of trainings.
        ends: after which step each round ends.
        base: any job of it.
        composed: the config of a job with these values.
    """

    def __init__(
        self,
        settings: SearchSettings,
        dimensions: Mapping[str, Dimension],
        folder: JobFolder,
        sweep: str,
        *,
        journal: Journal,
        states: Path,
        ends: Sequence[int],
        base: Job,
        composed: Callable[..., Config],
    ) -> None:
        assert settings.pbt is not None
        self._pbt: PopulationSettings = settings.pbt
        self._objective, self._folder, self._sweep = settings.objectives[0], folder, sweep
        self._journal, self._states, self._ends, self._base, self._composed = journal, states, ends, base, composed
        self._rules = Rules(dimensions, self._pbt, settings.seed)
        self._members = [self._rules.first()]
        before = journal.read()
        for number, member in product(range(self._pbt.rounds), range(self._pbt.population)):
            facts = before.get((number, member), {})
            state = FOUND if facts.get("state") == FINISHED else facts.get("state", WAITING)
            job = replace(base, label=f"round={number + 1} member={member + 1}")
            task = self._task(number, member, member)
            numbered = self._number(number, member)
            folder.write(state_of(numbered, job, sweep, turn=task, **{**facts, "state": state}))

    def run(self, run: Callable[[Jobs], None]) -> int | None:
        """Do what is missing, one round after the other; a turn that fails, other than by its loss, ends it.

        Args:
            run: runs jobs.

        Returns:
            The member that is best in the end, and None where the end was not reached.

        Raises:
            TrainingFailedError: no member is left.
        """
        best = None
        for number in range(self._pbt.rounds):
            turns = self._done(number, run)
            if any(turn.state not in (FINISHED, FOUND, PRUNED) for turn in turns):
                break
            if all(turn.values is None for turn in turns):
                raise TrainingFailedError(
                    f"sweep=pbt: of all {len(turns)} members the loss stopped being finite in round {number + 1}; "
                    f"expected a space of lower learning rates (member 1 {turns[0].reason})"
                )
            self._forget(number - 1)
            scores = self._scores(turns)
            if number + 1 < self._pbt.rounds:
                self._members.append(self._rules.following(number + 1, self._members[number], scores))
            else:
                self._forget(number)
                best = ranked(scores)[0]
                self._folder.change(turns[best].number, chosen=True)
        self._folder.remove_waiting()
        return best

    def learned(self, member: int, *more: str) -> Config:
        """The job that is trained as the network of this member was, from its beginning on, with these overrides."""
        values = history(self._members, member)
        return with_schedule(self._composed(values[0], *more), self._milestones(len(values) - 1), values)

    def _done(self, number: int, run: Callable[[Jobs], None]) -> list[JobState]:
        """The turns of one round, once they have ended."""
        self._label(number)
        missing = [turn.number for turn in self._of(number) if turn.state == WAITING]
        if missing:
            run(Turns(missing, self._job, self._ended))
        return self._of(number)

    def _scores(self, turns: Sequence[JobState]) -> list[float | None]:
        sign = 1 if self._objective in HIGHER_IS_BETTER else -1
        return [None if turn.values is None else sign * turn.values[0] for turn in turns]

    def _label(self, number: int) -> None:
        """The members of this round are known now."""
        for own, member in enumerate(self._members[number]):
            label = f"round={number + 1} member={own + 1} {label_of(member.values)}"
            task = self._task(number, own, member.parent)
            self._folder.change(self._number(number, own), label=label, params=member.values, turn=task)

    def _job(self, numbered: int) -> Config:
        number, own = divmod(numbered, self._pbt.population)
        values: list[Values] = history(self._members[: number + 1], own)
        return with_schedule(self._composed(values[0]), self._milestones(number), values, followed=True)

    def _ended(self, numbered: int) -> None:
        state = self._folder.read(numbered)
        if state.state in (FINISHED, PRUNED):
            self._journal.add(*divmod(numbered, self._pbt.population), asdict(state))

    def _milestones(self, rounds: int) -> list[float]:
        """Where so many rounds ended, as shares of the training."""
        return [end / self._ends[-1] for end in self._ends[:rounds]]

    def _task(self, number: int, member: int, parent: int) -> TurnTask:
        return TurnTask(
            number,
            member,
            parent,
            self._ends[number],
            str(self._place(number, member)),
            str(self._place(number - 1, parent)) if number else None,
            self._objective,
            is_last=number == self._pbt.rounds - 1,
        )

    def _place(self, number: int, member: int) -> Path:
        return self._states / f"{self._sweep}-{number}-{member}"

    def _forget(self, number: int) -> None:
        """The states of a round from which nobody goes on any more."""
        for member in range(self._pbt.population if number >= 0 else 0):
            remove_own_folder(self._place(number, member))

    def _number(self, number: int, member: int) -> int:
        return number * self._pbt.population + member

    def _of(self, number: int) -> list[JobState]:
        return [self._folder.read(self._number(number, member)) for member in range(self._pbt.population)]


class Turns:
    """The turns of one round that are still to be done."""

    def __init__(self, numbers: Sequence[int], job: Callable[[int], Config], ended: Callable[[int], None]) -> None:
        self._waiting, self._job, self._ended = deque(numbers), job, ended

    @property
    def left(self) -> int:
        """How many there are still to be handed out."""
        return len(self._waiting)

    def next(self) -> tuple[int, Any]:
        """The number and the config of the next one."""
        number = self._waiting.popleft()
        return number, self._job(number)

    def ended(self, number: int) -> None:
        """Written down, so that it is not done again."""
        self._ended(number)
