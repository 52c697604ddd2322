"""Whether a teacher's answers can be kept, where, and what of them is said: the composition around `CachedTeacher`."""

import copy
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kd_lab.errors import UserError
from kd_lab.inputs import each, equal
from kd_lab.job.lessons import Lessons
from kd_lab.job.plan import Plan
from kd_lab.measures.predict import autocast, smaller
from kd_lab.outside.text import in_bytes
from kd_lab.teachers.answers import packed
from kd_lab.teachers.cached import CachedTeacher
from kd_lab.teachers.shelf import Shelf, layout_of
from kd_lab.types import Batch, Outputs, Teacher

SAMPLES = 16
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
HALF_TOLERANCE = 3e-2
"""How far answers in other batches may lie from one another, relative to the largest number."""
GB = 10**9


@dataclass(frozen=True)
class Around:
    """What a lesson knows of the job around it: where answers lie, who waits for whom, and who is told.

    lines: whether the progress of a training is told in lines.
    """

    answers: Path
    lock: Callable[[str], AbstractContextManager[None]]
    tell: Callable[[str], None]
    lines: bool = False


def check(plan: Plan, folder: Path) -> None:
    """Say before anything is trained what would be said when the student's training begins.

    Raises:
        UserError: answers are to be kept, and cannot be.
    """
    for tutor in plan.taught_by if plan.distils and plan.strategy.asks_rows else ():
        _check(tutor, folder)


def _check(plan: Plan, folder: Path) -> None:
    assert plan.built is not None
    settings, teacher = plan.settings.teacher, plan.built.teacher
    if settings is None or teacher is None or (settings.cache in {"auto", "off"} and settings.form.is_exact):
        return
    lessons = Lessons.of(plan, copy.deepcopy(teacher))  # the teacher itself is still to be trained
    lessons.teacher.attach(plan.devices.main)
    batch = lessons.batch(min(SAMPLES, len(lessons.rows)))
    said = lessons.answer(batch)
    reason = _unfit(lessons, said, folder) or _changing(lessons, batch, said)
    if reason is not None:
        raise UserError(f"teacher.cache={settings.cache}: {reason}; expected teacher.cache=off here")


def kept(lessons: Lessons, around: Around) -> Teacher:
    """The teacher, answering from what is kept of it where that is the same; told is why it cannot, and what is large.

    Raises:
        UserError: float16 cannot hold what it answers.
    """
    settings, teacher, device = lessons.settings, lessons.teacher, lessons.plan.devices.main
    if settings.cache == "off":
        return teacher
    teacher.attach(device)
    try:
        batch = lessons.batch(min(SAMPLES, len(lessons.rows)))
        said = lessons.answer(batch)
        own = around.answers / lessons.key()[:32]
        made = _cached(lessons, said, None if settings.cache == "memory" else own).attach(device)
        reason = _unfit(lessons, said, around.answers)
        if reason is None and not _confirmed(made, lessons, batch, said, around.tell):
            reason = _changing(lessons, batch, said)
        if reason is not None:
            around.tell(f"teacher.cache={settings.cache}: the teacher answers in every step, because {reason}")
            return teacher
        if lessons.is_augmented:
            around.tell(
                f"teacher: what it answers to {lessons.draws:,} draws of {len(lessons.rows):,} points is kept, "
                f"{in_bytes(lessons.size(said))} in {own}"
            )
        elif lessons.epochs > 1:
            with around.lock(f"answers-{own.name}"):
                _fill(lessons, made)
        made.answered = made.asked = 0
        return made
    finally:
        teacher.samples = 0  # what it was tried with is no lesson
        teacher.release()


def told(lessons: Lessons, teacher: Teacher) -> str | None:
    """What was answered from what was kept, in a line."""
    if not isinstance(teacher, CachedTeacher):
        return None
    batches = teacher.answered + teacher.asked
    where = "" if teacher.unkept is None else f" (not kept on disk: {teacher.unkept})"
    hits = f"{teacher.answered:,} of {batches:,} batches" if batches else "every process"
    draws = f"{lessons.draws:,} draws of " if lessons.is_augmented else ""
    return f"teacher: {hits} answered from what it said once of {draws}{len(lessons.rows):,} points{where}"


def _cached(lessons: Lessons, said: Outputs, folder: Path | None) -> CachedTeacher:
    data = lessons.plan.data
    layout = layout_of(packed(lessons.settings.form, said))
    return CachedTeacher(
        lessons.teacher,
        lessons.rows,
        num_rows=len(data.targets),
        num_classes=data.num_classes,
        form=lessons.settings.form,
        shelf=None if folder is None else Shelf(folder, len(lessons.rows), layout),
        comes_again=lessons.draws < lessons.epochs,
        records=lessons.plan.devices.count == 1 or not lessons.is_augmented,
    )


