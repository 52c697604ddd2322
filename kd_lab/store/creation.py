"""A store and a study in it, made where they are not there yet, by one process at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from kd_lab.errors import UserError
from kd_lab.outside.database import prepare
from kd_lab.store.client import (
    StoreAwayError,
    answers_again,
    asked,
    client,
    disk_full_error,
    does_not_answer,
    first_line,
    is_disk_full,
)
from kd_lab.store.location import SQLITE, Location
from kd_lab.store.view import TAG as VIEW
from kd_lab.store.view import state

T = TypeVar("T")


def opened(location: Location, question: Callable[[], T], *, although_away: bool = False) -> T | None:
    """What a store that is opened now answers first; None where a server is away and that does not matter.

    Raises:
        UserError: the address, the file or the server cannot be used.
        TrainingFailedError: the disk is full.
    """
    if although_away and (cause := location.silence()) is not None:
        location.check_folders()
        does_not_answer(location.uri, cause)
    else:
        location.check()
        answers_again(location.uri)
    with _alone(location):
        try:
            return question()
        except StoreAwayError:
            if not although_away:
                raise
            return None


@contextmanager
def _alone(location: Location) -> Iterator[None]:
    """Be the only process that makes, or first looks at, this store."""
    lock = location.creation_lock()
    with one_refusal_to_open(location):
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Without the lock all but one process of a cold start fail and the file is lost (MLflow 3.17).
        with FileLock(lock):
            if location.database is not None:
                prepare(location.database, f"tracking.uri={location.uri}", _fill)
            yield


@contextmanager
def one_refusal_to_open(location: Location) -> Iterator[None]:
    """What MLflow cannot use is the user's error.

    Raises:
        UserError: the file or the server cannot be used.
        TrainingFailedError: the disk is full.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, StoreAwayError) as error:
        if is_disk_full(error):
            raise disk_full_error(location.uri) from error
        cause = error.cause if isinstance(error, StoreAwayError) else first_line(error)
        raise UserError(
            f"tracking.uri={location.uri}: MLflow cannot use this store ({cause}); choose another file or server."
        ) from error


def _fill(file: Path) -> None:
    """Have MLflow make its tables."""
    client(f"{SQLITE}{file}").search_experiments(max_results=1)


def study_id(location: Location, study: str) -> str:
    """The id of a study, MLflow's experiment, made where it is not there yet.

    Raises:
        UserError: the study was deleted.
        StoreAwayError: the store does not answer.
    """
    uri = location.uri
    found = asked(uri, lambda: client(uri).get_experiment_by_name(study))
    if found is None:
        # The tag opens MLflow's pages for training runs; without it they open on those for language-model traces.
        tags = {"mlflow.experimentKind": "custom_model_development", VIEW: state()}
        artifacts = location.artifacts(study)
        return str(asked(uri, lambda: client(uri).create_experiment(study, artifact_location=artifacts, tags=tags)))
    if found.lifecycle_stage == "deleted":
        raise UserError(f"study={study}: this study was deleted in {uri}; restore it in MLflow's UI or choose another.")
    if VIEW not in found.tags:  # a study that somebody made in MLflow's UI
        asked(uri, lambda: client(uri).set_experiment_tag(found.experiment_id, VIEW, state()))
    return str(found.experiment_id)
