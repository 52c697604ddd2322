"""One run of the store while it is written.

A store that goes away, or is slow, never costs a training and never holds it up: what a run says goes to the local
disk (see journal.py), and from there to the store in a thread of its own (see writer.py). What the store could not be
told by the end of the run stays in `kd_lab_rescue/RUN_ID`, for `kd-lab sync`. Only a full disk ends the training.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from kd_lab.errors import PrunedError, TrainingFailedError
from kd_lab.names import TAG_REASON
from kd_lab.outside.ids import run_id as checked_id
from kd_lab.store.client import disk_full_error, first_line, is_disk_full
from kd_lab.store.entries import End, Entries, Input, Point
from kd_lab.store.journal import Header, Journal
from kd_lab.store.lease import Lease
from kd_lab.store.location import Location
from kd_lab.store.writer import Writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TAG_LENGTH = 8000
INTERRUPTED = "interrupted (SIGINT, as by Ctrl-C)"
"""The reason of a run that was; another signal brings its own."""

_logger = logging.getLogger(__name__)


class Run:
    """Writes one run: `with store.start_run(...) as run:` ends it with the status that is true.

    It pickles; the copy writes to the same run, through a log and a thread of its own. The run of a store that was away
    when it began has an id of its own (`run_id`) and is only kept, until `kd-lab sync` makes it in the store.
    """

    def __init__(self, uri: str, run_id: str, folder: Path | None = None) -> None:
        self.run_id = checked_id(run_id, f"tracking.uri={uri}")
        self.seconds = 0.0
        """Wall time that this process waited in tracking calls so far."""
        self._uri = uri
        # Known from now on: the working directory may change during the run.
        self._journal = Journal(folder or Location.parse(uri).rescue() / run_id)
        self._writer = None if self._is_only_here() else Writer(uri, run_id, self._journal)
        self._lease: Lease | None = None
        self._begun = False
        self._finished = False

    def __reduce__(self) -> tuple[type["Run"], tuple[str, str, Path]]:
        return type(self), (self._uri, self.run_id, self._journal.folder)

    @classmethod
    def begin(cls, header: Header, folder: Path, lease: Lease | None, inputs: Sequence[Input] = ()) -> "Run":
        """A run that starts now: say on the disk what it is, and that this process writes it."""
        journal = Journal(folder)
        with _disk_full_as_error(header.uri):
            try:
                journal.begin(header)
            except OSError:  # what is only begun says nothing of the run
                journal.remove()
                raise
            if lease is not None:
                lease.folder = folder
        run = cls(header.uri, header.run_id or header.local_id, folder)
        run._lease = lease
        run._take(Entries(params=dict(header.params), inputs=list(inputs)))
        return run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take metrics of one step; the store has them some seconds later.

        Raises:
            TrainingFailedError: the disk is full.
        """
        now_ms = _now_ms()
        with self._timed():
            self._take(Entries(points=[Point(key, float(value), now_ms, step) for key, value in values.items()]))

    def log_measurement(self, values: Mapping[str, float]) -> None:
        """Take metrics that belong to no step."""
        self.log(0, values)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Take tags."""
        with self._timed():
            self._take(Entries(tags={key: value[:MAX_TAG_LENGTH] for key, value in tags.items()}))

    def flush(self) -> None:
        """Wait until the store has what was taken; not for a store that is away.

        Raises:
            TrainingFailedError: the disk is full.
        """
        if self._writer is not None:
            with self._timed():
                self._writer.drain()

    def log_text(self, text: str, artifact: str) -> None:
        """Store a text as the artifact of this path."""
        self._store(artifact, lambda path: path.write_text(text, encoding="utf-8"))

    def log_file(self, path: Path, artifact: str) -> None:
        """Store a copy of a file as the artifact of this path, whatever the file's own name.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"Expected a file to log as {artifact}, but {path} is none.")
        self._store(artifact, lambda copy: shutil.copyfile(path, copy))

    def log_figure(self, figure: "Figure", artifact: str) -> None:
        """Store a figure; the artifact's suffix (.png, .svg, .pdf) is its format."""
        self._store(artifact, lambda path: figure.savefig(path, dpi=120))

    def finish(self, status: str = "FINISHED", reason: str | None = None) -> None:
        """Write what is left and end the run, once; a second call does nothing.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: why it is not FINISHED; becomes the tag kd_lab.reason.

        Raises:
            TrainingFailedError: the disk is full.
        """
        if self._finished:
            return
        self._finished = True
        tags = {} if reason is None else {TAG_REASON: reason[:MAX_TAG_LENGTH]}
        written = False
        try:
            with self._timed():
                written = self._end(Entries(tags=tags, end=End(status, _now_ms())))
        finally:
            if written:
                self._journal.remove()
            else:
                self._journal.close()
            if self._lease is not None:
                self._lease.release(done=written)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.finish()
            return
        killed = isinstance(error, KeyboardInterrupt | SystemExit | PrunedError)
        try:
            bare = isinstance(error, KeyboardInterrupt) and not error.args
            self.finish("KILLED" if killed else "FAILED", reason=INTERRUPTED if bare else first_line(error))
        except Exception as second:
            # The first error is the one that explains; this one is only its echo.
            _logger.warning("The end of run %s could not be recorded (%s).", self.run_id, first_line(second))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _is_only_here(self) -> bool:
        return self._journal.is_there() and self._journal.header().run_id is None

    def _end(self, last: Entries) -> bool:
        """Write what is left; whether the store has everything now."""
        if self._writer is None:
            self._take(last)
            return False
        self._writer.adopt(self._journal.entries(of_others=True))
        try:
            self._take(last)
        except TrainingFailedError as error:  # the disk is full, but the store may be elsewhere
            if not self._writer.close():
                raise error
            return True
        return self._writer.close()

    def _take(self, more: Entries) -> None:
        with _disk_full_as_error(self._uri):
            if not self._begun and not self._journal.is_there():
                self._journal.begin(Header(self._uri, self.run_id))
            self._begun = True
            if self._writer is not None:
                self._writer.take(more)
            else:
                self._journal.append(more)

    def _store(self, artifact: str, write: Callable[[Path], object]) -> None:
        """Put an artifact into the folder, whole or not at all, and have it stored from there."""
        with self._timed(), _disk_full_as_error(self._uri):
            path = self._journal.place(artifact)
            new = path.with_name(f".{path.name}")
            try:
                write(new)
                new.replace(path)
            except OSError:
                with suppress(OSError):
                    new.unlink()
                raise
            self._take(Entries(artifacts=[artifact]))


@contextmanager
def _disk_full_as_error(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full_error(uri) from error
        raise


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
