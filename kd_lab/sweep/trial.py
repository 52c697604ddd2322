"""A trial of a search, in whichever process: the student alone, measured on the validation part; no test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.console import Reporter
from kd_lab.job.distil import distil
from kd_lab.job.job import begin, obtain_teacher, teacher_tags
from kd_lab.job.keeper import Context, Keeper, Order
from kd_lab.job.keys import job_key
from kd_lab.job.measured import timed
from kd_lab.job.plan import Plan
from kd_lab.job.search_settings import TIMED
from kd_lab.job.settings import Settings
from kd_lab.measures.cost import macs, parameters, weights_bytes
from kd_lab.store.run import Run
from kd_lab.sweep.states import TrialTask
from kd_lab.sweep.trials import Report
from kd_lab.training.callbacks.validation import Report as Told
from kd_lab.types import Measurement


def run_trial(
    config: Mapping[str, Any], context: Context, reporter: Reporter, task: TrialTask
) -> tuple[str, Measurement]:
    """Train a student from a composed, resolved config; its run, and what was measured.

    Raises:
        UserError: something in the config or the data cannot work; nothing was written.
        TrainingFailedError: training stopped by itself; its run is FAILED.
        PrunedError: others do better; its run is KILLED.
    """
    keeper = begin(config, context, reporter)
    plan = keeper.plan
    reporter.stage(names.TEACHER)
    settings = plan.settings.teacher
    teacher = obtain_teacher(keeper, settings, measured=False) if settings is not None else None
    teaching = teacher.network if teacher else None
    node, _ = plan.student(teaching)
    reporter.stage(names.TRIAL)
    report: Told | None = Report(task) if task.prunes else None

    def train(network: nn.Module, run: Run) -> Measurement:
        return distil(plan, plan.bound(network, teaching), network, teaching, run, report=report)

    order = Order(
        role=names.TRIAL,
        node=node,
        recipe=plan.settings.student.recipe,
        seed=plan.settings.seed,
        train=train,
        part=plan.student_part(),
        tags=teacher_tags(teacher),
    )
    return _kept(keeper, order, task.objectives)


def _kept(keeper: Keeper, order: Order, objectives: Sequence[str]) -> tuple[str, Measurement]:
    plan = keeper.plan
    network = plan.network(order.role, order.node, order.seed)
    with keeper.open(order) as run:
        measured = order.train(network, run)
        measured |= parameters(network) | macs(network, plan.data.example(1)) | weights_bytes(network)
        if set(objectives) & set(TIMED):
            measured |= timed(plan.bench, network)
        missing = [objective for objective in objectives if objective not in measured]
        if missing:
            raise TrainingFailedError(f"the last epoch has no {missing[0]}: the student's answers are not finite")
        final = {key: value for key, value in measured.items() if not key.startswith("val/")}
        run.log_measurement({**final, names.COST_TRACKING_S: run.seconds})
    return run.run_id, measured


@dataclass(frozen=True)
class Checked:
    """One config of a search, looked at beforehand: what its result follows from, or why it cannot be run."""

    key: str = ""
    reason: str = ""


def check_trials(configs: Sequence[Mapping[str, Any]]) -> list[Checked]:
    """Look at configs, all that can be wrong before training."""
    return [_checked(config) for config in configs]


def _checked(config: Mapping[str, Any]) -> Checked:
    try:
        plan = Plan.of(Settings.of(config))
        if not len(plan.data.validation):
            raise UserError(
                "sweep.search: configurations are chosen on the validation part, but there is none; "
                "expected dataset.validation=N, such as dataset.validation=100"
            )
        return Checked(key=job_key(plan))
    except (UserError, TrainingFailedError, OSError) as error:
        return Checked(reason=str(error))
