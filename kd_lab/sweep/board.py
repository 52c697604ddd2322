"""What a person sees while a sweep runs: a table that lives on a terminal, a line per job elsewhere."""

import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kd_lab.outside.console import console
from kd_lab.outside.text import duration, line
from kd_lab.sweep.states import (
    ENDED,
    FAILED,
    FINISHED,
    FOUND,
    KILLED,
    PRUNED,
    RUNNING,
    WAITING,
    JobFolder,
    JobState,
    by_reason,
    count,
)

REFRESH_S = 0.25
NARROW = 60
"""A terminal of fewer columns has a list in the place of a table."""
LINES_OF_A_JOB = 4
"""In such a list, about."""
OTHER_LINES = 7
"""Of a terminal: what stands around the rows of the table, and the line that the user typed."""
COUNTS_S = 30.0
"""How long a sweep may be silent where there is no table: then it tells how many jobs are done."""
NAMED = 3
"""How many jobs are named beside a reason that they share."""

STYLES = {FAILED: "red", PRUNED: "dim", RUNNING: "bold", FOUND: "dim", KILLED: "yellow", FINISHED: "green"}


class Board:
    """`with Board(folder, slots, started):` shows the jobs until the block ends.

    slots: how many run at once. started: the sweep, in seconds since 1970. resumes: whether the same
    command would go on where this one ended. noun: what is shown: jobs, trials of a search, turns of a population.
    """

    def __init__(self, folder: JobFolder, slots: int, started: float, *, resumes: bool, noun: str = "job") -> None:
        self._folder = folder
        self._slots = slots
        self._console = console()
        self._started = started
        self._resumes = resumes
        self._noun = noun
        self._told: set[tuple[int, str]] = set()
        self._reasons: dict[str, str] = {}
        self._warned: set[str] = set()
        self._end = threading.Event()

    def __enter__(self) -> "Board":
        self._begin(self._jobs())
        self._counted = time.monotonic()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            rate = 1 / REFRESH_S
            self._live: Live | None = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=rate, transient=True
            )
            self._live.start()
        else:
            self._live = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._tell()
        if self._live is not None:
            self._live.stop()
        self._finish(self._jobs())

    def _begin(self, jobs: Sequence[JobState]) -> None:
        found = count(jobs, FOUND)
        if found:
            self._print(f"{found} of {len(jobs)} {self._noun}s are there already (sweep.resume=false runs all again)")

    def _jobs(self) -> list[JobState]:
        return [job for job in self._folder.all() if job.tries == (self._noun != "job")]

    def _follow(self) -> None:
        while not self._end.wait(REFRESH_S):
            self._tell()

    def _tell(self) -> None:
        """What is new: warnings, each once whichever job has it; without a table jobs too, and how many are done."""
        jobs = self._jobs()
        for text in [warning for job in jobs for warning in job.warnings]:
            if text not in self._warned:
                self._warned.add(text)
                self._print(text, "yellow")
        if self._live is not None:
            return
        begun = [(job.started, job, RUNNING) for job in jobs if job.started is not None]
        ended = [(job.ended or 0.0, job, job.state) for job in jobs if job.state in ENDED]
        for _, job, state in sorted([*begun, *ended], key=lambda event: event[0]):
            if (job.number, state) not in self._told:
                self._told.add((job.number, state))
                self._print(f"{name(job)}: {self._words(job, state)}", "red" if state == FAILED else None)
        if time.monotonic() >= self._counted + COUNTS_S:
            self._counted = time.monotonic()
            self._print(self._heading(jobs))

    def _words(self, job: JobState, state: str) -> str:
        """Of a job that has begun or ended; a reason in full for the first job that failed of it."""
        if state != FAILED:
            return {
                RUNNING: "begun",
                FINISHED: job.result,
                FOUND: f"found again: {job.result}",
                PRUNED: job.reason,
            }.get(state, state)
        first = self._reasons.setdefault(job.reason, name(job))
        return f"failed: {job.reason}" if first == name(job) else f"failed for the same reason as {first}"

    def _finish(self, jobs: Sequence[JobState]) -> None:
        self._print(f"{counts(jobs, self._noun)} in {duration(time.time() - self._started)}")
        if count(jobs, FAILED):
            self._print(failures(jobs), "red")
        if self._resumes and count(jobs, WAITING, RUNNING, KILLED):
            self._print("The same command again does the rest.")

    def _print(self, text: str, style: str | None = None) -> None:
        with suppress(BrokenPipeError, SystemExit):  # rich leaves the program where nobody reads: not a sweep's jobs
            self._console.print(text, style=style, soft_wrap=True)

    def _render(self) -> Group:
        jobs = self._jobs()
        heading = [self._heading(jobs), best(jobs)]
        return Group(*(Text(line) for line in heading if line), rows(jobs, self._console))

    def _heading(self, jobs: Sequence[JobState]) -> str:
        seconds = seconds_left(jobs, self._slots, time.time())
        return counts(jobs, self._noun) + ("" if seconds is None else f", about {duration(seconds)} left")


