"""The jobs of a sweep as files in its scratch folder: written by whichever process knows, read by the one in front."""

import json
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

WAITING, RUNNING, FINISHED, FOUND, FAILED, KILLED = "waiting", "running", "finished", "found again", "failed", "killed"
PRUNED = "pruned"
ENDED = (FINISHED, FOUND, FAILED, KILLED, PRUNED)


@dataclass(frozen=True)
class TrialTask:
    """What a trial of a search is told, beside its config.

    journal, study, trial_id: where Optuna keeps it. objectives: what is measured. prunes: whether it may be stopped.
    """

    journal: str
    study: str
    trial_id: int
    objectives: list[str]
    prunes: bool


@dataclass(frozen=True)
class TurnTask:
    """What one member of a population is told of one round, beside its config.

    round, member, parent: numbers from 0; the last is whose network it goes on with. until: after which optimizer step
    the round ends. folder: where its state then lies. before: that of the parent, none in the first round. objective:
    what it is judged by. is_last: whether the training ends with this round.
    """

    round: int
    member: int
    parent: int
    until: int
    folder: str
    before: str | None
    objective: str
    is_last: bool


@dataclass(frozen=True)
class JobState:
    """One job of a sweep.

    number: its place among all jobs. label: what is special about it (`seed=3`). sweep: the id that its runs carry.
    doing: what it is busy with. started, ended: seconds since 1970. run_id: the student's run. result: in words.
    score: accuracy, on the validation part where there is one (on_validation). reason: one sentence, why it failed.
    code: the exit code that it would have ended with. trace: of an error that nobody expected. open_run: the run that
    it began last. lost: its process ended without a word, so that this run may still be open. warnings: what a user
    has to know meanwhile.

    Of a search: trial, for a job that tries out a configuration, or turn, for a round of a member of a population;
    params, the configuration; values, one of each objective; chosen, whether it is one of those that are run again;
    tried, for such a job, from how many.
    """

    number: int
    label: str
    uri: str
    study: str
    sweep: str
    state: str = WAITING
    doing: str = ""
    started: float | None = None
    ended: float | None = None
    run_id: str | None = None
    result: str = ""
    score: float | None = None
    on_validation: bool = False
    reason: str = ""
    code: int = 0
    trace: str = ""
    open_run: str | None = None
    lost: bool = False
    trial: TrialTask | None = None
    turn: TurnTask | None = None
    params: dict[str, Any] = field(default_factory=dict)
    values: list[float] | None = None
    chosen: bool = False
    tried: int | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def tries(self) -> bool:
        """Whether it is one of those that are judged on the validation part, and not yet what was chosen."""
        return self.trial is not None or self.turn is not None

    @property
    def seconds(self) -> float:
        """How long it took, from start to end; 0 for a job that did not run."""
        return self.ended - self.started if self.started is not None and self.ended is not None else 0.0


class JobFolder:
    """The scratch folder of one sweep: `NUMBER.json` is the state of a job, whole at every moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, tuple[tuple[int, int, int], JobState]] = {}
        self._changing = threading.Lock()

    def write(self, state: JobState) -> JobState:
        """Put a state in the place of the one before."""
        handle, name = tempfile.mkstemp(dir=self.path, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
        Path(name).replace(self.path / f"{state.number}.json")
        return state

    def change(self, number: int, **facts: Any) -> JobState:
        """Write a state with some of its facts changed."""
        with self._changing:
            return self.write(replace(self.read(number), **facts))

    def warn(self, number: int, text: str) -> None:
        """Add a warning to a state."""
        with self._changing:
            state = self.read(number)
            self.write(replace(state, warnings=[*state.warnings, text]))

    def remove(self, number: int) -> None:
        """Forget a job."""
        (self.path / f"{number}.json").unlink()

    def remove_waiting(self) -> None:
        """Of those that were never begun."""
        for state in self.all():
            if state.state == WAITING:
                self.remove(state.number)

    def read(self, number: int) -> JobState:
        """One job."""
        return _parsed(self.path / f"{number}.json")

    def all(self) -> list[JobState]:
        """Every job, by number; only files that have changed since the last time are read.

        Two writes may fall into one tick of the filesystem's clock, but each puts another file in the place.
        """
        there: dict[str, tuple[tuple[int, int, int], JobState]] = {}
        for entry in os.scandir(self.path):
            if entry.name.endswith(".json"):
                found = entry.stat()
                version = found.st_ino, found.st_mtime_ns, found.st_size
                before = self._read.get(entry.name)
                if before is None or before[0] != version:
                    before = version, _parsed(Path(entry.path))
                there[entry.name] = before
        self._read = there
        return sorted((state for _, state in there.values()), key=lambda state: state.number)


def count(states: Sequence[JobState], *kinds: str) -> int:
    """How many jobs are in one of these states."""
    return sum(state.state in kinds for state in states)


def by_reason(states: Sequence[JobState]) -> dict[str, list[JobState]]:
    """The jobs that failed, by why they did."""
    reasons: dict[str, list[JobState]] = {}
    for state in states:
        if state.state == FAILED:
            reasons.setdefault(state.reason, []).append(state)
    return reasons


def _parsed(file: Path) -> JobState:
    facts = json.loads(file.read_text(encoding="utf-8"))
    trial, turn = facts.pop("trial"), facts.pop("turn")
    return JobState(**facts, trial=trial and TrialTask(**trial), turn=turn and TurnTask(**turn))
