"""From a checked config to ready objects: everything that can be wrong is found here, before anything is trained."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from kd_lab import names
from kd_lab.errors import UserError
from kd_lab.job import chain
from kd_lab.job.bind import Bound, bind, deployed_node
from kd_lab.job.build import call, locate
from kd_lab.job.chain import settings_of
from kd_lab.job.checks import (
    callbacks_of,
    check_asks,
    check_batch,
    check_drawn,
    check_fitted,
    check_int8,
    check_logits,
    check_optimizer,
    check_pretrained,
    check_strategy,
    check_terms,
    check_validated,
    check_weights,
)
from kd_lab.job.class_weights import class_weights
from kd_lab.job.devices import resolve
from kd_lab.job.fitting import dataset_of, loaded
from kd_lab.job.plan import Built, Plan
from kd_lab.job.settings import NetworkSettings, RecipeSettings, Settings
from kd_lab.job.sharded import check_sharded
from kd_lab.job.sources import look_up
from kd_lab.job.specs import PRETRAINED
from kd_lab.models.common.fitted import Fitted
from kd_lab.outside.ids import RUN
from kd_lab.training.objective import Objective


def ready(settings: Settings, *, although_away: bool = False) -> Plan:
    """Check what needs no data, load the data, check what needs it.

    Args:
        settings: the config.
        although_away: whether the store may be away.

    Raises:
        UserError: Something cannot work; the message names the key, the value and what was expected.
    """
    dataset = dataset_of("dataset", settings.dataset)
    strategy = chain.strategy_of(settings.strategy)
    check_asks(settings, strategy)
    check_terms(settings, has_teacher=settings.teacher is not None or chain.teaches(strategy))
    for key, network in _networks(settings):
        locate(key, network.node.get("_target_"))
        check_optimizer(f"{key}.recipe", network.recipe)
    devices = resolve(settings.trainer)
    callbacks_of(settings)
    data = loaded("dataset", dataset)
    node, teacher = None, settings.teacher
    if teacher is not None and (teacher.weights or "").startswith(RUN):
        _, node = look_up(data, settings.tracking.uri, str(teacher.weights), although_away=although_away)
    plan = Plan(settings, devices, data, node)
    _check_lengths(plan)
    plan = replace(plan, built=_built(plan))
    check_sharded(plan)
    return plan


def _check_lengths(plan: Plan) -> None:
    check_validated(plan.settings, plan.data)
    for key, network in _networks(plan.settings):
        rows = plan.data.train if key == names.TEACHER else plan.student_rows()
        if network.weights in {None, PRETRAINED}:
            check_batch(f"{key}.recipe", network.recipe, len(rows))
            check_drawn(f"{key}.recipe", network.recipe, plan.data)
            _check_schedule(plan, f"{key}.recipe", network.recipe, len(rows))
            class_weights(f"{key}.recipe", network.recipe.class_weights, plan.data, rows)
    if plan.settings.baseline is not None:
        own = plan.baseline_recipe()
        check_batch("baseline.recipe", own, len(plan.seen.train))
        check_drawn("baseline.recipe", own, plan.data)
        class_weights("baseline.recipe", own.class_weights, plan.data, plan.seen.train)


def _check_schedule(plan: Plan, key: str, settings: RecipeSettings, num_rows: int) -> None:
    """Ask for the first learning rate: a warm-up longer than the training speaks now."""
    recipe = plan.recipe(key, settings, num_rows)
    base = recipe.build_optimizer(nn.Linear(1, 1)).param_groups[0]["lr"]
    call(f"{key}.schedule", recipe.schedule, {"step": 0, "base": base, "total_steps": recipe.steps})


def _built(plan: Plan) -> Built:
    teacher = None
    if (spec := plan.specs.teacher) is not None:
        assert plan.settings.teacher is not None
        check_pretrained(plan.settings.teacher.weights, plan.settings.teacher.node)
        teacher = plan.network(spec)
        check_logits(names.TEACHER, teacher, plan.data)
        check_weights(plan.settings.teacher.weights, teacher)
    student = plan.network(plan.specs.student)
    if isinstance(student, Fitted):
        raise UserError(
            f"student._target_={plan.settings.student.node.get('_target_')}: is fitted, not trained by gradients; "
            "it can be a teacher, expected a network such as student=mlp"
        )
    check_logits(names.STUDENT, student, plan.data)
    check_int8(plan.settings.measure, student)
    links = _links(plan, teacher)
    tutors = _tutors(plan, [teacher, *(link.student for link in links)])
    built = replace(_bound(plan, student, tutors[-1] if tutors else None), teacher=teacher, links=links)
    recipe = plan.settings.student.recipe
    augments = bool(built.bound.views) or (recipe.augment and plan.data.augment is not None)
    for one in (teacher, *(link.student for link in links)):
        if isinstance(one, Fitted):
            check_fitted(one, plan.data, is_augmented=augments and plan.distils)
    built = replace(built, peers=tuple(plan.network(spec) for spec in plan.specs.peers))
    for peer in built.peers:
        check_logits("strategy.peers", peer, plan.data)
    taught = plan.recipe("student.recipe", recipe, len(plan.student_rows()))
    check_strategy(plan.strategy, replace(built.parties(plan.data), recipe=taught))
    return replace(built, tutors=_each(plan, built, tutors) if plan.specs.links else ())


def _bound(plan: Plan, student: nn.Module, teacher: nn.Module | None) -> Built:
    """The student, or what a loss deploys in its place, bound to a teacher."""
    node = deployed_node(plan.settings, plan.seen, student, teacher)
    if node is not None:
        student = plan.network(replace(plan.specs.student, node=node))
    bound = bind(plan.settings, plan.seen, student, teacher, every_pair=plan.strategy.every_pair)
    return Built(teacher, student, node or plan.settings.student.node, bound)


def _links(plan: Plan, teacher: nn.Module | None) -> tuple[Plan, ...]:
    """A plan for each network that is obtained before the student, ready to run."""
    networks, plans = [teacher], []
    for link, spec in zip(plan.strategy.links(), plan.specs.links, strict=True):
        own = replace(plan, settings=settings_of(plan.settings, spec), own=spec, teacher_node=None)
        network = own.network(spec)
        check_logits("strategy", network, plan.data)
        if spec.lesson is None:
            if spec.role != names.TEACHER:  # it has the student's recipe, and the labelled points alone
                check_batch("student.recipe", spec.recipe, len(plan.seen.train))
            built = Built(None, network, spec.node, Bound(Objective({}, 1.0)))
        else:
            tutors = [one for number in link.teachers if (one := networks[number]) is not None]
            built = _bound(own, network, tutors[-1])
            built = replace(built, tutors=_each(own, built, tutors))
        plans.append(replace(own, built=built))
        networks.append(built.student)
    return tuple(plans)


def _tutors(plan: Plan, networks: Sequence[nn.Module | None]) -> list[nn.Module]:
    """Of the job's teacher and the links, those that teach the student."""
    return [one for number in plan.strategy.taught_by() if (one := networks[number]) is not None]


def _each(plan: Plan, built: Built, tutors: Sequence[nn.Module]) -> tuple[Plan, ...]:
    """The plan, seen with each of several that teach, alone."""
    spec, plans = plan.specs.student, []
    assert spec.lesson is not None
    for teacher, network in zip(spec.lesson.teachers, tutors, strict=True):
        own = replace(spec, lesson=replace(spec.lesson, teachers=(teacher,)))
        seen = replace(built, teacher=network, links=(), peers=())
        plans.append(replace(plan, settings=settings_of(plan.settings, own), own=own, built=seen))
    return tuple(plans)


def _networks(settings: Settings) -> list[tuple[str, NetworkSettings]]:
    networks = [(names.TEACHER, settings.teacher), (names.STUDENT, settings.student)]
    return [(key, network) for key, network in networks if network is not None]
