"""Finished and unfinished runs as MLflow has them; reads only, and never makes a store that is not there."""

import logging
import os
import sqlite3
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from kd_lab.analysis.records import ServerReader, SqliteReader
from kd_lab.errors import UserError, masked
from kd_lab.outside.address import request, with_login, without_login
from kd_lab.outside.database import has_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
SERVER_TIMEOUT_S = 3.0

Reader = SqliteReader | ServerReader


@contextmanager
def reading(uri: str) -> Iterator[Reader]:
    """A reader of many runs at once, for a store that is there.

    Raises:
        UserError: there is no store at this address, or it cannot be read.
    """
    uri = without_login(uri)
    if uri.startswith(("http://", "https://")):
        with connected(uri):
            yield ServerReader(with_login(uri))
        return
    try:
        yield SqliteReader(Path(_existing(uri).removeprefix(SQLITE).partition("?")[0]))
    except sqlite3.Error as error:
        raise UserError(f"tracking.uri={uri}: this store cannot be read ({error}).") from error


@contextmanager
def connected(uri: str) -> Iterator["MlflowClient"]:
    """A client for a store that is there.

    Raises:
        UserError: there is no store at this address, or it cannot be read.
    """
    uri = _existing(without_login(uri))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        # tqdm's, in a notebook without ipywidgets; nothing here shows a progress bar.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        yield MlflowClient(tracking_uri=with_login(uri))
    except MlflowException as error:
        first = masked(str(error)).strip().split("\n", 1)[0]
        raise UserError(f"tracking.uri={uri}: this store cannot be read ({first}).") from error


def _existing(uri: str) -> str:
    if uri.startswith(("http://", "https://")):
        _ask(uri)
        return uri
    if not uri.startswith(SQLITE):
        raise UserError(f"tracking.uri={uri}: expected sqlite:///FILE or the http(s) address of an MLflow server.")
    file, question, options = uri.removeprefix(SQLITE).partition("?")
    database = Path(file).absolute()
    if not database.is_file():
        raise UserError(f"tracking.uri={uri}: there is no file {database}; run kd-lab first, or name the right file.")
    if not _has_runs(database):
        raise UserError(f"tracking.uri={uri}: {database} is not an MLflow store; name the right file.")
    return f"{SQLITE}{database}{question}{options}"


def _has_runs(database: Path) -> bool:
    """Whether MLflow's tables are there; asked of SQLite itself, because MLflow would make them."""
    try:
        # The lock that kd_lab.store holds while it makes a store.
        with FileLock(f"{database}.lock"):
            return has_runs(database)
    except PermissionError:  # a store in a folder that may only be read is not being made
        return has_runs(database)


def _ask(uri: str) -> None:
    try:
        with urllib.request.urlopen(request(f"{uri.rstrip('/')}/health"), timeout=SERVER_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise UserError(f"tracking.uri={uri}: no MLflow server answers there ({cause}).") from error
