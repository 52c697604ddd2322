"""MLflow's client, quiet, one per process; and what its errors mean."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from kd_lab.errors import TrainingFailedError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

# MLflow's own: 120 s and 7 retries, so a dead server holds a run for minutes. What the user has set is kept.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@lru_cache(maxsize=8)
def client(uri: str) -> "MlflowClient":
    """The client of this process for a store, which has to be there already."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # The database layer prints a traceback of its own for what we catch and say in one sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def first_line(error: BaseException) -> str:
    """The message's first line; the kind of error where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def http_status(error: "MlflowException") -> int:
    """The HTTP status that says what kind of error it is, with a SQLite store as with a server."""
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def is_disk_full(error: BaseException) -> bool:
    """Whether a file system without space is the cause, as SQLite or the system says it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "disk is full" in str(seen) or "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_away(error: BaseException) -> bool:
    """Whether the store cannot be used now, but what was asked of it was right.

    A server that is down or overloaded, a database that stays locked. A server whose connection pool is exhausted
    answers 400 (MLflow 3.17), hence the second line.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return http_status(error) >= 500 or http_status(error) == 429 or "QueuePool limit" in str(error)
    return isinstance(error, OSError)  # requests' errors are OSErrors


def disk_full_error(uri: str) -> TrainingFailedError:
    """What the user is told when there is no space left."""
    return TrainingFailedError(f"tracking.uri={uri}: the disk is full; free some space and start again.")


@contextmanager
def one_sentence(uri: str) -> Iterator[None]:
    """Turn what a store that fails raises into one sentence.

    Raises:
        TrainingFailedError: the disk is full, or the store does not answer any more.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        if is_disk_full(error):
            raise disk_full_error(uri) from error
        if is_away(error):
            raise TrainingFailedError(
                f"tracking.uri={uri}: the store does not answer ({first_line(error)})."
            ) from error
        raise
