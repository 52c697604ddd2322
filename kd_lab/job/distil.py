"""Training a student for what it was bound to: the first stages of its losses, then the objective."""

import functools
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kd_lab import names
from kd_lab.insight.int8 import keep_ranges
from kd_lab.job.answers import Around, kept, told
from kd_lab.job.bind import Bound, meet
from kd_lab.job.build import call
from kd_lab.job.fit import Fit, fit
from kd_lab.job.lessons import Lessons
from kd_lab.job.plan import Plan
from kd_lab.job.threads import threads
from kd_lab.schedules.constant import constant
from kd_lab.store.run import Run
from kd_lab.strategies.common.strategy import AsksItself, Illustrated, LearnsRanges, Training
from kd_lab.training.callbacks.gradients import unseen
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.callbacks.validation import EpochReport
from kd_lab.training.objective import Objective
from kd_lab.training.recipe import Recipe
from kd_lab.training.states import States
from kd_lab.types import Measurement, Step


def distil(
    plan: Plan,
    network: nn.Module,
    run: Sink,
    around: Around,
    *,
    report: EpochReport | None = None,
    best: Path | None = None,
    states: States | None = None,
) -> Measurement:
    """Train `network`, the student that the plan built, in place; what it cost, first stages included."""
    assert plan.built is not None
    bound = plan.built.bound
    teachers = [(tutor, tutor.built.teacher) for tutor in plan.taught_by if tutor.built and tutor.built.teacher]
    if teachers:
        meet(bound, network, teachers[-1][1], plan.data)
    rows = plan.student_rows()
    recipe = plan.recipe("student.recipe", plan.settings.student.recipe, len(rows))
    lessons = (
        [Lessons.of(tutor, teacher) for tutor, teacher in teachers] if plan.distils and plan.strategy.asks_rows else []
    )
    began = time.perf_counter()
    answering = tuple(kept(lesson, around) for lesson in lessons)
    asking_s = time.perf_counter() - began if lessons else 0.0
    main = Fit(
        label="student",
        network=network,
        objective=bound.objective,
        recipe=recipe,
        rows=rows,
        seed=plan.settings.seed,
        teachers=answering,
        taps=bound.student_taps,
        views=bound.views,
        report=report,
        lines=around.lines,
        threads=threads(plan, plan.specs.student, network),
        best=best,
        states=states,
        gradients=plan.settings.measure.gradients,
    )
    costs = [_first_stage(plan, bound, name, main, run) for name in bound.stages]
    if plan.settings.strategy is not None:
        step = _step(plan, main, tuple(teacher for _, teacher in teachers))
        main = replace(main, step=step, recipe=plan.strategy.recipe(recipe))
    if main.gradients and (why := unseen(main.step, main.objective)) is not None:
        around.tell(f"measure.gradients=true: gradients are not followed, because {why}")
    costs.append(fit(plan, main, run))
    if isinstance(main.step, LearnsRanges):
        keep_ranges(network, main.step.activation_ranges())
    if isinstance(main.step, Illustrated) and isinstance(run, Run):
        for artifact, figure in main.step.figures().items():
            run.log_figure(figure, artifact)
    for lesson, answers in zip(lessons, answering, strict=True):
        if (line := told(lesson, answers)) is not None:
            around.tell(line)
    found = together(costs, asking_s)
    asks = main.step if isinstance(main.step, AsksItself) else None
    if (answering or asks) and plan.devices.count == 1:  # each process counts its own
        asked = asks.teacher_samples if asks else sum(teacher.samples for teacher in answering)
        found[names.COST_TEACHER_SAMPLES] = float(asked)
    return found


def _step(plan: Plan, main: Fit, networks: tuple[nn.Module, ...]) -> Step:
    """What the job's strategy does with a batch."""
    assert plan.built is not None
    rows, recipe = plan.data.validation, main.recipe
    size = min(recipe.batch_size, len(rows))
    as_it_is = replace(recipe, batch_size=size, accumulate=1, augment=False, mix=None)
    training = Training(
        main.network,
        main.objective,
        main.teachers,
        networks,
        main.taps,
        plan.built.peers,
        plan.data,
        plan.feed(rows, as_it_is, main.seed, workers=0) if size else None,
        recipe.steps,
        main.seed,
        compiled=recipe.compile,
        steps_per_epoch=-(-len(main.rows) // recipe.step_size),
        pairs=plan.built.bound.pairs,
    )
    step: Step = call("strategy", plan.strategy.step, {"training": training})
    return step


def _first_stage(plan: Plan, bound: Bound, name: str, main: Fit, run: Sink) -> Measurement:
    """Minimise the stage's loss alone, at the student's learning rate without decay; its parts are frozen then."""
    stage, term = bound.stages[name]
    stage.loss.requires_grad_(True)
    epoch = -(-len(main.rows) // main.recipe.step_size)
    recipe: Recipe = replace(main.recipe, steps=stage.epochs * epoch, schedule=constant, ema=None)
    job = replace(
        main,
        label=f"student, first stage of {name}",
        network=main.network if stage.trains_student else Absent(),
        objective=Objective({name: term if stage.trains_student else replace(term, student_slots=())}, 0.0),
        recipe=recipe,
        taps=main.taps if stage.trains_student else (),
        rename=functools.partial(names.of_stage, name),
        validate=False,
        report=None,
        best=None,
        gradients=False,
        states=None if main.states is None else main.states.of(f"stage-{name}"),
    )
    modes = [(part, part.training) for part in main.network.modules()]
    cost = fit(plan, job, run)
    for part, training in modes:
        part.training = training  # `fit` leaves the network in eval mode, and Lightning would go on in it
    stage.loss.requires_grad_(False)
    return cost


class Absent(nn.Module):
    """Stands for the student where only parts of a loss are trained: no logits, nothing to learn."""

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """[B, ...] to [B, 0]."""
        first = next(iter((*inputs, *named.values())))
        return torch.zeros(len(first), 0, device=first.device)


def together(costs: list[Measurement], asking_s: float = 0.0) -> Measurement:
    """What several trainings cost together; other measurements are the last one's.

    asking_s: seconds before the first of them, in which a teacher was asked for all that it would be asked.
    """
    wall = sum(c[names.COST_TRAIN_WALL_S] for c in costs) + asking_s
    samples = sum(c[names.COST_TRAIN_SAMPLES_PER_S] * c[names.COST_TRAIN_WALL_S] for c in costs)
    return costs[-1] | {
        names.COST_TRAIN_WALL_S: wall,
        names.COST_TRAIN_SAMPLES_PER_S: samples / wall,
        names.COST_TRAIN_STEPS: sum(c[names.COST_TRAIN_STEPS] for c in costs),
        names.COST_TRAIN_PEAK_MEMORY_BYTES: max(c[names.COST_TRAIN_PEAK_MEMORY_BYTES] for c in costs),
        **({names.COST_TRAIN_ASKING_S: asking_s} if asking_s else {}),
    }
