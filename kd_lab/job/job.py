"""The main line of a job: teacher, the student alone, the distilled student; each found or trained, measured, kept."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from kd_lab import names
from kd_lab.job.bind import Bound, told
from kd_lab.job.console import Reporter, busy
from kd_lab.job.distil import distil, together
from kd_lab.job.fit import Fit, fit
from kd_lab.job.keeper import Context, Keeper, Kept, Order
from kd_lab.job.keys import job_key
from kd_lab.job.plan import TRAIN, Plan
from kd_lab.job.report import report_markdown, verdict
from kd_lab.job.settings import NetworkSettings, Settings
from kd_lab.job.strict import Node
from kd_lab.job.teacher import given_teacher, look_up
from kd_lab.measures.fidelity import fidelity
from kd_lab.measures.gap import gap_recovered
from kd_lab.models.ensemble import Ensemble
from kd_lab.store.orphans import close_orphans
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import bring_in, waiting_here
from kd_lab.training.objective import Objective
from kd_lab.types import Measurement, NetworkResult, RunResult


def run(config: Mapping[str, Any], context: Context, reporter: Reporter) -> RunResult:
    """Run one job from a composed, resolved config.

    Raises:
        UserError: Something in the config or the data cannot work; nothing was written.
        TrainingFailedError: Training stopped by itself; its run is FAILED.
    """
    keeper = begin(config, context, reporter)
    plan = keeper.plan
    reporter.stage(names.TEACHER)
    teacher = obtain_teacher(keeper, plan.settings.teacher) if plan.settings.teacher is not None else None
    node, bound = plan.student(teacher.network if teacher else None)
    for line in [*plan.described(), *bound.described()]:
        reporter.note(line)
    reporter.stage("student alone")
    baseline = _baseline(keeper, teacher) if plan.settings.baseline is not None else None
    reporter.stage(names.STUDENT)
    student = _student(keeper, teacher, baseline, node, bound)
    result = _result(teacher, baseline, student.result)
    reporter.finished(result, config)
    for sentence in waiting_here(keeper.store.uri):
        reporter.note(sentence)
    return result


def begin(config: Mapping[str, Any], context: Context, reporter: Reporter) -> Keeper:
    """Check the config, load the data and open the store, in this order.

    Raises:
        UserError: Something cannot work; nothing was written.
    """
    with busy("checking the config, loading the data"):
        plan = Plan.of(Settings.of(config))
    tracking, teacher = plan.settings.tracking, plan.settings.teacher
    although_away = tracking.offline == "fallback" or context.sweep is not None
    if teacher is not None and (teacher.weights or "").startswith("run:"):
        look_up(plan.data, Store.existing(tracking.uri, although_away=although_away), str(teacher.weights))
    with busy(f"opening {tracking.uri}"):
        store = Store.open(tracking.uri, plan.settings.study, although_away=although_away)
        said = [*close_orphans(store, context.sweep), *bring_in(store)]
    for sentence in said:
        reporter.note(sentence)
    return Keeper(plan, store, config, context, reporter)


def _result(teacher: Kept | None, baseline: Kept | None, student: NetworkResult) -> RunResult:
    return RunResult(
        teacher=teacher.result if teacher else None,
        baseline=baseline.result if baseline else None,
        student=student,
        validation_accuracy=student.measurement.get(names.VAL_ACCURACY_TOP1),
    )


def _hard_labels(label_smoothing: float) -> Objective:
    return Objective({}, 1.0, label_smoothing)


def obtain_teacher(keeper: Keeper, settings: NetworkSettings, *, measured: bool = True) -> Kept:
    """The teacher, found or trained. measured: whether one that was found is measured again before it teaches."""
    plan = keeper.plan
    if settings.weights is not None:
        order = given_teacher(keeper, settings, settings.weights, _train_teacher)
        return keeper.obtain(replace(order, measured=measured))
    order = Order(
        role=names.TEACHER,
        node=settings.node,
        recipe=settings.recipe,
        seed=settings.seed,
        key=plan.key(names.TEACHER, settings.node, settings.recipe, settings.seed),
        reuse=settings.reuse,
        measured=measured,
        train=lambda network, run: _train_teacher(keeper, settings, network, run),
        part=TRAIN,
    )
    return keeper.obtain(order)


def _train_teacher(keeper: Keeper, settings: NetworkSettings, network: nn.Module, run: Run) -> Measurement:
    """Train on the labelled part; each member of an ensemble by itself, with a seed of its own."""
    plan = keeper.plan
    recipe = plan.recipe("teacher.recipe", settings.recipe, len(plan.data.train))

    def one(member: nn.Module, seed: int, label: str, rename: Any) -> Measurement:
        objective = _hard_labels(settings.recipe.label_smoothing)
        return fit(plan, Fit(label, member, objective, recipe, plan.data.train, seed, rename=rename), run)

    if not isinstance(network, Ensemble):
        return one(network, settings.seed, "teacher", str)
    costs = []
    for i in range(len(network.members)):
        if settings.weights is None:
            network.members[i] = plan.network("teacher.member", _one_member(settings), settings.seed + i)
        label = f"teacher {i + 1}/{len(network.members)}"
        costs.append(one(network.members[i], settings.seed + i, label, _Member(i)))
    return together(costs)


class _Member:
    """Renames a training metric to that of one member; a class because spawned processes pickle it."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, key: str) -> str:
        return names.of_member(self.index, key)


