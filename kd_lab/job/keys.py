"""What the student of a job is found again by: everything that its result follows from."""

import hashlib
import json
from pathlib import Path

from kd_lab import names
from kd_lab.job.code import DISTILLING, code_of
from kd_lab.job.plan import Plan
from kd_lab.job.settings import NetworkSettings


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
