"""Brings a run to the store in a thread of its own, so that no training ever waits for a store.

MLflow's own asynchronous logging drops a batch that a server refuses under load and raises at the end what a dead
server cost (MLflow 3.17); here everything is on the local disk until the store has it.
"""

import threading
import time
from contextlib import suppress

from kd_lab.outside.address import is_server
from kd_lab.store.client import LOCKED_S, answers_again, disk_full_error, first_line, is_away, is_disk_full, tell_away
from kd_lab.store.entries import MAX_POINTS, Entries, send
from kd_lab.store.journal import Journal

WRITE_EVERY_S = 5.0
RETRY_AFTER_S = 10.0
RETRY_AT_THE_END_S = 1.0
PATIENCE_S = 10.0
"""How long the end of a run waits for a server that makes no progress."""
PATIENCE_WITH_FILE_S = LOCKED_S
"""The same for a SQLite file: other jobs may hold it, and MLflow gives up after 20 s."""
SLOWEST_UPLOAD = 1e6
"""Bytes per second; an artifact may take as long as this says, and the patience beside."""


class Writer:
    """What `take` is given is on the disk when it returns, and in the store some seconds later."""

    def __init__(self, uri: str, run_id: str, journal: Journal) -> None:
        self._uri = uri
        self._run_id = run_id
        self._journal = journal
        self._patience_s = PATIENCE_S if is_server(uri) else PATIENCE_WITH_FILE_S
        self._changed = threading.Condition()  # never held while the store is asked
        self._thread: threading.Thread | None = None
        self._entries = Entries()
        self._doubtful = 0  # that many points at the head may be in the store already
        self._due = 0.0
        self._progress = 0.0
        self._upload_s = 0.0  # what the artifact that is being written may take
        self._failures = 0
        self._away = False
        self._waited_for = False
        self._closing = False
        self._left = False
        self._error: Exception | None = None

    def take(self, more: Entries) -> None:
        """Take it, and never wait.

        Raises:
            TrainingFailedError: the disk is full.
            Exception: what the store refused since the last time.
        """
        with self._changed:
            if not self._entries:
                self._due = time.monotonic() + WRITE_EVERY_S
                self._changed.notify_all()
            self._entries.add(more)
            self._start()
            self._journal.append(more)
            self._raise()

    def adopt(self, more: Entries) -> None:
        """Take what another process of the run kept; the store may have some of it."""
        with self._changed:
            self._entries.add(more)
            if more.points:
                self._doubtful = len(self._entries.points)

    def drain(self) -> bool:
        """Wait until everything is written, unless the store is away; whether it is."""
        with self._changed:
            if self._away:
                return False
            return self._written(tries=1)

    def close(self) -> bool:
        """Write what is left in a short bounded time; whether everything was. Nothing is written after this."""
        with self._changed:
            if self._entries:
                self._start()
            self._closing = True
            try:
                return self._written(tries=1 if self._away else None)
            finally:
                self._left = True
                self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"writer of run {self._run_id}", daemon=True)
            self._thread.start()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _written(self, tries: int | None) -> bool:
        """Wait for it: until nothing moves any more, or the given number of tries failed."""
        failures, self._progress = self._failures, time.monotonic()
        self._waited_for, self._due = True, 0.0
        self._changed.notify_all()
        while self._entries and self._error is None and (tries is None or self._failures - failures < tries):
            patience_s = self._progress + self._upload_s + self._patience_s - time.monotonic()
            if patience_s <= 0:
                self._away = True
                tell_away(self._uri, f"not in {self._patience_s:g} s", self._journal.folder.parent)
                break
            self._changed.wait(patience_s)
        self._waited_for = False
        self._raise()
        return not self._entries

    def _work(self) -> None:
        while (part := self._next()) is not None:
            try:
                send(self._uri, self._run_id, part, self._journal.files, doubtful=self._doubtful > 0)
            except Exception as error:
                self._failed(part, error)
            else:
                self._succeeded(part)

    def _next(self) -> Entries | None:
        """What to write now, waited for; None when the work is done."""
        with self._changed:
            while not self._left:
                wait_s = self._due - time.monotonic() if self._entries else None
                if wait_s is not None and wait_s <= 0:
                    part = self._entries.first()
                    files = [self._journal.files / artifact for artifact in part.artifacts]
                    self._upload_s = sum(file.stat().st_size for file in files if file.exists()) / SLOWEST_UPLOAD
                    return part
                self._changed.wait(wait_s)
            return None

    def _succeeded(self, part: Entries) -> None:
        with self._changed:
            if self._left:  # what is kept stays as it is; `kd-lab sync` looks what the store has
                return
            back, self._away = self._away, False
            self._entries.discard(part)
            self._doubtful = max(0, self._doubtful - len(part.points))
            self._progress = time.monotonic()
            left = self._entries
            rest = left.params or left.tags or left.inputs or left.artifacts or left.end
            whole = len(left.points) < MAX_POINTS and not rest
            if not left or (whole and not self._waited_for):
                self._due = time.monotonic() + WRITE_EVERY_S
                with suppress(OSError):  # then more is kept than need be
                    self._journal.reset(left)
            self._changed.notify_all()
        if back:
            answers_again(self._uri)

    def _failed(self, part: Entries, error: Exception) -> None:
        with self._changed:
            if self._left:
                return
            self._failures += 1
            now_away = False
            self._due = time.monotonic() + (RETRY_AT_THE_END_S if self._closing else RETRY_AFTER_S)
            if is_disk_full(error):
                self._error = disk_full_error(self._uri)
            elif is_away(error):
                now_away, self._away = not self._away, True
                self._doubtful = max(self._doubtful, len(part.points))
            else:
                self._error, self._due = error, 0.0
                self._entries.discard(part)  # it would be refused again
            if now_away:  # before whoever waits goes on
                tell_away(self._uri, first_line(error), self._journal.folder.parent)
            self._changed.notify_all()
