"""The store of all runs: a SQLite file or an MLflow server, used through MLflow's client alone.

Never MLflow's fluent functions (`mlflow.log_metric`): they write to whatever run is active in the process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kd_lab.errors import UserError
from kd_lab.names import ARTIFACT_CONFIG, TAG_KEY, TAG_PARENT, TAG_REASON, TAG_ROLE, TAG_SWEEP
from kd_lab.tracking.client import client, disk_full_error, first_line, http_status, is_disk_full, one_sentence
from kd_lab.tracking.location import Location
from kd_lab.tracking.params import flatten
from kd_lab.tracking.run import MAX_TAG_LENGTH, Run
from kd_lab.tracking.stored import StoredRun
from kd_lab.tracking.view import TAG as VIEW
from kd_lab.tracking.view import state

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

MAX_PARAMS = 100  # MLflow's limit of one log_batch
SWEEP = "sweep"


class Store:
    """The runs of one study, and those of all others by key. `Store.open` makes what is not there yet. It pickles."""

    def __init__(self, location: Location, study: str, experiment_id: str) -> None:
        self.uri = location.uri
        self.study = study
        self.experiment_id = experiment_id
        self._location = location

    @classmethod
    def open(cls, uri: str, study: str) -> "Store":
        """Open the store, made first where it does not exist; safe for many processes at once.

        Raises:
            UserError: the address, the file or the server cannot be used, or the study was deleted.
            TrainingFailedError: the disk is full.
        """
        location = Location.parse(uri)
        if not study.strip():
            raise UserError("study=: expected the name of a study, but it is empty.")
        location.check()
        with _being_opened(location):
            return cls(location, study, _experiment(location, study))

    @classmethod
    def existing(cls, uri: str) -> "Store":
        """Open a store to read from it, whatever the study; never makes one.

        Raises:
            UserError: there is no store at this address, or MLflow cannot use it.
        """
        location = Location.parse(uri)
        if location.database is not None and not location.database.is_file():
            raise UserError(
                f"tracking.uri={uri}: there is no file {location.database}; run kd-lab first, or name the right file."
            )
        location.check()
        with _being_opened(location):
            # An empty file is one that MLflow would fill.
            if location.database is not None and location.database.stat().st_size == 0:
                raise UserError(f"tracking.uri={uri}: {location.database} is empty; run kd-lab first.")
            client(location.uri).search_experiments(max_results=1)
        return cls(location, "", "")

    def start_run(
        self,
        *,
        role: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        config_yaml: str,
        parent: str | None,
    ) -> Run:
        """Start a run of this study.

        Args:
            role: teacher, baseline or student; becomes the tag `role`.
            name: what MLflow's UI shows.
            params: nested settings, written with dotted names.
            tags: further tags.
            config_yaml: the resolved config, stored as the artifact config.yaml.
            parent: the run id of a sweep.

        Raises:
            TrainingFailedError: the store does not answer, or the disk is full.
        """
        all_tags = {key: value[:MAX_TAG_LENGTH] for key, value in tags.items()} | {TAG_ROLE: role}
        if parent is not None:
            all_tags[TAG_PARENT] = parent
        with one_sentence(self.uri):
            mlflow = client(self.uri)
            run = Run(self.uri, mlflow.create_run(self.experiment_id, tags=all_tags, run_name=name).info.run_id)
            try:
                _log_params(self.uri, run.run_id, params)
                run.log_text(config_yaml, ARTIFACT_CONFIG)
            except BaseException as error:
                with suppress(Exception):
                    mlflow.set_terminated(run.run_id, "FAILED")
                    mlflow.set_tag(run.run_id, TAG_REASON, first_line(error)[:MAX_TAG_LENGTH])
                raise
        return run

    def find(self, key: str) -> StoredRun | None:
        """The newest FINISHED run of any study whose tag kd_lab.key is `key`.

        Raises:
            TrainingFailedError: the store does not answer.
        """
        with one_sentence(self.uri):
            mlflow = client(self.uri)
            studies = _studies(self.uri)
            rule = f"{_tag_is(TAG_KEY, key)} and attributes.status = 'FINISHED'"
            found = mlflow.search_runs(
                list(studies), filter_string=rule, max_results=1, order_by=["attributes.start_time DESC"]
            )
        return StoredRun.of(self.uri, found[0], studies[found[0].info.experiment_id]) if found else None

    def finished(self, study: str, role: str) -> list[StoredRun]:
        """The FINISHED runs of one role in a study, the newest first; none where there is no such study.

        Raises:
            TrainingFailedError: the store does not answer.
        """
        found: list[StoredRun] = []
        with one_sentence(self.uri):
            mlflow, token = client(self.uri), None
            experiment = mlflow.get_experiment_by_name(study)
            if experiment is None:
                return found
            rule = f"{_tag_is(TAG_ROLE, role)} and attributes.status = 'FINISHED'"
            while True:
                page = mlflow.search_runs(
                    [experiment.experiment_id], rule, order_by=["attributes.start_time DESC"], page_token=token
                )
                found += [StoredRun.of(self.uri, run, study) for run in page]
                token = page.token
                if not token:
                    return found

    def get(self, run_id: str) -> StoredRun:
        """A run of any study.

        Raises:
            UserError: there is no such run, or it was deleted.
            TrainingFailedError: the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        with one_sentence(self.uri):
            try:
                run = client(self.uri).get_run(run_id)
            except MlflowException as error:
                if http_status(error) not in (400, 404):
                    raise
                raise UserError(
                    f"run:{run_id}: there is no such run in {self.uri}; expected a full run id of 32 characters."
                ) from error
            if run.info.lifecycle_stage == "deleted":
                raise UserError(f"run:{run_id}: this run was deleted in {self.uri}; restore it or choose another.")
            return StoredRun.of(self.uri, run, client(self.uri).get_experiment(run.info.experiment_id).name)

    def sweep_parent(self, sweep_id: str, name: str) -> str:
        """The run id of a sweep's parent, made by the first job that asks; RUNNING again when a sweep is resumed.

        Raises:
            TrainingFailedError: the store does not answer, or the disk is full.
        """
        with self.lock(f"sweep-{sweep_id}"), one_sentence(self.uri):
            found = self._sweep(sweep_id)
            if found is None:
                tags = {TAG_ROLE: SWEEP, TAG_SWEEP: sweep_id}
                return str(client(self.uri).create_run(self.experiment_id, tags=tags, run_name=name).info.run_id)
            if found.info.status != "RUNNING":
                client(self.uri).update_run(found.info.run_id, status="RUNNING")
            return str(found.info.run_id)

    def finish_parent(self, sweep_id: str, status: str) -> None:
        """End a sweep's parent run as FINISHED, FAILED or KILLED.

        Raises:
            UserError: there is no such sweep.
            TrainingFailedError: the store does not answer, or the disk is full.
        """
        with one_sentence(self.uri):
            found = self._sweep(sweep_id)
            if found is None:
                raise UserError(f"{TAG_SWEEP}={sweep_id}: the study {self.study} has no such sweep.")
            client(self.uri).set_terminated(found.info.run_id, status)

    def close_lost(self, run_id: str, status: str, reason: str | None) -> None:
        """End a run whose process is gone; one that has ended already stays as it is.

        Raises:
            TrainingFailedError: the store does not answer, or the disk is full.
        """
        with one_sentence(self.uri):
            if client(self.uri).get_run(run_id).info.status == "RUNNING":
                Run(self.uri, run_id).finish(status, reason)

    @contextmanager
    def lock(self, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Be alone with `name` among all processes of this machine that use this store.

        Args:
            name: any string, such as a run's key.
            on_wait: called once if another process holds it.
        """
        path = self._location.lock_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            held.acquire()
        try:
            yield
        finally:
            held.release()

    def _sweep(self, sweep_id: str) -> "MlflowRun | None":
        rule = f"{_tag_is(TAG_SWEEP, sweep_id)} and {_tag_is(TAG_ROLE, SWEEP)}"
        found = client(self.uri).search_runs([self.experiment_id], filter_string=rule, max_results=1)
        return found[0] if found else None


@contextmanager
def _being_opened(location: Location) -> Iterator[None]:
    """Be the only process that makes, or first looks at, this store; what MLflow cannot use is the user's error."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    lock = location.creation_lock()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Without the lock all but one process of a cold start fail and the file is lost (MLflow 3.17).
        with FileLock(lock):
            yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if is_disk_full(error):
            raise disk_full_error(location.uri) from error
        raise UserError(
            f"tracking.uri={location.uri}: MLflow cannot use this store ({first_line(error)}); "
            "choose another file or server."
        ) from error


def _experiment(location: Location, study: str) -> str:
    mlflow = client(location.uri)
    found = mlflow.get_experiment_by_name(study)
    if found is None:
        # The tag opens MLflow's pages for training runs; without it they open on those for language-model traces.
        tags = {"mlflow.experimentKind": "custom_model_development", VIEW: state()}
        return str(mlflow.create_experiment(study, artifact_location=location.artifacts(study), tags=tags))
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"study={study}: this study was deleted in {location.uri}; restore it in MLflow's UI or choose another."
        )
    if VIEW not in found.tags:  # a study that somebody made in MLflow's UI
        mlflow.set_experiment_tag(found.experiment_id, VIEW, state())
    return str(found.experiment_id)


def _log_params(uri: str, run_id: str, params: Mapping[str, object]) -> None:
    from mlflow.entities import Param

    flat = [Param(key, value) for key, value in flatten(params).items()]
    for start in range(0, len(flat), MAX_PARAMS):
        client(uri).log_batch(run_id, params=flat[start : start + MAX_PARAMS])


def _studies(uri: str) -> dict[str, str]:
    """The name of each study (MLflow: experiment) by its id."""
    mlflow, names, token = client(uri), dict[str, str](), None
    while True:
        page = mlflow.search_experiments(page_token=token)
        names.update({study.experiment_id: study.name for study in page})
        token = page.token
        if not token:
            return names


def _tag_is(tag: str, value: str) -> str:
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value}{quote}"
