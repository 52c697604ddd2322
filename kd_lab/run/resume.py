"""Finds the jobs of a sweep that were done before, by everything that their result follows from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.run.build import build, call
from kd_lab.run.code import DISTILLING, code_of
from kd_lab.run.devices import Devices
from kd_lab.run.plan import Plan
from kd_lab.run.settings import NetworkSettings, Settings
from kd_lab.tracking.store import Store
from kd_lab.tracking.stored import StoredRun
from kd_lab.types import Data


def job_key(plan: Plan) -> str:
    """What the student of a job is found again by.

    In it: the kd_lab version, the data's fingerprint, the teacher (what it is trained from, or its weights), the
    student with its recipe and seed, the layers compared, the loss and its weights, the baseline that stands beside
    it, the trainer, and the code of all of them. Not in it, because no result follows from them: the
    study, the store, how often metrics are written, how latency is measured, and whether teachers are reused.
    """
    settings = plan.settings
    student = settings.student
    layers = {"teacher": settings.teacher and settings.teacher.layers, "student": student.layers}
    facts = {
        "teacher": _teacher(plan),
        "student": plan.key(names.STUDENT, student.node, student.recipe, student.seed),
        "baseline": _baseline(plan),
        "layers": layers,
        "loss": settings.loss.model_dump(),
        "trainer": settings.trainer.model_dump(),
        "code": job_code(plan),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def job_code(plan: Plan) -> str:
    """The hash of the source that a job's student follows from.

    Its own, its loss's, its teacher's where that is trained too, and how it is measured.
    """
    settings = plan.settings
    trained: list[NetworkSettings] = [settings.student]
    if settings.teacher is not None and settings.teacher.weights in {None, "pretrained"}:  # else it comes as it is
        trained.append(settings.teacher)
    networks = [[network.node, network.recipe.model_dump()] for network in trained]
    return code_of([settings.loss.model_dump(), networks, settings.dataset.get("augment")], DISTILLING)


def _teacher(plan: Plan) -> str | None:
    teacher = plan.settings.teacher
    if teacher is None:
        return None
    weights = teacher.weights or ""
    if weights.startswith("run:"):
        return weights
    if weights in {"", "pretrained"}:
        return plan.key(names.TEACHER, teacher.node, teacher.recipe, teacher.seed, weights=weights)
    sha256 = hashlib.sha256(Path(weights).expanduser().read_bytes()).hexdigest()
    return plan.key(names.TEACHER, teacher.node, None, 0, weights=sha256)


def _baseline(plan: Plan) -> str | None:
    settings = plan.settings
    if settings.baseline is None:
        return None
    return plan.key(names.BASELINE, settings.student.node, plan.baseline_recipe(), settings.seed)


@dataclass(frozen=True)
class FoundJob:
    """A job that was done before: its student's run, its result in words, its accuracy.

    score: on the validation part where there is one (on_validation).
    """

    run_id: str
    told: str
    score: float
    on_validation: bool


def found_jobs(configs: Sequence[Mapping[str, Any]]) -> list[FoundJob | None]:
    """For each composed config the newest FINISHED student of the same study and key, if there is one.

    A config that cannot work is not found; the job itself says why.
    """
    known = _Known()
    return [known.job(config) for config in configs]


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
            run = done.get(job_key(self._plan(settings))) if done else None
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
            self._data[name] = call("dataset", build("dataset", settings.dataset).load, {})
        return Plan(settings, Devices("cpu", 1, "auto"), self._data[name])


def _students(uri: str, study: str) -> dict[str, StoredRun]:
    """The finished students of a study by their job's key, the newest of each."""
    try:
        found = Store.existing(uri).finished(study, names.STUDENT)
    except UserError:  # there is no store yet, or none that answers: the first job says so
        return {}
    return {run.tags[names.TAG_JOB_KEY]: run for run in reversed(found) if names.TAG_JOB_KEY in run.tags}