def name(job: JobState) -> str:
    """What a job is called: `seed=0 batch_size=64`, keys in full only where the last word of two is the same."""
    label = line(job.label)
    words = [word.partition("=") for word in label.split(" ")]
    keys = {key for key, _, _ in words}
    short = {key: key.rsplit(".", 1)[-1] for key in keys}
    if len(set(short.values())) < len(keys):
        return label
    return " ".join(f"{short[key]}{equals}{value}" for key, equals, value in words) or "job"


def failures(jobs: Sequence[JobState]) -> str:
    """Why jobs failed, each reason once: the names of the jobs, and the reason."""
    lines = []
    for reason, failed in by_reason(jobs).items():
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        lines.append(f"failed ({'; '.join(map(name, failed[:NAMED]))}{more}): {reason}")
    return "\n".join(lines)


def counts(jobs: Sequence[JobState], noun: str = "job") -> str:
    """`12 jobs: 4 done, 2 running, 6 waiting`."""
    states = (FINISHED, FOUND, PRUNED, FAILED, RUNNING, KILLED, WAITING)
    numbers = {state: count(jobs, state) for state in states}
    parts = [f"{number} {'done' if state == FINISHED else state}" for state, number in numbers.items() if number]
    return f"{len(jobs)} {noun}{'' if len(jobs) == 1 else 's'}: {', '.join(parts)}"


def best(jobs: Sequence[JobState]) -> str:
    """The most accurate job so far, on the validation part where there is one."""
    scored = [job for job in jobs if job.score is not None]
    if not scored:
        return ""
    found = max(scored, key=lambda job: job.score or 0.0)
    return (
        f"best so far {found.score:.2%} on the {'validation' if found.on_validation else 'test'} part ({name(found)})"
    )


def seconds_left(jobs: Sequence[JobState], slots: int, now: float) -> float | None:
    """How long the rest takes if every job takes the median of those that are done; None before it is known.

    The first jobs train the teacher that all share: they say nothing of the others.
    """
    done = [job.seconds for job in jobs if job.state == FINISHED]
    running = [now - job.started for job in jobs if job.state == RUNNING and job.started is not None]
    waiting = count(jobs, WAITING)
    if len(done) <= slots or not (running or waiting):
        return None
    median = statistics.median_low(done)
    rest = sum(max(0.0, median - seconds) for seconds in running) + waiting * median
    return rest / max(1, slots)


def rows(jobs: Sequence[JobState], on: Console) -> Table:
    """As many jobs as the terminal has room for: those that run, some that failed, the last that ended, the next.

    A narrow terminal has a list of them, each with its result below it.
    """
    narrow = on.width < NARROW
    shown = _shown(jobs, max(3, (on.height - OTHER_LINES) // (LINES_OF_A_JOB if narrow else 1)))
    drawn = Table(box=None, pad_edge=False, expand=True, show_header=not narrow)
    for column, share in (("job", 4), ("", None), ("time", None), ("result", 6))[: 1 if narrow else None]:
        width = None if share else 11
        drawn.add_column(column, no_wrap=not narrow, overflow="ellipsis", ratio=share, width=width)
    now = time.time()
    for job in shown:
        taken = duration((job.ended or now) - job.started) if job.started is not None else ""
        told = (name(job), job.state, taken, job.reason or job.result or job.doing)
        cells = (f"{told[0]}: {' '.join(filter(None, told[1:3]))}\n  {told[3]}".rstrip(),) if narrow else told
        drawn.add_row(*cells, style=STYLES.get(job.state))
    if len(shown) < len(jobs):
        drawn.add_row(f"... and {len(jobs) - len(shown)} more", style="dim")
    return drawn


def _shown(jobs: Sequence[JobState], room: int) -> list[JobState]:
    """So many of the jobs, those first that one wants to see."""
    running = [job for job in jobs if job.state == RUNNING]
    ended = sorted((job for job in jobs if job.state in ENDED), key=lambda job: -(job.ended or 0.0))
    failed = [job for job in ended if job.state == FAILED][: max(1, room // 4)]
    others = [job for job in ended if job.state not in {FAILED, FOUND}]
    waiting = [job for job in jobs if job.state == WAITING]
    found = [job for job in ended if job.state == FOUND]
    return [*running, *failed, *others, *waiting, *found][:room]
