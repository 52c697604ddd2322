"""The runs of a store that have ended, of any study, and with them those that wait here for `kd-lab sync`."""

import re
from contextlib import suppress

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.outside.ids import is_run_id
from kd_lab.outside.text import line
from kd_lab.store.client import StoreAwayError, asked, client, http_status, one_sentence
from kd_lab.store.journal import finished_runs
from kd_lab.store.location import Location
from kd_lab.store.queries import by_local_id, search, studies, tag_is
from kd_lab.store.stored_run import StoredRun

HEXADECIMAL = re.compile("[0-9a-f]{1,32}")
MOST_NAMED = 6
"""So many of the runs that begin alike are named."""
FINISHED = "attributes.status = 'FINISHED'"


class Archive:
    """Reads one store."""

    def __init__(self, location: Location) -> None:
        self.uri = location.uri
        self.location = location

    def find(self, key: str) -> StoredRun | None:
        """The newest FINISHED run of any study whose tag kd_lab.key is `key`.

        Where there is none: the newest that ended otherwise after its network was saved, measured or not.
        """
        rule = f"{tag_is(names.TAG_KEY, key)} and attributes.status != 'RUNNING'"

        def newest() -> StoredRun | None:
            study_names = studies(self.uri)
            runs = search(self.uri, rule, list(study_names))
            saved = [run for run in runs if run.info.status == "FINISHED" or names.TAG_UNMEASURED in run.data.tags]
            saved.sort(key=lambda run: run.info.status == "FINISHED")
            for run in saved[-1:]:
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

    def whole_id(self, said: str) -> str:
        """The id of the only run whose id begins so, or the one that it had before `kd-lab sync` brought it in.

        Raises:
            UserError: no run is called so, or several are.
            TrainingFailedError: the store does not answer.
        """
        if is_run_id(said):
            return said
        found = self._called(said) if HEXADECIMAL.fullmatch(said) else {}
        if not found:
            raise self._has_none(said)
        if len(found) > 1:
            digits = next(n for n in range(8, 33) if len({run_id[:n] for run_id in found}) == len(found))
            listed = [line(f"{run_id[:digits]} ({name})") for run_id, name in found.items()]
            shown = [*listed[:MOST_NAMED], f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else listed
            raise UserError(f"run:{said}: {len(found)} runs begin so, expected more of the id: {', '.join(shown)}")
        return next(iter(found))

    def _called(self, beginning: str) -> dict[str, str]:
        """The runs whose id begins so, or else whose id on the machine that made them does; the name of each."""
        local = finished_runs(self.location.rescue(), self.uri, {})
        waiting = {j.folder.name: j.header().name for j in local if j.folder.name.startswith(beginning)}

        def there() -> dict[str, str]:
            for key in ("attributes.run_id", f"tags.`{names.TAG_LOCAL_ID}`"):
                if found := search(self.uri, f"{key} LIKE '{beginning}%'"):
                    return {run.info.run_id: run.info.run_name or "" for run in found}
            return {}

        try:
            return waiting | asked(self.uri, there)
        except StoreAwayError:
            if not waiting:
                raise
            return waiting

    def _has_none(self, said: str) -> UserError:
        return UserError(
            f"run:{said}: there is no such run in {self.uri}; expected the id of one or how it begins, as the console "
            "and MLflow's pages show it."
        )

    def get(self, run_id: str) -> StoredRun:
        """A run of any study, by its id or how it begins, or by the id that it had before `kd-lab sync` brought it in.

        Raises:
            UserError: there is no such run, several begin so, or it was deleted.
            TrainingFailedError: the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        run_id = self.whole_id(run_id)
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
                    raise self._has_none(run_id) from error
                run = found
            if run.info.lifecycle_stage == "deleted":
                raise UserError(f"run:{run_id}: this run was deleted in {self.uri}; restore it or choose another.")
            return StoredRun.of(self.uri, run, client(self.uri).get_experiment(run.info.experiment_id).name)
