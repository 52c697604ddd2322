"""Accuracy and NLL on the validation part, at the end of every epoch."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lab import names
from kd_lab.measures.predict import predict
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.distiller import Distiller

Report = Callable[[int, int, Mapping[str, float]], None]
"""Told, after each epoch, its number from 1, how many there are, and what was measured; may raise `PrunedError`."""


class Validation(pl.Callback):
    """Predicts the whole validation part in one process: nothing is padded or counted twice under DDP."""

    def __init__(
        self,
        sink: Sink,
        inputs: Tensor,
        targets: Tensor,
        rename: Callable[[str], str] = str,
        report: Report | None = None,
        *,
        cost: Cost | None = None,
    ) -> None:
        self.sink = sink
        self.inputs = inputs
        self.targets = targets
        self.rename = rename
        self.report = report
        self.cost = cost
        self._steps = 0

    def on_train_batch_start(self, *_: object) -> None:
        """Count the optimizer steps, the x-axis of every curve."""
        self._steps += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure and hand on; the other processes need not wait, the next gradient exchange does."""
        if not trainer.is_global_zero:
            return
        with self.cost.paused(pl_module.device) if self.cost is not None else nullcontext():
            self._measure(trainer, pl_module)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Distiller)
        precision = pl_module.recipe.precision
        logits = predict(pl_module.network, self.inputs, device=pl_module.device, precision=precision)
        if not bool(logits.isfinite().all()):
            return  # the recorder is about to stop this training, with the step and the term that did it
        accuracy = (logits.argmax(-1) == self.targets).double().mean()
        nll = torch.nn.functional.cross_entropy(logits.double(), self.targets)
        values = {names.VAL_ACCURACY_TOP1: accuracy, names.VAL_NLL_NATS: nll}
        trainer.callback_metrics.update(values)
        measured = {key: float(value) for key, value in values.items()}
        self.sink.log(self._steps, {self.rename(key): value for key, value in measured.items()})
        if self.report is not None:
            assert trainer.max_epochs is not None
            self.report(trainer.current_epoch + 1, trainer.max_epochs, measured)
