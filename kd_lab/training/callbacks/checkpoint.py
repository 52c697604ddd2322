"""Keeps the state of a training now and then, and has one that was interrupted go on from it."""

import time
from collections.abc import Mapping
from typing import cast

import pytorch_lightning as pl
from lightning_fabric.utilities import move_data_to_device
from torch import nn

from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.interrupts import Interrupts
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.state import State, Stateful, into_module, into_optimizer, into_random, whole
from kd_lab.training.states import States
from kd_lab.types import Batch


class Checkpoint(StepCallback):
    """Between two optimizer steps, every `states.every_s`: a look at the clock after each batch, and no more.

    It comes after all other callbacks, so that each of them has seen the last batch. For a training in one process,
    whose module counts its own batches.

    Args:
        label: what the training is called.
        states: where its states go.
        facts: what a state of it is known by.
        parts: what has a state beside network, losses, optimizer and random numbers, by name.
        cost: its clock stands still meanwhile.
        interrupts: one that waits is obeyed once a state is kept.
        found: the state to go on from.
    """

    def __init__(
        self,
        label: str,
        states: States,
        *,
        facts: State,
        parts: Mapping[str, Stateful],
        cost: Cost,
        interrupts: Interrupts,
        found: State | None = None,
    ) -> None:
        self.label = label
        self.states = states
        self.facts = facts
        self.parts = parts
        self.cost = cost
        self.interrupts = interrupts
        self.found = found

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Feed, step and epoch stand where they stood."""
        if self.found is None:
            return
        module = cast("TrainingModule", pl_module)
        module.steps_done = self.found["step"]
        module.feed.start(module.steps_done)
        for count in ("ready", "started", "processed", "completed"):
            setattr(trainer.fit_loop.epoch_progress.current, count, module.steps_done // _steps_per_epoch(module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All is on its device by now: fill it."""
        self._due = time.perf_counter() + self.states.every_s
        if self.found is None:
            return
        into_module(_step(cast("TrainingModule", pl_module)), self.found["module"])
        into_optimizer(trainer.optimizers[0], self.found["optimizer"])
        near = move_data_to_device(self.found["parts"], pl_module.device)
        for name, part in self.parts.items():
            part.load_state_dict(near[name])
        trainer.callback_metrics.update(self.found["metrics"])
        into_random(self.found["random"])
        self.found = None  # the memory is wanted

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Keep a state if it is time to; at the end of an epoch that waits until the epoch has been looked at."""
        if not batch.last or not (self.interrupts.waits or time.perf_counter() >= self._due):
            return
        if module.steps_done % _steps_per_epoch(module) and module.steps_done < module.recipe.steps:
            self._keep(trainer, module)
            self.interrupts.obey()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep a state if it is time to, and if the training goes on."""
        module = cast("TrainingModule", pl_module)
        ends = trainer.should_stop or module.steps_done >= module.recipe.steps
        if not ends and (self.interrupts.waits or time.perf_counter() >= self._due):
            self._keep(trainer, module)
            self.interrupts.obey()

    def _keep(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        with self.cost.paused(module.device):
            state = whole(self.facts, _step(module), module.steps_done, self.parts)
            state |= {"optimizer": trainer.optimizers[0].state_dict(), "metrics": dict(trainer.callback_metrics)}
            self.states.save(self.label, module.steps_done, state)
        self._due = time.perf_counter() + self.states.every_s


def _step(module: TrainingModule) -> nn.Module:
    return cast("nn.Module", module.step)


def _steps_per_epoch(module: TrainingModule) -> int:
    return -(-len(module.feed) // module.recipe.accumulate)
