"""The networks that a strategy wants beside teacher and student, specified: links of a chain, peers."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job.build import build
from kd_lab.job.describe import network_name, strategy_name
from kd_lab.job.settings import RecipeSettings, Settings, TeacherSettings
from kd_lab.job.specs import TRAIN, TRANSFER, Lesson, NetworkSpec
from kd_lab.seeds import mixed
from kd_lab.strategies.common.strategy import LABELS, TEACHER, Link, Strategy

KEY = "strategy"


def strategy_of(node: Mapping[str, Any] | None) -> Strategy:
    """What a job's `strategy` builds; plain distillation where it has none.

    Raises:
        UserError: it cannot be built, or is none.
    """
    if node is None:
        return Strategy()
    built = build(KEY, node)
    if not isinstance(built, Strategy):
        raise UserError(
            f"strategy._target_={node.get('_target_')}: expected a class derived from "
            "kd_lab.strategies.common.strategy.Strategy"
        )
    return built


def links(
    settings: Settings, strategy: Strategy, teacher: NetworkSpec | None, student: NetworkSpec, alone: RecipeSettings
) -> tuple[NetworkSpec, ...]:
    """What is obtained before the student, in this order.

    Args:
        settings: of the job.
        strategy: of the job.
        teacher: the job's, or None.
        student: plainly distilled by that.
        alone: the student's recipe for labels alone.

    Raises:
        UserError: a link is taught by the job's teacher alone, and there is none.
    """
    found: list[NetworkSpec | None] = [teacher]
    for number, link in enumerate(strategy.links(), start=1):
        found.append(_spec(settings, link, number, found, student, alone=alone))
    return tuple(spec for spec in found[1:] if spec is not None)


def tutors(strategy: Strategy, teacher: NetworkSpec | None, others: tuple[NetworkSpec, ...]) -> tuple[NetworkSpec, ...]:
    """Those that teach the student, the job's teacher if there is one and links."""
    return _numbered(strategy.taught_by(), (teacher, *others))


def teaches(strategy: Strategy) -> bool:
    """Whether a link teaches the student, whatever the job's teacher is."""
    return any(number != TEACHER for number in strategy.taught_by())


def peers(strategy: Strategy, student: NetworkSpec) -> tuple[NetworkSpec, ...]:
    """What is trained with the student: other seeds, the same recipe."""
    return tuple(
        NetworkSpec(names.PEER, dict(node or student.node), student.recipe, student.seed + i, student.part)
        for i, node in enumerate(strategy.peers(), start=1)
    )


def settings_of(settings: Settings, spec: NetworkSpec) -> Settings:
    """The job's settings as they are for a link, or for the student as one of several teaches it."""
    student = {"node": spec.node, "recipe": spec.recipe, "seed": spec.seed}
    if spec.role != names.STUDENT:
        student["layers"] = None
    tutor = spec.lesson.teachers[-1] if spec.lesson is not None and spec.lesson.teachers else None
    changes = {
        "seed": spec.seed,
        "student": settings.student.model_copy(update=student),
        "teacher": settings.teacher if tutor is None else _as_teacher(settings, tutor),
        "baseline": None,
        "strategy": None if spec.lesson is None else spec.lesson.strategy,
    }
    return settings.model_copy(update=changes)


def _as_teacher(settings: Settings, spec: NetworkSpec) -> TeacherSettings:
    """How a network teaches: under the settings of the job's teacher, or their defaults where there is none."""
    own = settings.teacher
    facts = {"node": spec.node, "recipe": spec.recipe, "weights": spec.source or None, "seed": spec.seed}
    if own is None:
        return TeacherSettings(**facts)
    return own.model_copy(update=facts if own.node == spec.node else {**facts, "layers": None})


def sentence(settings: Settings, strategy: Strategy, student: NetworkSpec) -> str:
    """`strategy=assistants: mlp 64 learns from 5 x cnn, the student mlp 32 from mlp 64`."""
    teacher = network_name(settings.teacher.node) if settings.teacher else LABELS
    called = tuple(network_name(link.node or student.node) for link in strategy.links())
    name = strategy_name(settings.strategy or {})
    return f"strategy={name}: {strategy.described(teacher, network_name(student.node), called)}"


def _spec(
    settings: Settings,
    link: Link,
    number: int,
    before: Sequence[NetworkSpec | None],
    student: NetworkSpec,
    *,
    alone: RecipeSettings,
) -> NetworkSpec:
    node = dict(link.node or student.node)
    theirs = settings.teacher
    if link.follows_seed:
        seed = mixed(student.seed, number) >> 33
    else:
        seed = student.seed if theirs is None else theirs.seed + number
    taught = _numbered(link.teachers, before)
    if link.is_teacher:
        if any(one is not None and one.role == names.TEACHER and one.node == node for one in before):
            raise UserError(
                f"strategy.teachers: {network_name(node)} is named twice, the job's own teacher counted; expected "
                "networks that differ (several of one kind with other seeds are teacher=ensemble)"
            )
        recipe = student.recipe if theirs is None else theirs.recipe
        return NetworkSpec(names.TEACHER, node, recipe, seed)
    if not link.teachers or (link.or_labels and not taught):
        return NetworkSpec(names.ASSISTANT, node, alone, seed, TRAIN)
    assert student.lesson is not None
    if not taught:
        raise UserError("teacher=none: the strategy begins with a teacher; choose one, such as teacher=cnn")
    form, strategy = student.lesson.form, settings.strategy if len(taught) > 1 else None
    lesson = Lesson(settings.loss, taught, {}, form, strategy)
    part = student.part if student.part == TRANSFER else TRAIN
    return NetworkSpec(names.ASSISTANT, node, student.recipe, seed, part, lesson=lesson)


def _numbered(numbers: tuple[int, ...], specs: Sequence[NetworkSpec | None]) -> tuple[NetworkSpec, ...]:
    return tuple(spec for number in numbers if (spec := specs[number]) is not None)
