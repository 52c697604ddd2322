"""What a person sees of one job: one line per stage, a table at the end; its result in one line for a sweep."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.table import Table

from kd_lab import names
from kd_lab.job.describe import loss_name, network_name
from kd_lab.job.report import measured_on, steps_note, table, verdict
from kd_lab.outside.console import console, narrated
from kd_lab.outside.text import duration
from kd_lab.store.location import LOCAL

if TYPE_CHECKING:
    from kd_lab.types import NetworkResult, RunResult


def busy(what: str) -> AbstractContextManager[object]:
    """A spinner on standard error while something takes its time, if a person is looking."""
    return console(stderr=True).status(what) if sys.stderr.isatty() else nullcontext()


class _Passing(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


class Reporter:
    """Tells one job on the console."""

    def __init__(self) -> None:
        self.console = console()

    @property
    def lines(self) -> bool:
        """Whether phases and progress are told in lines: where a spinner or a bar shows them to nobody."""
        return narrated() and not self.console.quiet

    def doing(self, text: str) -> None:
        """The phase that the job begins."""
        self._began = time.monotonic()
        if self.lines:
            self.note(f"{text}: begun")

    def done(self, text: str, result: "NetworkResult") -> None:
        """The phase that ends, and the network that came of it."""
        if self.lines:
            seconds, accuracy = time.monotonic() - self._began, result.measurement[names.TEST_ACCURACY_TOP1]
            self.note(f"{text}: finished in {duration(seconds)}, accuracy {accuracy:.2%}")

    def opened(self, run_id: str) -> None:
        """A run was begun; nothing on the console, which names the runs at the end."""

    def note(self, text: str) -> None:
        """Something worth knowing while it happens."""
        self.console.print(text, style="dim", soft_wrap=True)

    def warn(self, text: str) -> None:
        """Something that a user has to know."""
        self.console.print(text, style="yellow", soft_wrap=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Pass on what kd-lab warns of meanwhile, from whichever thread."""
        handler, logger = _Passing(self.warn), logging.getLogger("kd_lab")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    def finished(self, result: "RunResult", config: Mapping[str, Any]) -> None:
        """The result."""
        self.console.print(f"study {config['study']}, seed {config['seed']}, {measured_on(result)}", style="italic")
        self.console.print(_table(result, config))
        self.console.print(verdict(result), style="bold")
        for remark in result.remarks:
            self.console.print(remark, style="yellow")
        for text in filter(None, [steps_note(result), _one_seed(result)]):
            self.console.print(text)
        runs = ", ".join(f"{n.role} {n.run_id[:8]}{' (found again)' if n.reused else ''}" for n in result.all())
        uri = config["tracking"]["uri"]
        self.console.print(f"Runs: {runs}; study {config['study']} in {uri}", style="dim", soft_wrap=True)
        self.console.print(f"See them: kd-lab ui{_ui_override(uri)}")


def _ui_override(uri: str) -> str:
    return "" if uri == LOCAL else f" tracking.uri={uri}"


def _one_seed(result: "RunResult") -> str | None:
    if result.baseline is None:
        return None
    return "One seed is an anecdote; the spread: kd-lab -m seed=0,1,2,3,4 and what else you chose."


def _table(result: "RunResult", config: Mapping[str, Any]) -> Table:
    header, rows = table(result)
    named = {
        names.TEACHER: network_name(config["teacher"]) if result.teacher else "",
        names.BASELINE: f"{network_name(config['student'])} alone",
        names.STUDENT: f"{network_name(config['student'])}, {loss_name(config)}",
    }
    drawn = Table()
    drawn.add_column("")
    for role in header[1:]:
        drawn.add_column(f"{role}\n{named[role]}", justify="right", style="bold" if role == names.STUDENT else None)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def in_a_line(result: "RunResult") -> str:
    """The result of a job of a sweep: accuracies, gain, agreement."""
    accuracy = names.TEST_ACCURACY_TOP1
    student = result.student.measurement[accuracy]
    parts = [f"student {student:.2%}"]
    if result.baseline is not None:
        alone = result.baseline.measurement[accuracy]
        parts += [f"alone {alone:.2%}", f"{100 * (student - alone):+.2f} points"]
    if result.teacher is not None:
        parts.append(f"teacher {result.teacher.measurement[accuracy]:.2%}")
    if names.TEST_AGREEMENT_TOP1 in result.student.measurement:
        parts.append(f"agreement {result.student.measurement[names.TEST_AGREEMENT_TOP1]:.2%}")
    if result.remarks:
        parts.append(f"but {result.remarks[0][0].lower()}{result.remarks[0][1:].rstrip('.')}")
    return ", ".join(parts)
