"""The main line of a job: teacher, the student alone, the distilled student; each found or trained, measured, kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from kd_lab import names
from kd_lab.job import notes, parts, published, recipes, threads, tuned
from kd_lab.job.again import done_before
from kd_lab.job.answers import check
from kd_lab.job.beside import chain_wall_s, obtain_links, told, with_peers
from kd_lab.job.bind import described
from kd_lab.job.console import Reporter, busy
from kd_lab.job.keeper import Keeper
from kd_lab.job.misfits import misfits
from kd_lab.job.order import Context, Obtained, Order
from kd_lab.job.plan import Built, Plan
from kd_lab.job.ready import ready
from kd_lab.job.report import report_markdown, verdict
from kd_lab.job.sanity import remarks, wide
from kd_lab.job.settings import Settings
from kd_lab.measures.fidelity import fidelity
from kd_lab.measures.gap import difference_error, gap_recovered
from kd_lab.measures.predictive import predictive
from kd_lab.models.ensemble import mean_probability
from kd_lab.store.orphans import settle
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.sync import waiting_here
from kd_lab.training.states import forget_old
from kd_lab.types import Data, Measurement, NetworkResult, RunResult

ALONE = "student alone"


def run(config: Mapping[str, Any], context: Context, reporter: Reporter) -> RunResult:
    """Run one job from a composed, resolved config.

    Raises:
        UserError: Something in the config or the data cannot work; nothing was written.
        TrainingFailedError: Training stopped by itself; its run is FAILED.
    """
    keeper = begin(config, context, reporter)
    plan, built = keeper.plan, keeper.built
    for line in [
        parts.sentence(plan),
        *plan.data.told,
        *_not_typed(plan),
        *threads.described(plan),
        *notes.described(plan),
        *recipes.described(plan),
        *built.bound.described(),
    ]:
        reporter.note(line)
    result = done_before(keeper) or _done(keeper)
    reporter.finished(result, keeper.config)
    for sentence in waiting_here(keeper.store.uri):
        reporter.note(sentence)
    return result


def _done(keeper: Keeper) -> RunResult:
    """Teacher, who else teaches, baseline and student, one after the other."""
    plan, reporter = keeper.plan, keeper.reporter
    teacher = told(reporter, names.TEACHER, lambda: obtain_teacher(keeper)) if plan.specs.teacher else None
    links = obtain_links(keeper)
    amiss = [] if teacher is None else misfits(plan, teacher.network)
    for sentence in amiss:
        reporter.warn(sentence)
    baseline = told(reporter, ALONE, lambda: _baseline(keeper, teacher)) if plan.specs.baseline else None
    spans = [*wide(plan.data), *amiss]
    others = Others(teacher, baseline, tuple(links))
    peers: list[NetworkResult] = []
    student = told(reporter, names.STUDENT, lambda: _student(keeper, others, spans, peers))
    return replace(_result(plan.data, others, student.result, spans), peers=tuple(peers))


def _not_typed(plan: Plan) -> list[str]:
    """What acts in this job although nobody typed it, a sentence each."""
    brought = plan.settings.tuned
    return [*([tuned.sentence(brought, plan.data.name)] if brought else []), *published.described(plan.settings)]


def begin(config: Mapping[str, Any], context: Context, reporter: Reporter) -> Keeper:
    """Check the config, load the data, build the networks and open the store, in this order.

    Raises:
        UserError: Something cannot work; nothing was written.
    """
    settings = Settings.of(config)
    tracking = settings.tracking
    although_away = tracking.offline == "fallback" or context.sweep is not None
    others = threads.Others()
    with busy("checking the config, loading the data"):
        plan = ready(settings, although_away=although_away)
    if (warning := threads.crowded(plan, others)) is not None:
        reporter.warn(warning)
    with busy(f"opening {tracking.uri}"):
        store = Store.open(tracking.uri, settings.study, although_away=although_away)
        said = [*settle(store, context.sweep), forget_old(store.location.checkpoints)]
    for sentence in filter(None, said):
        reporter.note(sentence)
    check(plan, store.location.answers)
    return Keeper(plan, store, plan.in_effect(config), context, reporter)


@dataclass(frozen=True)
class Others:
    """What stands beside the student: its teacher, itself alone, and what a strategy obtained before it."""

    teacher: Obtained | None
    baseline: Obtained | None
    links: tuple[Obtained, ...]


def _result(data: Data, others: Others, student: NetworkResult, spans: Sequence[str]) -> RunResult:
    result = RunResult(
        teacher=others.teacher.result if others.teacher else None,
        baseline=others.baseline.result if others.baseline else None,
        student=student,
        validation_accuracy=student.measurement.get(names.VAL_ACCURACY_TOP1),
        test_samples=len(data.test),
        num_classes=data.num_classes,
        links=tuple(link.result for link in others.links),
    )
    return replace(result, remarks=tuple(remarks(result, spans)))


def obtain_teacher(keeper: Keeper, *, measured: bool = True) -> Obtained | None:
    """The teacher, if there is one, found or trained. measured: whether one that was found is measured again."""
    spec, settings, network = keeper.plan.specs.teacher, keeper.plan.settings.teacher, keeper.built.teacher
    if spec is None or settings is None or network is None:
        return None
    return keeper.obtain(Order(spec, network, reuse=settings.reuse, measured=measured))


def _baseline(keeper: Keeper, teacher: Obtained | None) -> Obtained | None:
    """The student alone: the same network, recipe and seed, on hard labels.

    Its fidelity to this job's teacher is no fact of its run: a baseline stands beside many teachers.
    """
    plan, spec, settings = keeper.plan, keeper.plan.specs.baseline, keeper.plan.settings.baseline
    if spec is None or settings is None:
        return None
    baseline = keeper.obtain(Order(spec, plan.network(spec), reuse=settings.reuse))
    if teacher is None:
        return baseline
    found = fidelity(baseline.logits, teacher.logits, plan.data.targets[plan.data.test])
    return replace(baseline, result=replace(baseline.result, measurement=baseline.result.measurement | found))


def _student(keeper: Keeper, others: Others, spans: Sequence[str], peers: list[NetworkResult]) -> Obtained:
    """The student; what was trained with it is added to `peers`."""
    plan, teacher, baseline, links = keeper.plan, others.teacher, others.baseline, others.links

    def extra(measurement: Measurement, logits: Tensor) -> Measurement:
        behind = [one.result.measurement for one in (teacher, *links) if one is not None]
        wall = {names.COST_CHAIN_WALL_S: chain_wall_s([*behind, measurement])}
        return wall | together(logits) | beside_others(measurement)

    def together(logits: Tensor) -> Measurement:
        if not (links and plan.strategy.measures_together):
            return {}
        said = [one.logits for one in links] + [logits]
        accuracy = predictive(mean_probability(said), plan.data.targets[plan.data.test])[names.TEST_ACCURACY_TOP1]
        return {names.TEST_ENSEMBLE_ACCURACY_TOP1: accuracy}

    def beside_others(measurement: Measurement) -> Measurement:
        if teacher is None or baseline is None:
            return {}
        gap = _gap(measurement, baseline, teacher, plan.data.targets[plan.data.test])
        own = baseline.result.measurement
        alone = {kept: own[key] for key, kept in names.OF_ALONE.items() if key in own}
        return alone if gap is None else {names.TEST_GAP_RECOVERED: gap, **alone}

    def done(run: Run, result: NetworkResult) -> None:
        whole = _result(plan.data, others, result, spans)
        run.log_text(report_markdown(whole), names.ARTIFACT_REPORT)
        run.set_tags({names.TAG_NOTE: "\n\n".join([verdict(whole), *whole.remarks])})
        if whole.remarks:
            run.set_tags({names.TAG_REMARKS: "\n".join(whole.remarks)})

    order = student_order(keeper, teacher)
    beside = {names.TAG_BASELINE_RUN: baseline.result.run_id} if baseline else {}
    if links:
        beside[names.TAG_LINK_RUN] = links[-1].result.run_id
    order = replace(
        order,
        teacher_logits=teacher.logits if teacher else None,
        tags={names.TAG_JOB_KEY: keeper.plan.specs.job_key(), **order.tags, **beside},
        extra=extra,
        done=done,
    )
    with with_peers(keeper, order) as (whole, measure_peers):
        student = keeper.obtain(whole)
        peers += measure_peers(student)
    return student


def _gap(student: Measurement, baseline: Obtained, teacher: Obtained, targets: Tensor) -> float | None:
    """The share of it that the student recovers, where it is more than chance."""
    teacher_right, alone_right = ((one.logits.argmax(dim=1).cpu() == targets).numpy() for one in (teacher, baseline))
    return gap_recovered(
        student[names.TEST_ACCURACY_TOP1],
        baseline.result.measurement[names.TEST_ACCURACY_TOP1],
        teacher.result.measurement[names.TEST_ACCURACY_TOP1],
        difference_error(teacher_right, alone_right),
    )


def student_order(keeper: Keeper, teacher: Obtained | None) -> Order:
    """The student, with what its run says of its lesson; it is trained anew every time."""
    built: Built = keeper.built
    spec = replace(keeper.plan.specs.student, node=built.student_node)
    taught = {}
    if teacher is not None:
        taught = {
            names.TAG_TEACHER_RUN: teacher.result.run_id,
            names.TAG_TEACHER_WEIGHTS_SHA256: teacher.result.weights_sha256,
        }
    told = [keeper.plan.strategy.learns(), *(term.loss.learns for term in built.bound.objective.terms.values())]
    if learned := "; ".join(dict.fromkeys(filter(None, told))):
        taught[names.TAG_LEARNED] = learned
    layers = {name: [described(pair) for pair in pairs] for name, pairs in built.bound.pairs.items()}
    return Order(spec, built.student, reuse=False, tags=taught, params={"layers": layers})
