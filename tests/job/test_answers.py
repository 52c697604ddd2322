"""Whether a job keeps what its teacher answers, and that it is what the teacher would answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.inputs import Inputs
from kd_lab.job.answers import Around, check, kept, told
from kd_lab.job.distil import distil
from kd_lab.job.lessons import Lessons
from kd_lab.job.plan import Plan
from kd_lab.models.common.weights import weights_sha256
from kd_lab.teachers.cached import CachedTeacher
from kd_lab.teachers.frozen import FrozenTeacher
from tests.job.composed import CNNS, plan
from tests.training.toys import Lines

SHORT = ["student.recipe.steps=60", "baseline=false"]
AUGMENTED = [*SHORT, "student.recipe.augment=true"]


class Surroundings:
    """A folder, locks that are noted, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.locked: list[str] = []
        self.around = Around(folder, self.lock, self.lines.append)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        self.locked.append(name)
        yield


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path / "answers")


def lessons(*overrides: str) -> Lessons:
    return of(plan(*overrides))


def of(made: Plan) -> Lessons:
    assert made.built is not None
    assert made.built.teacher is not None
    return Lessons.of(made, made.built.teacher)


def cached(given: Lessons, here: Surroundings) -> CachedTeacher:
    teacher = kept(given, here.around)
    assert isinstance(teacher, CachedTeacher), here.lines
    return teacher


def trained(here: Surroundings, *overrides: str) -> str:
    """The hash of a student's weights."""
    made = plan(*overrides)
    assert made.built is not None
    distil(made, made.built.student, Lines(), here.around)
    return weights_sha256(made.built.student)


@pytest.mark.parametrize(("line", "features"), [(["teacher=mlp"], 0), (["loss=at", *CNNS], 2)])
def test_kept__answers_are_what_the_teacher_says(here: Surroundings, line: list[str], features: int) -> None:
    given = lessons(*line, *SHORT)
    teacher = cached(given, here)
    online = given.teacher.attach("cpu")
    for batch in given.plan.feed(given.rows, given.recipe, 0):
        one, other = teacher(batch), online(batch)
        torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-6)
        assert len(one.features) == len(other.features) == features
        for a, b in zip(one.features, other.features, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert teacher.asked == 0


def test_kept__a_second_job_asks_nothing(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(lessons("teacher=mlp", *SHORT), here)
    monkeypatch.setattr(CachedTeacher, "fill", None)
    teacher = cached(lessons("teacher=mlp", "loss.temperature=7", "seed=3", *SHORT), here)
    assert teacher.has(0)
    assert len(list(here.around.answers.iterdir())) == 1
    assert here.locked[0] == here.locked[1]


@pytest.mark.parametrize(
    "other",
    [
        "teacher.seed=7",
        "teacher.widths=[9]",
        "dataset.seed=2",
        "dataset.labels=120",
        "dataset.labels=null",
        "student.recipe.precision=bf16-mixed",
        "teacher.cache_dtype=float16",
        "teacher.cache_top_k=3",
    ],
)
def test_key__what_answers_follow_from(other: str) -> None:
    line = ["teacher=mlp", *SHORT]
    assert lessons(*line).key() != lessons(*line, other).key()


@pytest.mark.parametrize("other", ["loss.temperature=3", "seed=4", "student.recipe.batch_size=32", "loss=dkd"])
def test_key__what_they_do_not_follow_from(other: str) -> None:
    line = ["teacher=mlp", *SHORT]
    assert lessons(*line).key() == lessons(*line, other).key()


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        ("seed=4", False),
        ("dataset/augment=rand_augment", False),
        ("student.recipe.draws=2", False),
        ("loss.temperature=3", True),
        ("student.recipe.steps=90", True),
    ],
)
def test_key__of_augmented_samples(other: str, *, alike: bool) -> None:
    line = ["teacher=mlp", *AUGMENTED]
    assert (lessons(*line).key() == lessons(*line, other).key()) is alike


def test_key__other_weights(here: Surroundings) -> None:
    given = lessons("teacher=mlp", *SHORT)
    before = given.key()
    with torch.no_grad():
        next(given.teacher.module.parameters())[0, 0] += 1
    assert given.key() != before


