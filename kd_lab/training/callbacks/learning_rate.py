"""Applies the learning-rate schedule, every step."""

from typing import Any

import pytorch_lightning as pl

from kd_lab.training.recipe import Schedule


class LearningRate(pl.Callback):
    """Before optimizer step t, sets each parameter group's rate to `schedule(t, base=..., total_steps=...)`.

    The base rate of a group is the one the optimizer was built with.
    """

    def __init__(self, schedule: Schedule, total_steps: int) -> None:
        self.schedule = schedule
        self.total_steps = total_steps
        self._step = 0
        self._groups: list[tuple[dict[str, Any], float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember each group's base rate."""
        self._step = 0
        self._groups = [(group, group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set this step's rate."""
        for group, base in self._groups:
            group["lr"] = self.schedule(self._step, base=base, total_steps=self.total_steps)
        self._step += 1
