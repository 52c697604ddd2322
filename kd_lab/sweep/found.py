"""Finds the jobs of a sweep that were done before, by everything that their result follows from."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.devices import Devices, processes
from kd_lab.job.fitting import dataset_of, loaded
from kd_lab.job.plan import Plan
from kd_lab.job.settings import Settings
from kd_lab.store.orphans import settle
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun
from kd_lab.types import Data


@dataclass(frozen=True)
class FoundJob:
    """A job that was done before: its student's run, its result in words, its accuracy.

    score: on the validation part where there is one (on_validation).
    """

    run_id: str
    result: str
    score: float
    on_validation: bool


def found_jobs(configs: Sequence[Mapping[str, Any]]) -> list[FoundJob | None]:
    """For each composed config the newest FINISHED student of the same study and key, if there is one.

    A config that cannot work is not found; the job itself says why.
    """
    known = _Known()
    return [known.job(config) for config in configs]


def settled(configs: Sequence[Mapping[str, Any]], sweep: str) -> list[str]:
    """Bring into the stores of these configs what waits for them, and end what was killed; what that was, in sentences.

    A run that ended at a bad moment is not found again before.
    """
    said = []
    for uri in dict.fromkeys(str(config["tracking"]["uri"]) for config in configs):
        with suppress(UserError, TrainingFailedError, OSError):  # the first job says so
            said += settle(Store.existing(uri, although_away=True), sweep)
    return said


class _Known:
    """Studies and datasets, each looked at once however many jobs there are."""

    def __init__(self) -> None:
        self.students = cache(_students)
        self._data: dict[str, Data] = {}

    def job(self, config: Mapping[str, Any]) -> FoundJob | None:
        try:
            settings = Settings.of(config)
            done = self.students(settings.tracking.uri, settings.study)
            # Where nothing was done before, no data is loaded.
            run = done.get(self._plan(settings).specs.job_key()) if done else None
        except (UserError, TrainingFailedError, OSError):
            return None
        if run is None or names.TEST_ACCURACY_TOP1 not in run.metrics:
            return None
        accuracy = run.metrics[names.TEST_ACCURACY_TOP1]
        score = run.metrics.get(names.VAL_ACCURACY_TOP1, accuracy)
        return FoundJob(run.run_id, f"student {accuracy:.2%}", score, names.VAL_ACCURACY_TOP1 in run.metrics)

    def _plan(self, settings: Settings) -> Plan:
        name = json.dumps(settings.dataset, sort_keys=True, default=str)
        if name not in self._data:
            self._data[name] = loaded("dataset", dataset_of("dataset", settings.dataset))
        # Of the devices, a key holds how many processes there are, and whether they share out what is trained.
        trainer = settings.trainer
        devices = Devices("cpu", processes(trainer), trainer.strategy, trainer.sync_batchnorm)
        return Plan(settings, devices, self._data[name])


def _students(uri: str, study: str) -> dict[str, StoredRun]:
    """The finished students of a study by their job's key, the newest of each."""
    try:
        found = Store.existing(uri, although_away=True).finished(study, names.STUDENT)
    except UserError:  # there is no store yet, or none that can be used: the first job says so
        return {}
    return {run.tags[names.TAG_JOB_KEY]: run for run in reversed(found) if names.TAG_JOB_KEY in run.tags}
