"""MLflow's client, quiet, one per process; and what its errors mean."""

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kd_lab.errors import TrainingFailedError, masked
from kd_lab.outside.address import is_server, with_login, without_login
from kd_lab.outside.text import visible
from kd_lab.store.location import Location

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

    from kd_lab.store.guard import GuardedClient

T = TypeVar("T")

WAIT_S = 15.0
"""How long a job waits for a server, where it cannot go on without an answer."""
NOT_AGAIN_FOR_S = 30.0
"""How long a server that did not answer is not asked again by the thread that trains."""

LOCKED = "database is locked"
LOCKED_RETRY_S = 0.2
LOCKED_S = 60.0
"""How long a SQLite file that another program holds is waited for: at the start of a run, and at its end."""

# MLflow's own: 120 s and 7 retries, so a dead server holds a run for minutes. What the user has set is kept.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


_silent: dict[str, tuple[float, str]] = {}
"""Until when a server is not asked again, and why."""
_warned: set[str] = set()
_held: set[str] = set()
"""The files of which it was told that another program holds them."""
_logger = logging.getLogger(__name__)


class StoreAwayError(TrainingFailedError):
    """The store does not answer now; `cause` says why."""

    def __init__(self, uri: str, cause: str) -> None:
        super().__init__(f"tracking.uri={uri}: the store does not answer ({cause}).")
        self.cause = cause


def client(uri: str) -> "GuardedClient":
    """The client of this process for a store, which has to be there already."""
    return _client(without_login(uri), with_login(uri))


@lru_cache(maxsize=8)
def _client(uri: str, _asked: str) -> "GuardedClient":
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from kd_lab.store.guard import GuardedClient

    # The database layer prints a traceback of its own for what we catch and say in one sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.artifact.artifact_repo").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a warning for each retry
    database = Location.parse(uri).database
    return GuardedClient(uri, database.parent if database else None)


def first_line(error: BaseException) -> str:
    """The message's first line; of what a failed request says, the end; the kind of error where it has no message."""
    lines = visible(masked(str(error))).strip().splitlines()
    if not lines:
        return type(error).__name__
    cause = re.search(r"(\[Errno -?\d+\] [\w ]+|too many \d+ error responses|Read timed out|timed out)", lines[0])
    return cause[1] if cause and lines[0].startswith("API request to") else lines[0]


def http_status(error: "MlflowException") -> int:
    """The HTTP status that says what kind of error it is, with a SQLite store as with a server."""
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def is_disk_full(error: BaseException) -> bool:
    """Whether no space is the cause, or a limit on the size of files (`ulimit -f`), as SQLite or the system says it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if "disk is full" in str(seen) or "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_away(error: BaseException) -> bool:
    """Whether the store cannot be used now, but what was asked of it was right.

    A server that is down or overloaded, a proxy without a server behind it (404), a login that has run out, a database
    that stays locked. A server whose connection pool is exhausted answers 400 (MLflow 3.17), hence the second line.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return http_status(error) >= 500 or http_status(error) in (401, 403, 404, 408, 429) or "QueuePool" in str(error)
    return isinstance(error, StoreAwayError | OSError)  # requests' errors are OSErrors


def disk_full_error(uri: str) -> TrainingFailedError:
    """What the user is told when there is no space left."""
    return TrainingFailedError(f"tracking.uri={uri}: the disk is full; free some space and start again.")


@contextmanager
def one_sentence(uri: str) -> Iterator[None]:
    """Turn what a store that fails raises into one sentence.

    Raises:
        StoreAwayError: the store does not answer any more.
        TrainingFailedError: the disk is full.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        if is_disk_full(error):
            raise disk_full_error(uri) from error
        if is_away(error):
            raise StoreAwayError(uri, first_line(error)) from error
        raise


def asked(uri: str, question: Callable[[], T]) -> T:
    """The answer of a store that may be away, without waiting long for it, nor soon again once it was away.

    Raises:
        StoreAwayError: the store does not answer.
        TrainingFailedError: the disk is full.
    """
    if not is_server(uri):  # a file answers, fails or is held, it does not hang
        with one_sentence(uri):
            return _unlocked(uri, question)
    until, cause = _silent.get(uri, (0.0, ""))
    if time.monotonic() < until:
        raise StoreAwayError(uri, cause)
    try:
        with one_sentence(uri):
            return _in_time(question)
    except StoreAwayError as error:
        does_not_answer(uri, error.cause)
        raise


def does_not_answer(uri: str, cause: str) -> None:
    """The store was asked, and did not answer: it is not asked again for a while."""
    _silent[uri] = time.monotonic() + NOT_AGAIN_FOR_S, cause


def answers_again(uri: str) -> None:
    """The store was asked by other means, and answered."""
    _silent.pop(uri, None)
    if uri in _warned:
        _warned.discard(uri)
        _logger.warning("tracking.uri=%s: the store answers again.", uri)


def tell_away(uri: str, cause: str, folder: Path) -> None:
    """Warn that runs are kept: once, until the store answers again."""
    if uri not in _warned:
        _warned.add(uri)
        _logger.warning(
            "tracking.uri=%s: the store does not answer (%s); the run goes on, what the store lacks is kept in %s, "
            "and `kd-lab sync` brings it in.",
            *(uri, cause, folder),
        )


def away(uri: str) -> str | None:
    """Why a server cannot be used now, asked as a job will ask it; None where it can, and for a file.

    Raises:
        UserError: this is no address of a store.
    """
    location = Location.parse(uri)
    if location.database is not None:
        return None
    if (cause := location.silence()) is not None:
        return cause
    answers_again(uri)
    try:
        asked(uri, lambda: client(uri).search_experiments(max_results=1))
    except StoreAwayError as error:
        return error.cause
    return None


def _unlocked(uri: str, question: Callable[[], T]) -> T:
    """The answer of a SQLite file, waited for while another program holds it, which is told once."""
    deadline = time.monotonic() + LOCKED_S
    while True:
        try:
            return question()
        except Exception as error:  # MLflow's own, or the database layer's where the file is opened
            if LOCKED not in str(error) or time.monotonic() >= deadline:
                raise
            if uri not in _held:
                _held.add(uri)
                _logger.warning(
                    "tracking.uri=%s: another program holds this file (%s), waiting up to %g s.", uri, LOCKED, LOCKED_S
                )
            time.sleep(LOCKED_RETRY_S)


def _in_time(question: Callable[[], T]) -> T:
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # left to itself when it takes too long
    try:
        return answer.result(WAIT_S)
    except TimeoutError as error:
        raise TimeoutError(f"no answer in {WAIT_S:g} s") from error
