"""Accuracy and NLL on the validation part, at the end of every epoch."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lab import names
from kd_lab.measures.predict import predict
from kd_lab.training.callbacks.average import Average
from kd_lab.training.callbacks.best import Best
from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.callbacks.recorder import Sink
from kd_lab.training.callbacks.whole import Whole
from kd_lab.training.module import TrainingModule
from kd_lab.training.state import State
from kd_lab.types import Rows

EpochReport = Callable[[int, int, Mapping[str, float]], None]
"""Told, after each epoch, its number from 1, how many there are, and what was measured; may raise `PrunedError`."""


class Validation(pl.Callback):
    """Predicts the whole validation part in one process: nothing is padded or counted twice under DDP.

    Of the network, or of what stands for it: the average of its weights, where that is kept; the whole of one that is
    shared out.

    Args:
        sink: where what was measured goes.
        rows: the validation part.
        rename: maps a key to the one it is kept under.
        report: told of it.
        cost: its clock stands still meanwhile.
        shown: what has the network that is followed and kept; None: the step.
        best: keeps the weights of the best epoch.
        patience: so many epochs without a better accuracy end the training.
    """

    def __init__(
        self,
        sink: Sink,
        rows: Rows,
        rename: Callable[[str], str] = str,
        report: EpochReport | None = None,
        *,
        cost: Cost | None = None,
        shown: Average | Whole | None = None,
        best: Best | None = None,
        patience: int | None = None,
    ) -> None:
        self.sink = sink
        self.rows = rows
        self.rename = rename
        self.report = report
        self.cost = cost
        self.shown = shown
        self.best = best
        self.patience = patience
        self._most, self._most_at = -1.0, 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure and hand on; the other processes need not wait, the next gradient exchange does."""
        if trainer.is_global_zero:
            with self.cost.paused(pl_module.device) if self.cost is not None else nullcontext():
                self._measure(trainer, pl_module)
        if self.patience is not None:
            self._stop_if_all_is_said(trainer, self.patience)

    def state_dict(self) -> State:
        """The best epoch so far, and its weights where they are kept."""
        best = {} if self.best is None else self.best.state_dict()
        return {"most": self._most, "most_at": self._most_at, "best": best}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on from there."""
        self._most, self._most_at = state_dict["most"], state_dict["most_at"]
        if self.best is not None:
            self.best.load_state_dict(state_dict["best"])

    def _stop_if_all_is_said(self, trainer: pl.Trainer, patience: int) -> None:
        """In every process or in none, and not after the last epoch, which ends by itself."""
        epoch, total = trainer.current_epoch + 1, trainer.max_epochs
        tired = trainer.is_global_zero and epoch - self._most_at >= patience and epoch != total
        if trainer.strategy.reduce_boolean_decision(tired, all=False):
            trainer.should_stop = True
            trainer.callback_metrics[names.TRAIN_STOPPED_EPOCH] = torch.tensor(float(epoch))

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast("TrainingModule", pl_module)
        network = module.step.network if self.shown is None else self.shown.network
        logits = predict(network, self.rows, device=module.device, precision=module.recipe.precision)
        if not bool(logits.isfinite().all()):
            return  # the recorder is about to stop this training, with the step and the term that did it
        targets = self.rows.targets
        values = _measured(logits, targets)
        accuracy = values[names.VAL_ACCURACY_TOP1]
        trainer.callback_metrics.update(values)
        measured = {key: float(value) for key, value in values.items()}
        if measured[names.VAL_ACCURACY_TOP1] > self._most:
            self._most, self._most_at = measured[names.VAL_ACCURACY_TOP1], trainer.current_epoch + 1
        if self.best is not None and self.best.see(network, self._most):
            best = {names.VAL_BEST_ACCURACY_TOP1: accuracy, names.VAL_BEST_EPOCH: torch.tensor(float(self._most_at))}
            trainer.callback_metrics.update(best)
        self.sink.log(module.steps_done, {self.rename(key): value for key, value in measured.items()})
        self._measure_beside(module)
        if self.report is not None:
            assert trainer.max_epochs is not None
            self.report(trainer.current_epoch + 1, trainer.max_epochs, measured)

    def _measure_beside(self, module: TrainingModule) -> None:
        """What else the step wants to be followed; no epoch is chosen by it."""
        for name, network in module.step.followed().items():
            logits = predict(network, self.rows, device=module.device, precision=module.recipe.precision)
            found = _measured(logits, self.rows.targets)
            values = {self.rename(names.beside(name, key)): float(value) for key, value in found.items()}
            self.sink.log(module.steps_done, values)


def _measured(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    accuracy = (logits.argmax(-1) == targets).double().mean()
    nll = torch.nn.functional.cross_entropy(logits.double(), targets)
    return {names.VAL_ACCURACY_TOP1: accuracy, names.VAL_NLL_NATS: nll}
