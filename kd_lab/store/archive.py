"""The runs of a store that have ended, of any study, and with them those that wait here for `kd-lab sync`."""

from contextlib import suppress

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.store.client import StoreAwayError, asked, client, http_status, one_sentence
from kd_lab.store.journal import finished_runs
from kd_lab.store.location import Location
from kd_lab.store.queries import UNMEASURED, by_local_id, search, studies, tag_is
from kd_lab.store.stored_run import StoredRun

FINISHED = "attributes.status = 'FINISHED'"


class Archive:
    """Reads one store."""

    def __init__(self, location: Location) -> None:
        self.uri = location.uri
        self.location = location

    def find(self, key: str) -> StoredRun | None:
        """The newest FINISHED run of any study whose tag kd_lab.key is `key`.

        Where there is none: the newest that ended after its network was saved and before it was measured.
        """
        saved = f"attributes.status != 'RUNNING' and {tag_is(names.TAG_UNMEASURED, UNMEASURED)}"

        def newest() -> StoredRun | None:
            study_names = studies(self.uri)
            for rule in (FINISHED, saved):
                whole = f"{tag_is(names.TAG_KEY, key)} and {rule}"
                for run in search(self.uri, whole, list(study_names))[-1:]:
                    return StoredRun.of(self.uri, run, study_names[run.info.experiment_id])
            return None

        with suppress(StoreAwayError):
            if (found := asked(self.uri, newest)) is not None:
                return found
        waiting = finished_runs(self.location.rescue(), self.uri, {names.TAG_KEY: key})
        return next(map(StoredRun.of_journal, waiting), None)

    def finished(self, study: str, role: str) -> list[StoredRun]:
        """The FINISHED runs of one role in a study, the newest first; those that wait come before the others."""

        def there() -> list[StoredRun]:
            known = client(self.uri).get_experiment_by_name(study)
            rule = f"{tag_is(names.TAG_ROLE, role)} and {FINISHED}"
            found = search(self.uri, rule, [known.experiment_id]) if known is not None else []
            return [StoredRun.of(self.uri, run, study) for run in reversed(found)]

        waiting = map(StoredRun.of_journal, finished_runs(self.location.rescue(), self.uri, {names.TAG_ROLE: role}))
        here = [run for run in waiting if run.study == study]
        with suppress(StoreAwayError):
            return here + asked(self.uri, there)
        return here

    def get(self, run_id: str) -> StoredRun:
        """A run of any study, by its id or by the one that it had before `kd-lab sync` brought it in.

        Raises:
            UserError: there is no such run, or it was deleted.
            TrainingFailedError: the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        for journal in finished_runs(self.location.rescue(), self.uri, {}):
            if journal.folder.name == run_id:
                return StoredRun.of_journal(journal)
        with one_sentence(self.uri):
            try:
                run = client(self.uri).get_run(run_id)
            except MlflowException as error:
                if http_status(error) not in (400, 404):
                    raise
                found = by_local_id(self.uri, run_id)
                if found is None:
                    raise UserError(
                        f"run:{run_id}: there is no such run in {self.uri}; expected a full run id of 32 characters."
                    ) from error
                run = found
            if run.info.lifecycle_stage == "deleted":
                raise UserError(f"run:{run_id}: this run was deleted in {self.uri}; restore it or choose another.")
            return StoredRun.of(self.uri, run, client(self.uri).get_experiment(run.info.experiment_id).name)