def _confirmed(made: CachedTeacher, lessons: Lessons, batch: Batch, said: Outputs, tell: Callable[[str], None]) -> bool:
    """Whether another job kept the answers, and a sample says that they are the teacher's."""
    if not made.has(batch.draw):
        return False
    if _alike(made(batch), lessons.kept_form(said)):
        return True
    tell("teacher: kept answers are not what it says now; it is asked anew")
    made.forget()
    return False


def _fill(lessons: Lessons, made: CachedTeacher) -> None:
    """Ask for all rows in large batches, unless another job has done so meanwhile."""
    size = lessons.plan.settings.measure.predict_batch
    while not made.has(0):
        try:
            with autocast(lessons.plan.devices.main, lessons.recipe.precision):
                made.fill(lessons.all(size))
        except (RuntimeError, MemoryError) as error:
            size = smaller(size, error)
            made.forget()


def _unfit(lessons: Lessons, said: Outputs, folder: Path) -> str | None:
    """Why so many answers, or answers in this form, cannot be kept; None where they can."""
    settings, size = lessons.settings, lessons.size(said)
    if lessons.recipe.mix is not None:
        return "every step mixes its samples anew (student.recipe.mix)"
    if lessons.is_augmented and settings.cache == "memory" and lessons.draws == lessons.epochs:
        return (
            "every epoch draws its views anew, which only teacher.cache=disk keeps, or student.recipe.draws=N repeats"
        )
    if size > settings.cache_limit_gb * GB:
        return (
            f"{in_bytes(size)} would be kept, more than teacher.cache_limit_gb={settings.cache_limit_gb:g} "
            "(teacher.cache_dtype=float16, teacher.cache_top_k=N and student.recipe.draws=N keep less)"
        )
    if settings.cache != "memory" and size > (free := _free(folder)):
        return f"{in_bytes(size)} would be kept, but {in_bytes(free)} are free in {folder.parent}"
    if lessons.settings.form.top_k is not None and (unfit := _needs_logits(lessons)):
        return f"teacher.cache_top_k keeps probabilities, and {unfit} compares the logits themselves"
    return None


def _changing(lessons: Lessons, batch: Batch, said: Outputs) -> str | None:
    """What of the teacher's answer, or of what it is shown, is not the same twice."""
    half = max(len(batch.index) // 2, 1)
    if not _alike(lessons.answer(batch), said):
        return "it answers otherwise when it is asked again (random layers)"
    if not _alike(lessons.answer(_first(batch, half)), _rows(said, half)):
        return "its answer to a sample depends on the other samples of the batch"
    if lessons.is_augmented:
        if not _same_views(lessons.batch(len(batch.index)), batch):
            return "the augmentation does not follow from its seeds alone"
        if not _same_views(lessons.batch(half), _first(batch, half)):
            return "the augmentation of a sample depends on the other samples of the batch"
    return None


def _needs_logits(lessons: Lessons) -> str | None:
    terms = lessons.bound.objective.terms
    return next((name for name, term in terms.items() if not term.loss.shift_invariant), None)


def _first(batch: Batch, count: int) -> Batch:
    inputs, *views = (each(one, lambda tensor: tensor[:count]) for one in (batch.inputs, *batch.views))
    return batch._replace(inputs=inputs, targets=batch.targets[:count], index=batch.index[:count], views=tuple(views))


def _rows(said: Outputs, count: int) -> Outputs:
    return Outputs(said.logits[:count], tuple(f[:count] for f in said.features), tuple(v[:count] for v in said.views))


def _alike(one: Outputs, other: Outputs) -> bool:
    pairs = zip((one.logits, *one.features, *one.views), (other.logits, *other.features, *other.views), strict=True)
    return all(_close(a, b) for a, b in pairs)


def _close(one: Tensor, other: Tensor) -> bool:
    """To rounding, measured by the largest number; a class of -inf is one in both."""
    finite = other.isfinite()
    scale = float(other[finite].abs().max()) if bool(finite.any()) else 1.0
    bound = TOLERANCE.get(other.dtype, HALF_TOLERANCE) * max(scale, 1.0)
    return torch.allclose(one.double(), other.double(), rtol=0.0, atol=bound, equal_nan=True)


def _same_views(one: Batch, other: Batch) -> bool:
    return all(equal(x, y) for x, y in zip((one.inputs, *one.views), (other.inputs, *other.views), strict=True))


def _free(folder: Path) -> int:
    there = next(place for place in folder.parents if place.exists())
    return shutil.disk_usage(there).free
