"""One training: a Lightning Trainer around ready objects, quiet, with its interruptions told truthfully."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from kd_lab import names
from kd_lab.errors import PrunedError, TrainingFailedError, UserError
from kd_lab.feeds.streaming import lost_worker
from kd_lab.insight.taps import Tap
from kd_lab.job.checks import callbacks_of
from kd_lab.job.devices import Devices
from kd_lab.job.plan import Plan
from kd_lab.measures.latency import torch_threads
from kd_lab.outside.scratch import scratch
from kd_lab.training.callbacks.average import Average
from kd_lab.training.callbacks.best import Best
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.callbacks.gradients import Gradients
from kd_lab.training.callbacks.process_group import ProcessGroup
from kd_lab.training.callbacks.progress import ProgressBar, ProgressLines
from kd_lab.training.callbacks.recorder import Recorder, Sink
from kd_lab.training.callbacks.schedules import Schedules
from kd_lab.training.callbacks.validation import EpochReport, Validation
from kd_lab.training.callbacks.whole import Whole
from kd_lab.training.distiller import Distiller
from kd_lab.training.module import TrainingModule
from kd_lab.training.objective import Objective
from kd_lab.training.quiet import QuietDDP, QuietFSDP, quiet
from kd_lab.training.ranks import Ranks, shared
from kd_lab.training.recipe import Recipe
from kd_lab.training.resuming import Resuming
from kd_lab.training.states import States
from kd_lab.types import Augment, Measurement, Step, Teacher

FORMAT = 2
"""Of what a state holds."""
PRECISIONS = {"32": "32-true"}
LOST = (
    "one of the processes that train was killed or ended by itself ({}), most likely for want of memory; take smaller "
    "batches or fewer processes (trainer.devices=N), or give more memory"
)

FOUND = (
    names.COST_TRAIN_WALL_S,
    names.COST_TRAIN_SAMPLES_PER_S,
    names.COST_TRAIN_STEPS,
    names.COST_TRAIN_PEAK_MEMORY_BYTES,
    names.VAL_ACCURACY_TOP1,
    names.VAL_NLL_NATS,
    names.VAL_BEST_ACCURACY_TOP1,
    names.VAL_BEST_EPOCH,
    names.TRAIN_STOPPED_EPOCH,
)
"""What a training measures of itself."""


@dataclass(frozen=True)
class Fit:
    """What one training needs beside the plan.

    taps: the student's layers that are listened to. validate: whether accuracy on the validation part is followed.
    report: who is told of it, after each epoch. lines: whether its progress is told in lines, for want of a terminal.
    threads: torch's, meanwhile; None leaves them. best: the file that the weights of the best epoch go to, if any.
    states: where its state is kept now and then, and whence it goes on. step: what is done with a batch; None: the
    network is distilled, or trained on labels alone, as the objective says. gradients: whether those of the terms are
    followed, once an epoch.
    """

    label: str
    network: nn.Module
    objective: Objective
    recipe: Recipe
    rows: torch.Tensor
    seed: int
    teachers: tuple[Teacher, ...] = ()
    rename: Callable[[str], str] = str
    taps: tuple[Tap, ...] = ()
    views: tuple[Augment, ...] = ()
    validate: bool = True
    report: EpochReport | None = None
    lines: bool = False
    threads: int | None = None
    best: Path | None = None
    states: States | None = None
    step: Step | None = None
    gradients: bool = False


def fit(plan: Plan, job: Fit, sink: Sink) -> Measurement:
    """Train `job.network` in place and say what it cost (`cost/train_*`); with `job.states`, from the last of them on.

    Raises:
        TrainingFailedError: The loss stopped being finite, or no step changed a weight.
        PrunedError: The report stopped it.
        KeyboardInterrupt: Somebody stopped it.
    """
    feed = plan.feed(job.rows, job.recipe, job.seed, job.views)
    step = job.step or _distiller(job)
    own = callbacks_of(plan.settings)
    resuming, before = _resuming(plan, job, step, sink), _sums(step)
    if resuming is not None and (cost := resuming.finished()) is not None:
        _check_changed(job, before, step)
        job.network.eval()
        return cost
    module = TrainingModule(step, job.recipe, feed, watched=bool(own), whole_batch=plan.devices.sync_batchnorm)
    torch.manual_seed(job.seed)
    with scratch() as folder, quiet(), _in_order(job), torch_threads(job.threads):
        trainer = _trainer(plan, job, [*_callbacks(plan, job, sink, resuming), *own], feed.epochs, folder)
        try:
            with nullcontext() if resuming is None else resuming.interrupts:
                _run(trainer, module)
        finally:
            step.release()
    _check_changed(job, before, step)
    job.network.eval()
    return {key: float(trainer.callback_metrics[key]) for key in FOUND if key in trainer.callback_metrics}


def _sums(step: Step) -> list[float]:
    """What a training that does anything changes."""
    parameters = cast("nn.Module", step).parameters()
    return [float(p.detach().double().sum()) for p in parameters if p.requires_grad]


def _check_changed(job: Fit, before: list[float], step: Step) -> None:
    if _sums(step) == before:
        raise TrainingFailedError(
            f"{job.label}: {job.recipe.steps:,} steps changed no weight; expected a larger learning rate, and "
            f"gradients that are finite at precision {job.recipe.precision}"
        )


def _distiller(job: Fit) -> Step:
    (teacher,) = job.teachers or (None,)
    return Distiller(job.network, job.objective, teacher=teacher, taps=job.taps, compiled=job.recipe.compile)


@contextmanager
def _in_order(job: Fit) -> Iterator[None]:
    """Maps lie in memory as the recipe wants them, for as long as the training takes; the weights decide."""
    if job.recipe.channels_last:
        job.network.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        if job.recipe.channels_last:
            job.network.to(memory_format=torch.contiguous_format)


def _resuming(plan: Plan, job: Fit, step: Step, sink: Sink) -> Resuming | None:
    if job.states is None:
        return None
    facts = {
        "format": FORMAT,
        "version of torch": str(torch.__version__),
        "device": plan.devices.main.type,
        "trainer.devices": plan.devices.count,
        "trainer.sync_batchnorm": plan.devices.sync_batchnorm,
        "trainer.threads": job.threads or torch.get_num_threads(),
        "tracking.every_n_steps": plan.settings.tracking.every_n_steps,
        "seed": job.seed,
        "steps": job.recipe.steps,
        "teacher": ", ".join(teacher.identity for teacher in job.teachers) or "none",
    }
    beside = {f"teacher{i or ''}": teacher for i, teacher in enumerate(job.teachers)}
    return Resuming(
        job.label,
        job.states,
        facts=facts,
        step=cast("nn.Module", step),
        steps=job.recipe.steps,
        sink=sink,
        beside=beside,
        shared=shared(plan.devices.count, plan.devices.place),
    )


def _callbacks(plan: Plan, job: Fit, sink: Sink, resuming: Resuming | None) -> list[pl.Callback]:
    if resuming is not None:
        sink = resuming.curves
    cost = Cost()
    callbacks: list[pl.Callback] = [
        Schedules(job.recipe.schedule, job.recipe.steps),
        Recorder(sink, plan.settings.tracking.every_n_steps, job.rename),
        cost,
        ProgressBar(job.label, job.recipe.steps),
        ProcessGroup(),
    ]
    if job.lines:
        callbacks.append(ProgressLines(job.label, job.recipe.steps))
    if job.gradients:
        callbacks.append(Gradients(sink, -(-len(job.rows) // job.recipe.step_size), job.rename, cost))
    average = None if job.recipe.ema is None else Average(job.recipe.ema)
    if average is not None:
        callbacks.append(average)
    rows = plan.data.validation
    follow = job.validate and len(rows) > 0
    whole = Whole(cost, follow=follow) if plan.devices.sharded else None
    if whole is not None:
        callbacks.append(whole)
    if follow:
        callbacks.append(
            Validation(
                sink,
                plan.data.rows(rows),
                job.rename,
                job.report,
                cost=cost,
                shown=average or whole,
                best=None if job.best is None else Best(job.best),
                patience=job.recipe.early_stopping,
            )
        )
    return callbacks if resuming is None else [*callbacks, resuming.callback(cost, callbacks)]


def _trainer(plan: Plan, job: Fit, callbacks: list[pl.Callback], epochs: int, scratch: str) -> pl.Trainer:
    place = plan.devices.place
    # Said, because Lightning would else take a job of SLURM's for one of several processes that SLURM started.
    environment = LightningEnvironment() if place is None else TorchElasticEnvironment()
    return pl.Trainer(
        accelerator=plan.devices.accelerator,
        devices=plan.devices.count if place is None else place.local_world,
        num_nodes=1 if place is None else place.machines,
        plugins=[environment],
        strategy=_strategy(plan.devices, job),
        precision=PRECISIONS.get(job.recipe.precision, job.recipe.precision),  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=scratch,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _strategy(devices: Devices, job: Fit) -> str | QuietDDP:
    """A loss of layers may leave the classifier without a gradient, which DDP must be told.

    It is told of more than two processes, too: gradients are then summed in the same order from the first step on,
    where they would else be put in another one after it, and a training that goes on would round in its own way.
    """
    if devices.count == 1:
        return devices.strategy
    ranks = None if devices.place is None else Ranks(devices.place)
    if devices.sharded:
        return QuietFSDP(threads=job.threads, ranks=ranks)
    unused = bool(job.taps) or (devices.accelerator == "cpu" and devices.count > 2)
    return QuietDDP(find_unused_parameters=unused, threads=job.threads, ranks=ranks)


def _run(trainer: pl.Trainer, module: TrainingModule) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module)
    except SystemExit as error:
        # Lightning 2.6 turns Ctrl-C into SystemExit(1), leaves SIGINT ignored, and those that it spawned at work.
        signal.signal(signal.SIGINT, handler)
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)
        said = error.__context__
        raise KeyboardInterrupt(*said.args if isinstance(said, KeyboardInterrupt) else ()) from error
    except ProcessRaisedException as error:
        if str(error).rstrip().endswith("KeyboardInterrupt"):
            raise KeyboardInterrupt from error
        for kind in (TrainingFailedError, PrunedError, UserError):
            told = re.search(rf"{kind.__name__}: (.+)", str(error))
            if told:
                raise kind(told[1]) from error
        _check_workers(error)
        if "by peer" in str(error):  # the other one is gone, and this one was the first to be seen
            raise TrainingFailedError(LOST.format("it answers no more")) from error
        raise
    except ProcessExitedException as error:
        raise TrainingFailedError(LOST.format(error)) from error
    except RuntimeError as error:  # PyTorch raises it wherever the training is, once a worker is gone
        _check_workers(error)
        raise


def _check_workers(error: Exception) -> None:
    """Raise a TrainingFailedError if a process that reads has ended by itself."""
    if (lost := lost_worker(str(error))) is not None:
        raise TrainingFailedError(lost) from error
