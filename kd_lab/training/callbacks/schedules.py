"""Applies every schedule, every step: the learning rate's, and those of the step (a weight, a temperature)."""

from typing import Any

import pytorch_lightning as pl

from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.recipe import Schedule


class Schedules(StepCallback):
    """Before optimizer step t, sets what is scheduled to `schedule(t, base=..., total_steps=...)`.

    The base rate of each parameter group is the one the optimizer was built with.
    """

    def __init__(self, learning_rate: Schedule, total_steps: int) -> None:
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self._groups: list[tuple[dict[str, Any], float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember each group's base rate."""
        self._groups = [(group, group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]

    def before_batch(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        """Set this step's values."""
        for group, base in self._groups:
            group["lr"] = self.learning_rate(module.steps_done, base=base, total_steps=self.total_steps)
        module.step.at_step(module.steps_done, self.total_steps)
