"""Keeps what training says of itself (each loss term, the learning rate used) and stops a loss that is not finite."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lab import names
from kd_lab.errors import TrainingFailedError
from kd_lab.training.distiller import Distiller


class Sink(Protocol):
    """Where training metrics go: a run of the tracking store."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one optimizer step."""

    def flush(self) -> None:
        """Write what was taken."""


class Recorder(pl.Callback):
    """Every `every` steps (and at the end) hands the mean of each term since the last time to the sink.

    Between two such moments the terms stay on the device, so a GPU is not made to wait. `rename` maps a key to the
    one it is kept under (the members of an ensemble).
    """

    def __init__(self, sink: Sink, every: int, rename: Callable[[str], str] = str) -> None:
        self.sink = sink
        self.every = every
        self.rename = rename
        self._step = 0
        self._window: list[Tensor] = []
        self._names: list[str] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep this step's terms; at the end of a window, hand them on."""
        assert isinstance(pl_module, Distiller)
        assert pl_module.last_terms is not None
        loss = pl_module.last_terms
        if not self._names:
            self._names = ["total", *loss.terms]
        self._window.append(torch.stack([loss.total.detach(), *(t.detach() for t in loss.terms.values())]))
        self._step += 1
        if len(self._window) >= self.every:
            self._hand_on(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand on what is left; a spawned process takes the sink's buffer with it, so it is written now."""
        if self._window:
            self._hand_on(trainer)
        if trainer.world_size > 1 and trainer.is_global_zero:
            self.sink.flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep what was measured so far; only finite values are worth keeping."""
        if self._window and bool(torch.stack(self._window).isfinite().all()):
            self._hand_on(trainer, alone=True)
        if trainer.world_size > 1 and trainer.is_global_zero:
            self.sink.flush()

    def _hand_on(self, trainer: pl.Trainer, *, alone: bool = False) -> None:
        window = torch.stack(self._window).float()
        # Alone: after an exception nobody knows whether the other processes still answer.
        if trainer.world_size > 1 and not alone:
            torch.distributed.all_reduce(window)
            window /= trainer.world_size
        window = window.cpu()
        first_step = self._step - len(self._window)
        self._window = []
        self._check(window, first_step)
        if trainer.is_global_zero:
            values = {
                self.rename(names.train_loss(n)): v for n, v in zip(self._names, window.mean(0).tolist(), strict=True)
            }
            values[self.rename(names.TRAIN_LEARNING_RATE)] = float(trainer.optimizers[0].param_groups[0]["lr"])
            readings = cast("Distiller", trainer.lightning_module).objective.readings()
            values |= {self.rename(names.train_reading(n)): v for n, v in readings.items()}
            self.sink.log(self._step, values)

    def _check(self, window: Tensor, first_step: int) -> None:
        """Stop at the first step whose loss is not finite, and name the term that did it."""
        if bool(window.isfinite().all()):
            return
        step = int((~window.isfinite()).nonzero()[0, 0])
        bad = [name for name, ok in zip(self._names, window[step].isfinite().tolist(), strict=True) if not ok]
        term = bad[1] if len(bad) > 1 else bad[0]  # "total" comes first, and is bad whenever a term is
        value = float(window[step, self._names.index(term)])
        raise TrainingFailedError(
            f"training stopped at step {first_step + step + 1}: the loss term {term!r} became {value}; "
            "try a lower learning rate, gradient clipping (recipe.clip_norm=1) or precision=32"
        )