def test_key__an_edited_file(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = lessons("teacher=mlp", *SHORT)
    before = given.key()
    monkeypatch.setattr("kd_lab.job.lessons.code_of", lambda *_: "another")
    assert given.key() != before


def test_kept__a_file_cut_short_is_made_anew(here: Surroundings) -> None:
    given = lessons("teacher=mlp", *SHORT)
    cached(given, here)
    (file,) = here.around.answers.glob("*/*")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert cached(given, here).has(0)
    assert file.read_bytes() == whole


def test_kept__answers_of_somebody_else_under_this_name__are_refused(here: Surroundings) -> None:
    given = lessons("teacher=mlp", *SHORT)
    cached(given, here)
    (file,) = here.around.answers.glob("*/*")
    whole = file.read_bytes()
    other = Surroundings(here.around.answers.parent / "other")
    cached(lessons("teacher=mlp", "teacher.seed=9", *SHORT), other)
    (foreign,) = other.around.answers.glob("*/*")
    file.write_bytes(foreign.read_bytes())
    cached(given, here)
    assert here.lines == ["teacher: kept answers are not what it says now; it is asked anew"]
    assert file.read_bytes() == whole


def test_distil__augmented__recorded_by_one_job_and_replayed_by_the_next__the_same_weights(here: Surroundings) -> None:
    line = ["teacher=mlp", *AUGMENTED]
    first, second = trained(here, *line), trained(here, *line)
    online = trained(here, *line, "teacher.cache=off")
    assert first == second == online
    assert here.lines[1].startswith("teacher: 0 of 60 batches answered from what it said once of 4 draws of 1,197")
    assert here.lines[3].startswith("teacher: 57 of 60 batches answered")  # the last epoch was cut short


def test_distil__draws_that_come_again__are_asked_once(here: Surroundings) -> None:
    trained(here, "teacher=mlp", *AUGMENTED, "student.recipe.draws=1")
    assert here.lines[1].startswith("teacher: 41 of 60 batches answered from what it said once of 1 draws of 1,197")


@pytest.mark.slow
def test_distil__a_loss_with_views_of_its_own__the_same_weights(here: Surroundings) -> None:
    line = ["loss=mlld", "teacher=mlp", *SHORT, "student.recipe.steps=40"]
    first, second = trained(here, *line), trained(here, *line)
    assert first == second == trained(here, *line, "teacher.cache=off")
    assert "38 of 40 batches" in here.lines[3]


def test_distil__from_what_was_kept__close_to_online(here: Surroundings) -> None:
    made = [plan("teacher=mlp", *SHORT, f"teacher.cache={mode}") for mode in ("auto", "off")]
    for one in made:
        assert one.built is not None
        distil(one, one.built.student, Lines(), here.around)
    for own, other in zip(*(one.built.student.parameters() for one in made if one.built), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-4)


def test_kept__two_jobs_at_once__the_one_that_waits_asks_nothing(here: Surroundings) -> None:
    """While it waits for the lock the other one writes."""
    first, second = lessons("teacher=mlp", *SHORT), lessons("teacher=mlp", *SHORT)

    @contextmanager
    def lock(name: str) -> Iterator[None]:
        cached(first, here)
        yield

    before = CachedTeacher.fill
    filled: list[CachedTeacher] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CachedTeacher, "fill", lambda self, batches: (filled.append(self), before(self, batches)))
        teacher = kept(second, Around(here.around.answers, lock, here.lines.append))
    assert len(filled) == 1
    assert filled[0] is not teacher


def test_kept__in_memory__nothing_on_disk(here: Surroundings) -> None:
    teacher = cached(lessons("teacher=mlp", "teacher.cache=memory", *SHORT), here)
    assert teacher.has(0)
    assert not here.around.answers.exists()


def test_kept__off__is_the_teacher(here: Surroundings) -> None:
    assert isinstance(kept(lessons("teacher=mlp", "teacher.cache=off", *SHORT), here.around), FrozenTeacher)
    assert here.lines == []


