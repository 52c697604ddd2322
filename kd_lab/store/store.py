"""The store of all runs: a SQLite file or an MLflow server, used through MLflow's client alone.

Never MLflow's fluent functions (`mlflow.log_metric`): they write to whatever run is active in the process.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.outside.address import without_login
from kd_lab.store.archive import Archive
from kd_lab.store.client import StoreAwayError, asked, client, one_sentence, tell_away
from kd_lab.store.creation import one_refusal_to_open, opened, study_id
from kd_lab.store.delivery import deliver
from kd_lab.store.entries import Entries, Input
from kd_lab.store.journal import Header, Journal
from kd_lab.store.lease import Lease, alone, host, id_of_sweep
from kd_lab.store.location import Location
from kd_lab.store.params import flatten
from kd_lab.store.queries import KILLED, SWEEP, by_local_id, run_again
from kd_lab.store.run import MAX_TAG_LENGTH, Run
from kd_lab.store.stored_run import StoredRun
from kd_lab.store.view import TAG as VIEW
from kd_lab.store.view import with_columns


class Store(Archive):
    """The runs of one study, written, and all that are in the archive. It pickles."""

    def __init__(self, location: Location, study: str, experiment_id: str | None, facts: Mapping[str, str]) -> None:
        super().__init__(location)
        self.study = study
        self._experiment_id = experiment_id
        self._facts = facts

    @classmethod
    def open(cls, uri: str, study: str, *, although_away: bool = False) -> "Store":
        """Open the store, made first where it does not exist; safe for many processes at once.

        Args:
            uri: its address.
            study: whose runs are written.
            although_away: go on where a server is away; what is written is kept here, for `kd-lab sync` to bring it in.

        Raises:
            UserError: the address, the file or the server cannot be used, or the study was deleted.
            TrainingFailedError: the disk is full.
        """
        location = Location.parse(uri)
        if not study.strip():
            raise UserError("study=: expected the name of a study, but it is empty.")
        known = opened(location, lambda: study_id(location, study), although_away=although_away)
        return cls(location, study, known, {names.TAG_HOST: host(location)})

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the study.

        Raises:
            StoreAwayError: it is not known yet, and the store does not answer.
        """
        if self._experiment_id is None:
            self._experiment_id = study_id(self.location, self.study)
        return self._experiment_id

    @classmethod
    def existing(cls, uri: str, *, although_away: bool = False) -> "Store":
        """Open a store to read from it, whatever the study; never makes one.

        Args:
            uri: its address.
            although_away: where a server is away, read what waits here for `kd-lab sync`.

        Raises:
            UserError: there is no store at this address, or MLflow cannot use it.
        """
        location = Location.parse(uri)
        uri = without_login(uri)
        if location.database is not None and not location.database.is_file():
            raise UserError(
                f"tracking.uri={uri}: there is no file {location.database}; run kd-lab first, or name the right file."
            )

        if location.database is not None and location.database.stat().st_size == 0:
            raise UserError(f"tracking.uri={uri}: {location.database} is empty; run kd-lab first.")

        def there() -> None:
            asked(location.uri, lambda: client(location.uri).search_experiments(max_results=1))

        if location.may_be_written():
            opened(location, there, although_away=although_away)
        else:
            with one_refusal_to_open(location):
                there()
        return cls(location, "", None, {})

    def start_run(
        self,
        *,
        role: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        config_yaml: str,
        parent: str | None,
        inputs: Sequence[Input] = (),
    ) -> Run:
        """Start a run of this study; where the store is away it is kept, for `kd-lab sync` to make it.

        Args:
            role: teacher, baseline or student; becomes the tag `role`.
            name: what MLflow's UI shows.
            params: nested settings, written with dotted names.
            tags: further tags.
            config_yaml: the resolved config, stored as the artifact config.yaml.
            parent: the run id of a sweep.
            inputs: the datasets that it reads.

        Raises:
            TrainingFailedError: the disk is full.
        """
        local_id = uuid.uuid4().hex
        all_tags = {key: value[:MAX_TAG_LENGTH] for key, value in tags.items()} | {names.TAG_ROLE: role}
        if parent is not None:
            all_tags[names.TAG_PARENT] = parent
        # Before the run is there to be seen: another process that starts now must not take it for one that was killed.
        lease = Lease.take(self.location, local_id)
        header = self._created(self._header(local_id, name, all_tags, flatten(params)))
        run = Run.begin(header, self.location.rescue() / (header.run_id or local_id), lease, inputs)
        try:
            run.log_text(config_yaml, names.ARTIFACT_CONFIG)
        except BaseException as error:
            run.__exit__(type(error), error, None)
            raise
        return run

    def reopen(self, stored: StoredRun) -> Run:
        """A run that has ended, to be gone on with and ended anew.

        Raises:
            UserError: another process does so now.
            TrainingFailedError: the store does not answer, or the disk is full.
        """
        local_id = stored.tags.get(names.TAG_LOCAL_ID, stored.run_id)
        lease = Lease.take(self.location, local_id)
        if lease is None:
            raise UserError(f"run:{stored.run_id}: another process writes this run now; try again when it has ended.")
        with one_sentence(self.uri):
            tags = {names.TAG_HOST: host(self.location), names.TAG_LOCAL_ID: local_id}
            run_again(self.uri, client(self.uri).get_run(stored.run_id), tags)
        header = Header(self.uri, stored.run_id, local_id, stored.study)
        return Run.begin(header, self.location.rescue() / stored.run_id, lease)

    def sweep_parent(self, sweep_id: str, name: str) -> str:
        """The run id of a sweep's parent, made by the first job that asks; RUNNING again when a sweep is resumed.

        Where the store is away the parent is kept, for `kd-lab sync` to make it.

        Raises:
            TrainingFailedError: the disk is full.
        """
        local_id = id_of_sweep(self.study, sweep_id)

        journal = Journal(self.location.rescue() / local_id)

        def resumed() -> str | None:
            if journal.is_there():  # begun while the store was away
                deliver(journal, self.uri)
                journal.remove()
            found = by_local_id(self.uri, local_id)
            if found is not None and found.info.status != "RUNNING":
                run_again(self.uri, found, self._facts)
            return found.info.run_id if found else None

        with self.lock(f"sweep-{sweep_id}"):
            header = self._header(local_id, name, {names.TAG_ROLE: SWEEP, names.TAG_SWEEP: sweep_id}, {})
            with suppress(StoreAwayError):
                run_id = asked(self.uri, resumed) or self._created(header).run_id
                if run_id is not None:
                    return run_id
            if not journal.is_there():
                journal.begin(header)
            journal.go_on()
            return local_id

    def show_columns(self, params: Sequence[str]) -> None:
        """Have MLflow's page on the study show these parameters too; left undone where the store is away."""

        def show() -> None:
            mlflow = client(self.uri)
            before = mlflow.get_experiment(self.experiment_id).tags.get(VIEW, "")
            after = with_columns(before, params)
            if after != before:
                mlflow.set_experiment_tag(self.experiment_id, VIEW, after)

        with suppress(StoreAwayError):
            asked(self.uri, show)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Tag a run that has ended, or waits for `kd-lab sync`; left undone where the store is away."""
        journal = Journal(self.location.rescue() / run_id)
        if journal.is_there():
            journal.append(Entries(tags={key: value}))
            journal.close()
            return
        with suppress(StoreAwayError):
            asked(self.uri, lambda: client(self.uri).set_tag(run_id, key, value))

    def close_lost(self, run_id: str, status: str, reason: str | None) -> None:
        """End a run whose process is gone; one that has ended by itself stays as it is.

        Raises:
            TrainingFailedError: the disk is full.
        """
        journal = Journal(self.location.rescue() / run_id)
        if journal.is_there():
            still_open = journal.entries().end is None
        else:
            still_open = False
            with suppress(StoreAwayError):
                found = asked(self.uri, lambda: client(self.uri).get_run(run_id))
                # Another job may have found it before, and did not know why its process is gone.
                still_open = found.info.status == "RUNNING" or found.data.tags.get(names.TAG_REASON) == KILLED
        if still_open:
            Run(self.uri, run_id).finish(status, reason)

    @contextmanager
    def lock(self, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Be alone with `name` among all processes of this machine that use this store.

        Args:
            name: any string, such as a run's key.
            on_wait: called once if another process holds it.
        """
        with alone(self.location.lock_file(name), on_wait):
            yield

    def _header(self, local_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, str]) -> Header:
        all_tags = {**tags, **self._facts, names.TAG_LOCAL_ID: local_id}
        return Header(self.uri, None, local_id, self.study, name, time.time_ns() // 1_000_000, params, all_tags)

    def _created(self, header: Header) -> Header:
        """With the id that the store gave the run; as it was where the store is away."""

        def create() -> str:
            made = client(self.uri).create_run(
                self.experiment_id, start_time=header.started_ms, tags=dict(header.tags), run_name=header.name
            )
            return str(made.info.run_id)

        try:
            return replace(header, run_id=asked(self.uri, create))
        except StoreAwayError as error:
            tell_away(self.uri, error.cause, self.location.rescue())
            return header