def _one_member(settings: NetworkSettings) -> dict[str, Any]:
    return {k: v for k, v in settings.node["member"].items() if k != "_partial_"}


def _baseline(keeper: Keeper, teacher: Kept | None) -> Kept:
    """The student alone: the same network, recipe and seed, on hard labels."""
    plan, settings = keeper.plan, keeper.plan.settings
    assert settings.baseline is not None
    recipe = plan.baseline_recipe()

    def train(network: nn.Module, run: Run) -> Measurement:
        ready = plan.recipe("baseline.recipe", recipe, len(plan.seen.train))
        objective = _hard_labels(recipe.label_smoothing)
        return fit(plan, Fit("student alone", network, objective, ready, plan.seen.train, settings.seed), run)

    order = Order(
        role=names.BASELINE,
        node=settings.student.node,
        recipe=recipe,
        seed=settings.seed,
        key=plan.key(names.BASELINE, settings.student.node, recipe, settings.seed),
        reuse=settings.baseline.reuse,
        train=train,
        part=TRAIN,
    )
    return _beside(teacher, keeper.obtain(order), plan)


def _beside(teacher: Kept | None, baseline: Kept, plan: Plan) -> Kept:
    """With its fidelity to this job's teacher, which is no fact of its run: a baseline stands beside many teachers."""
    if teacher is None:
        return baseline
    found = fidelity(baseline.logits, teacher.logits, plan.data.targets[plan.data.test])
    return replace(baseline, result=replace(baseline.result, measurement=baseline.result.measurement | found))


def _student(keeper: Keeper, teacher: Kept | None, baseline: Kept | None, node: Node, planned: Bound) -> Kept:
    plan, settings = keeper.plan, keeper.plan.settings
    teaching = teacher.network if teacher else None

    def train(network: nn.Module, run: Run) -> Measurement:
        return distil(plan, plan.bound(network, teaching), network, teaching, run)

    def extra(measurement: Measurement) -> Measurement:
        if teacher is None or baseline is None:
            return {}
        accuracies = [
            m[names.TEST_ACCURACY_TOP1] for m in (measurement, baseline.result.measurement, teacher.result.measurement)
        ]
        gap = gap_recovered(*accuracies)
        own = baseline.result.measurement
        alone = {kept: own[key] for key, kept in names.OF_ALONE.items() if key in own}
        return alone if gap is None else {names.TEST_GAP_RECOVERED: gap, **alone}

    def done(run: Run, result: NetworkResult) -> None:
        whole = _result(teacher, baseline, result)
        run.log_text(report_markdown(whole), names.ARTIFACT_REPORT)
        run.set_tags({names.TAG_NOTE: verdict(whole)})

    order = Order(
        role=names.STUDENT,
        node=node,
        recipe=settings.student.recipe,
        seed=settings.seed,
        train=train,
        part=plan.student_part(),
        params={"layers": {name: [told(pair) for pair in pairs] for name, pairs in planned.pairs.items()}},
        teacher_logits=teacher.logits if teacher else None,
        tags={
            names.TAG_JOB_KEY: job_key(plan),
            **teacher_tags(teacher),
            **({names.TAG_BASELINE_RUN: baseline.result.run_id} if baseline else {}),
        },
        extra=extra,
        done=done,
    )
    return keeper.obtain(order)


def teacher_tags(teacher: Kept | None) -> dict[str, str]:
    """Which run and weights taught."""
    if teacher is None:
        return {}
    return {
        names.TAG_TEACHER_RUN: teacher.result.run_id,
        names.TAG_TEACHER_WEIGHTS_SHA256: teacher.result.weights_sha256,
    }
