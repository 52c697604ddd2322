"""A trial of a search, in whichever process: the student alone, measured on the validation part; no test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from kd_lab import names
from kd_lab.errors import TrainingFailedError, UserError
from kd_lab.job.beside import obtain_links
from kd_lab.job.console import Reporter
from kd_lab.job.describe import strategy_name
from kd_lab.job.job import begin, obtain_teacher, student_order
from kd_lab.job.keeper import Keeper
from kd_lab.job.measured import timed
from kd_lab.job.order import Context, Order
from kd_lab.job.plan import Plan
from kd_lab.job.ready import ready
from kd_lab.job.resume import why_none
from kd_lab.job.search_settings import TIMED
from kd_lab.job.settings import Settings
from kd_lab.measures.cost import macs, parameters, weights_bytes
from kd_lab.sweep.states import TrialTask
from kd_lab.sweep.trials import Pruning
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
    keeper, order = begun(config, context, reporter)
    report = Pruning(task) if task.prunes else None
    return _measured(keeper, replace(order, report=report), task.objectives)


def begun(config: Mapping[str, Any], context: Context, reporter: Reporter) -> tuple[Keeper, Order]:
    """All that stands before a student that is tried out, and the order for it: no test part is read for either."""
    keeper = begin(config, context, reporter)
    reporter.doing(names.TEACHER)
    teacher = obtain_teacher(keeper, measured=False)
    obtain_links(keeper, measured=False)
    order = student_order(keeper, teacher)
    reporter.doing(names.TRIAL)
    return keeper, replace(order, spec=replace(order.spec, role=names.TRIAL), params={})


def _measured(keeper: Keeper, order: Order, objectives: Sequence[str]) -> tuple[str, Measurement]:
    network = order.network
    with keeper.open(order) as run:
        measured = keeper.trained(order, run)
        measured |= costs(keeper, network)
        if set(objectives) & set(TIMED):
            measured |= timed(keeper.plan.bench, network)
        missing = [objective for objective in objectives if objective not in measured]
        if missing:
            raise TrainingFailedError(f"the last epoch has no {missing[0]}: the student's answers are not finite")
        final = {key: value for key, value in measured.items() if not key.startswith("val/")}
        run.log_measurement({**final, names.COST_TRACKING_S: run.seconds})
    return run.run_id, measured


def costs(keeper: Keeper, network: nn.Module) -> Measurement:
    """What a network that is tried out costs, as far as no clock is needed for it."""
    return parameters(network) | macs(network, keeper.plan.data.example(1)) | weights_bytes(network)


@dataclass(frozen=True)
class Checked:
    """One config of a search, looked at beforehand: what its result follows from, or why it cannot be run.

    steps, steps_per_epoch: of the student's training.
    """

    key: str = ""
    reason: str = ""
    steps: int = 0
    steps_per_epoch: int = 0


def check_trials(configs: Sequence[Mapping[str, Any]], rounds: int | None) -> list[Checked]:
    """Look at configs, all that can be wrong before training; rounds: into so many parts a training is to be cut."""
    return [_checked(config, rounds) for config in configs]


def _checked(config: Mapping[str, Any], rounds: int | None) -> Checked:
    try:
        plan = ready(Settings.of(config))
        if not len(plan.data.validation):
            raise UserError(
                "sweep.search: configurations are chosen on the validation part, but there is none; "
                "expected dataset.validation=N, such as dataset.validation=100"
            )
        steps = plan.student_steps()
        per_epoch = plan.settings.student.recipe.steps_per_epoch(len(plan.student_rows()))
        if rounds is not None:
            _check_parts(plan, rounds, -(-steps // per_epoch))
        return Checked(plan.specs.job_key(), steps=steps, steps_per_epoch=per_epoch)
    except (UserError, TrainingFailedError, OSError) as error:
        return Checked(reason=str(error))


def _check_parts(plan: Plan, rounds: int, epochs: int) -> None:
    """Raise a UserError where a training cannot be cut into so many parts."""
    assert plan.built is not None
    if rounds > epochs:
        raise UserError(
            f"sweep.search.pbt.rounds={rounds}: a round is of whole epochs, and the student's training has {epochs}; "
            f"expected at most {epochs}, or a longer training"
        )
    if (reason := why_none(plan, plan.specs.student)) is not None:
        raise UserError(f"sweep=pbt: goes on from states of trainings, and none can be kept: {reason}")
    if plan.settings.student.recipe.early_stopping is not None:
        raise UserError("student.recipe.early_stopping: the members of a population are trained alike; expected null")
    moved = [f"loss.{setting}" for _, setting in plan.built.bound.objective.scheduled]
    if plan.strategy.replaces_loss and moved:
        raise UserError(
            f"strategy={strategy_name(plan.settings.strategy or {})}: has terms of its own in the loss's place, so "
            f"moving {', '.join(moved)} changes nothing; expected another strategy, or KEY=VALUE to fix each"
        )
    if plan.built.bound.stages:
        raise UserError(
            f"loss={next(iter(plan.built.bound.stages))}: has a first stage, which sweep=pbt cannot cut into rounds; "
            "expected a loss without, or sweep=optuna"
        )
