"""The first look at a store, which makes what is not there yet."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock

from kd_lab.errors import UserError
from kd_lab.outside.database import prepare
from kd_lab.store.client import (
    StoreAwayError,
    answers_again,
    asked,
    client,
    disk_full_error,
    first_line,
    is_disk_full,
)
from kd_lab.store.location import Location
from kd_lab.store.view import TAG as VIEW
from kd_lab.store.view import state


@contextmanager
def being_opened(location: Location) -> Iterator[None]:
    """Be the only process that makes, or first looks at, this store; what MLflow cannot use is the user's error."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    lock = location.creation_lock()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Without the lock all but one process of a cold start fail and the file is lost (MLflow 3.17).
        with FileLock(lock):
            if location.database is not None:
                prepare(location.database, f"tracking.uri={location.uri}")
            yield
    except (MlflowException, SQLAlchemyError, OSError, StoreAwayError) as error:
        if is_disk_full(error):
            raise disk_full_error(location.uri) from error
        cause = error.cause if isinstance(error, StoreAwayError) else first_line(error)
        raise UserError(
            f"tracking.uri={location.uri}: MLflow cannot use this store ({cause}); choose another file or server."
        ) from error


def experiment(location: Location, study: str) -> str:
    """The id of a study's MLflow experiment, made where it is not there yet.

    Raises:
        UserError: the study was deleted.
        StoreAwayError: the store does not answer.
    """
    mlflow = client(location.uri)
    found = asked(location.uri, lambda: mlflow.get_experiment_by_name(study))
    if found is None:
        # The tag opens MLflow's pages for training runs; without it they open on those for language-model traces.
        tags = {"mlflow.experimentKind": "custom_model_development", VIEW: state()}
        artifacts = location.artifacts(study)
        return str(asked(location.uri, lambda: mlflow.create_experiment(study, artifact_location=artifacts, tags=tags)))
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"study={study}: this study was deleted in {location.uri}; restore it in MLflow's UI or choose another."
        )
    if VIEW not in found.tags:  # a study that somebody made in MLflow's UI
        asked(location.uri, lambda: mlflow.set_experiment_tag(found.experiment_id, VIEW, state()))
    return str(found.experiment_id)


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