class Random(nn.Module):
    """Drops at random in eval mode too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.dropout(self.network(inputs), 0.5, training=True)


class OfTheBatch(Random):
    """Normalises over the batch in eval mode too."""

    def forward(self, inputs: Tensor) -> Tensor:
        said: Tensor = self.network(inputs)
        return said - said.mean(0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Random, "it answers otherwise when it is asked again (random layers)"),
        (OfTheBatch, "its answer to a sample depends on the other samples of the batch"),
    ],
)
def test_kept__a_teacher_whose_answers_change__is_asked_in_every_step(
    here: Surroundings, kind: Any, reason: str
) -> None:
    given = lessons("teacher=mlp", *SHORT)
    other = replace(given, teacher=FrozenTeacher(kind(given.teacher.module)))
    assert kept(other, here.around) is other.teacher
    assert here.lines == [f"teacher.cache=auto: the teacher answers in every step, because {reason}"]


def noisy(inputs: Inputs, seeds: Tensor) -> Inputs:
    assert isinstance(inputs, Tensor)
    return inputs + torch.rand_like(inputs)


def mixing(inputs: Inputs, seeds: Tensor) -> Inputs:
    assert isinstance(inputs, Tensor)
    return inputs + inputs.mean(0)


@pytest.mark.parametrize(
    ("augment", "reason"),
    [
        (noisy, "the augmentation does not follow from its seeds alone"),
        (mixing, "the augmentation of a sample depends on the other samples of the batch"),
    ],
)
def test_kept__an_augmentation_that_cannot_be_keyed(here: Surroundings, augment: Any, reason: str) -> None:
    made = plan("teacher=mlp", *AUGMENTED)
    given = of(replace(made, data=replace(made.data, augment=augment)))
    assert kept(given, here.around) is given.teacher
    assert here.lines == [f"teacher.cache=auto: the teacher answers in every step, because {reason}"]


def test_kept__more_than_the_limit__says_how_large(here: Surroundings) -> None:
    given = lessons("loss=at", *CNNS, *SHORT, "teacher.cache_limit_gb=0.01")
    assert kept(given, here.around) is given.teacher
    assert here.lines[0].startswith(
        "teacher.cache=auto: the teacher answers in every step, because 29.5 MB would be kept, "
        "more than teacher.cache_limit_gb=0.01 (teacher.cache_dtype=float16, "
    )


def test_kept__a_full_disk(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lab.job.answers._free", lambda _: 40_000)
    given = lessons("teacher=mlp", *SHORT)
    assert kept(given, here.around) is given.teacher
    assert "47.9 KB would be kept, but 40 KB are free in " in here.lines[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            [*AUGMENTED, "teacher.cache=memory"],
            r"teacher\.cache=memory: every epoch draws its views anew.*student\.recipe\.draws=N repeats; "
            r"expected teacher\.cache=off here$",
        ),
        (
            [*SHORT, "teacher.cache=disk", "teacher.cache_limit_gb=1e-6"],
            r"^teacher\.cache=disk: 47\.9 KB would be kept",
        ),
        (
            [*SHORT, "teacher.cache_top_k=3", "loss=mse_logits"],
            r"^teacher\.cache=auto: teacher\.cache_top_k keeps probabilities, and mse_logits compares the logits",
        ),
    ],
)
def test_check__what_is_asked_for_and_cannot_be__is_said_before_training(
    here: Surroundings, line: list[str], message: str
) -> None:
    made = plan("teacher=mlp", *line)
    assert made.built is not None
    assert made.built.teacher is not None
    with pytest.raises(UserError, match=message):
        check(made, here.around.answers)
    assert all(p.requires_grad for p in made.built.teacher.parameters())


def test_check__what_can_be__is_silent(here: Surroundings) -> None:
    check(plan("teacher=mlp", *SHORT, "teacher.cache=disk", "teacher.cache_top_k=3"), here.around.answers)
    check(plan("teacher=none", "loss=none"), here.around.answers)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["teacher.cache_dtype=float16", "teacher.cache_top_k=3"])
def test_specs__answers_kept_otherwise_are_another_student(other: str) -> None:
    line = ["teacher=mlp", *SHORT]
    assert plan(*line).specs.job_key() != plan(*line, other).specs.job_key()
    assert plan(*line).specs.job_key() == plan(*line, "teacher.cache=memory").specs.job_key()
    assert plan(*line).specs.job_key() == plan(*line, other, "teacher.cache=off").specs.job_key()


@pytest.mark.parametrize(("length", "epochs"), [("epochs=1", 1), ("epochs=7", 7), ("steps=19", 1), ("steps=20", 2)])
def test_lessons__as_many_epochs_as_the_training_has(length: str, epochs: int) -> None:
    """1,197 points in batches of 64: the last of the 19 batches is smaller."""
    reset = ["student.recipe.steps=null"] if length.startswith("epochs") else []
    assert lessons("teacher=mlp", *reset, f"student.recipe.{length}").epochs == epochs


def test_told__nothing_where_nothing_is_kept() -> None:
    given = lessons("teacher=mlp", *SHORT)
    assert told(given, given.teacher) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "samples"),
    [
        (["student.recipe.steps=40"], [1197, 0]),  # 1197 points, each once; found on disk
        (["student.recipe.steps=40", "teacher.cache=memory"], [1197, 1197]),
        (["student.recipe.steps=40", "teacher.cache=off"], [2 * 1197 + 2 * 64] * 2),  # 19 steps to an epoch
    ],
    ids=["disk", "memory", "off"],
)
def test_distil__counts_the_samples_that_its_teacher_answered(
    here: Surroundings, overrides: list[str], samples: list[int]
) -> None:
    asked = []
    for _ in samples:
        made = plan("teacher=mlp", "baseline=false", *overrides)
        cost = distil(made, made.student, Lines(), here.around)
        asked.append(cost[names.COST_TEACHER_SAMPLES])
    assert asked == samples
