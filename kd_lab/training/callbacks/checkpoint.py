"""Keeps the state of a training now and then, and has one that was interrupted go on from it."""

import io
import time
from collections.abc import Collection, Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import distributed, nn

from kd_lab import names
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.interrupts import Interrupts
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.state import (
    State,
    Stateful,
    into_module,
    into_optimizer,
    into_random,
    of_module,
    of_optimizer,
    of_random,
    plain,
    whole,
)
from kd_lab.training.states import MAIN, States
from kd_lab.types import Batch

SHORT_S = 10.0
"""A member or first stage that took less is trained again rather than kept."""


class Checkpoint(StepCallback):
    """Between two optimizer steps, every `states.every_s`: a look at the clock after each batch, and no more.

    It comes after all other callbacks, so that each of them has seen the last batch. Where several processes train, the
    first one says when; all keep after the same step, and the first one writes, beside its own, what the others have
    of their own: random numbers, and the states of callbacks that are `of_process`.

    Args:
        label: what the training is called.
        states: where its states go.
        facts: what a state of it is known by.
        parts: what has a state beside network, losses, optimizer and random numbers, by name.
        cost: its clock stands still meanwhile.
        interrupts: one that waits is obeyed once a state is kept.
        found: the state to go on from.
        beside: of the parts, those that are kept of the end of a training that another one follows; see `finish`.
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
        beside: Collection[str] = (),
    ) -> None:
        self.label = label
        self.states = states
        self.facts = facts
        self.parts = parts
        self.cost = cost
        self.interrupts = interrupts
        self.found = found
        self.beside = beside
        self._random = of_random()

    def __getstate__(self) -> dict[str, Any]:
        """As bytes: thousands of tensors would be as many shared files."""
        file = io.BytesIO()
        torch.save(self.found, file)
        return {**self.__dict__, "found": file.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "found": torch.load(io.BytesIO(state["found"]), weights_only=True)}

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
        self._is_first = trainer.is_global_zero
        if (shared := self.interrupts.shared) is not None:
            self.interrupts.__enter__()  # it ends with this process
            if self._is_first:
                shared.begin()
        if self.found is None:
            return
        into_module(_step(cast("TrainingModule", pl_module)), self.found["module"])
        into_optimizer(trainer.optimizers[0], self.found["optimizer"])
        own = self.found if self._is_first else self.found["others"][trainer.global_rank - 1]
        for name, state in move_data_to_device(own["parts"], pl_module.device).items():
            self.parts[name].load_state_dict(state)
        trainer.callback_metrics.update(self.found["metrics"])
        into_random(own["random"])
        self.found = None  # the memory is wanted

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Keep a state if it is time to; at the end of an epoch that waits until the epoch has been looked at."""
        if not batch.last or not self._is_time(module.steps_done):
            return
        if module.steps_done % _steps_per_epoch(module) and module.steps_done < module.recipe.steps:
            self._keep(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep a state if it is time to, and if the training goes on; at the end of a part of it, here or later."""
        module = cast("TrainingModule", pl_module)
        if trainer.should_stop or module.steps_done >= module.recipe.steps:
            return
        ends = self.states.ends_at(module.steps_done)
        if ends or self._is_time(module.steps_done):
            self._keep(trainer, module)
        trainer.should_stop = ends

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the end of a training that another one follows, if it took long."""
        cost = {name: float(value) for name, value in trainer.callback_metrics.items()}
        took = cost[names.COST_TRAIN_WALL_S]
        if self.states.training == MAIN or took < min(SHORT_S, self.states.every_s) or not self._is_first:
            return
        module = cast("TrainingModule", pl_module)
        parts = {name: self.parts[name] for name in self.beside}
        state = whole(self.facts, module.at_end or of_module(_step(module)), module.steps_done, parts)
        if trainer.world_size > 1:  # the process that goes on has drawn nothing meanwhile
            state["random"] = self._random
        self.states.save(self.label, module.steps_done, {**state, "cost": cost}, kept=1)

    def _is_time(self, step: int) -> bool:
        if (shared := self.interrupts.shared) is None:
            return self._is_due()
        if shared.step == step:
            return True
        if self._is_first and self._is_due():
            shared.step = step + 1
        return False

    def _is_due(self) -> bool:
        return self.interrupts.waits or time.perf_counter() >= self._due

    def _keep(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        """In all processes, and end if one of them was interrupted."""
        with self.cost.paused(module.device):
            others = self._others(trainer)
            weights, optimizer = of_module(_step(module)), of_optimizer(trainer.optimizers[0])  # of all processes
            if self._is_first:
                state = whole(self.facts, weights, module.steps_done, self.parts)
                state |= {"optimizer": optimizer, "metrics": dict(trainer.callback_metrics)}
                self.states.save(self.label, module.steps_done, state | {"others": others})
        self._due = time.perf_counter() + self.states.every_s
        if trainer.strategy.reduce_boolean_decision(self.interrupts.waits, all=False):
            self.interrupts.obey()

    def _others(self, trainer: pl.Trainer) -> list[State]:
        """What each other process has of its own, in the first one."""
        if trainer.world_size == 1:
            return []
        parts = {
            name: part.state_dict()
            for name, part in self.parts.items()
            if isinstance(part, StepCallback) and part.of_process
        }
        found: list[Any] = [None] * trainer.world_size
        own = move_data_to_device(plain({"parts": parts, "random": of_random()}), "cpu")
        distributed.gather_object(own, found if self._is_first else None)
        return found[1:]


def _step(module: TrainingModule) -> nn.Module:
    return cast("nn.Module", module.step)


def _steps_per_epoch(module: TrainingModule) -> int:
    return -(-len(module.feed) // module.recipe.accumulate)
