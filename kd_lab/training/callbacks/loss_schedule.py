"""Applies the schedules of the objective (a weight, a temperature), every step."""

from typing import Any

import pytorch_lightning as pl

from kd_lab.training.distiller import Distiller


class LossSchedule(pl.Callback):
    """Before optimizer step t, sets everything scheduled to `schedule(t, base=..., total_steps=...)`."""

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin at step 0."""
        self._step = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set this step's values."""
        assert isinstance(pl_module, Distiller)
        pl_module.objective.at_step(self._step, self.total_steps)
        self._step += 1
