"""A store that is read only: what is not there is never made, and what fails is said in one sentence."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from kd_lab.errors import UserError
from kd_lab.outside.address import without_login
from kd_lab.outside.database import has_runs
from kd_lab.store.client import client, first_line
from kd_lab.store.location import Location
from kd_lab.store.records import ServerReader, SqliteReader

if TYPE_CHECKING:
    from kd_lab.store.guard import GuardedClient

Reader = SqliteReader | ServerReader


@contextmanager
def reading(uri: str) -> Iterator[Reader]:
    """A reader of many runs at once, for a store that is there.

    Raises:
        UserError: there is no store at this address, or it cannot be read.
    """
    location = existing(uri)
    if location.database is None:
        with _answering(location.uri):
            yield ServerReader(location.uri)
        return
    try:
        yield SqliteReader(location.database)
    except sqlite3.Error as error:
        raise _unreadable(location.uri, error) from error


@contextmanager
def connected(uri: str) -> Iterator["GuardedClient"]:
    """MLflow's client for a store that is there.

    Raises:
        UserError: there is no store at this address, or it cannot be read.
    """
    with _answering(existing(uri).uri) as mlflow:
        yield mlflow


def existing(uri: str) -> Location:
    """Where the store is.

    Raises:
        UserError: there is none at this address.
    """
    location, given = Location.parse(uri), without_login(uri)
    if (cause := location.silence()) is not None:
        raise UserError(f"tracking.uri={given}: no MLflow server answers there ({cause}).")
    database = location.database
    if database is not None and not database.is_file():
        raise UserError(f"tracking.uri={given}: there is no file {database}; run kd-lab first, or name the right file.")
    if database is not None and not _has_runs(location):
        raise UserError(f"tracking.uri={given}: {database} is not an MLflow store; name the right file.")
    return location


def _has_runs(location: Location) -> bool:
    """Whether MLflow's tables are there; asked of SQLite itself, because MLflow would make them."""
    assert location.database is not None
    try:
        with FileLock(location.creation_lock()):
            return has_runs(location.database)
    except OSError:  # a store in a folder that may only be read is not being made
        return has_runs(location.database)


@contextmanager
def _answering(uri: str) -> Iterator["GuardedClient"]:
    with warnings.catch_warnings():
        # tqdm's, in a notebook without ipywidgets; nothing here shows a progress bar.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from mlflow.exceptions import MlflowException

        mlflow = client(uri)
    try:
        yield mlflow
    except MlflowException as error:
        raise _unreadable(uri, error) from error


def _unreadable(uri: str, error: Exception) -> UserError:
    return UserError(f"tracking.uri={uri}: this store cannot be read ({first_line(error)}).")
