"""The LightningModule around every training of kd-lab: it moves the weights, counts the steps, and knows no loss.

The optimization is manual. In one process, at fp32 and bf16, and where nobody watches Lightning's own hooks, a whole
epoch is one `training_step`, done with the bare torch optimizer: Lightning's loop and its optimizer cost more per step
than a small network itself (experiments/speed has the numbers). All else goes through them, step by step.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lab.norm import WholeBatch
from kd_lab.training.recipe import Recipe
from kd_lab.training.state import State
from kd_lab.types import Batch, Feed, LossTerms, Step


class StepCallback(pl.Callback):
    """A callback that follows every batch, whoever counts them: Lightning's loop or the module's."""

    of_process: ClassVar[bool] = False
    """Whether its state is that of this process alone, where several train."""

    def before_batch(self, trainer: pl.Trainer, module: "TrainingModule") -> None:
        """One that belongs to the next optimizer step is about to be seen."""

    def after_batch(self, trainer: pl.Trainer, module: "TrainingModule", batch: Batch) -> None:
        """Its gradient is there, its terms in `module.last_terms`; the step is taken if it was the last of the step."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Lightning counts."""
        module = cast("TrainingModule", pl_module)
        if not module.by_epoch:
            self.before_batch(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning counts."""
        module = cast("TrainingModule", pl_module)
        if not module.by_epoch:
            self.after_batch(trainer, module, batch)


class TrainingModule(pl.LightningModule):
    """Trains the parameters of `step` on the batches of `feed`.

    Args:
        step: a module; see `kd_lab.types.Step`.
        recipe: optimizer, clipping, precision.
        feed: the batches.
        watched: whether somebody reads Lightning's own counters, such as callbacks of the user's.
        whole_batch: whether BatchNorm sees the batches of all processes as one.
    """

    def __init__(
        self, step: Step, recipe: Recipe, feed: Feed, *, watched: bool = False, whole_batch: bool = False
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = step
        self.recipe = recipe
        self.feed = feed
        self.steps_done = 0
        """Optimizer steps taken so far: the one count that callbacks read."""
        self.last_terms: LossTerms | None = None
        self.by_epoch = False
        """Whether one `training_step` is a whole epoch."""
        self.at_end: State | None = None
        """Of a step that processes share out: the whole of it when the training was over, in the first one."""
        self._watched = watched
        self._whole_batch = whole_batch
        self._fresh = True
        """Whether the next batch is the first of an optimizer step."""
        self._ddp_params_and_buffers_to_ignore = [f"step.{name}" for name in step.own_buffers()]

    def on_fit_start(self) -> None:
        """The step comes to this device."""
        if self.device.type == "cpu":
            # Lightning sets this to "1", and Adam then looks for the CUDA driver at every step: 55 us, against 1 us.
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        self.step.attach(self.device)
        self._trained = [p for p in self.parameters() if p.requires_grad]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch's are two
        """What comes home."""
        if self.at_end is None:
            return super().state_dict(*args, **kwargs)
        return {f"step.{name}": value for name, value in self.at_end["own"].items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer over every trainable part of the step."""
        return self.recipe.build_optimizer(self)

    def train_dataloader(self) -> Iterable[Batch] | Iterable[Iterator[Batch]]:
        """This process's share of every batch, on this device; or epochs of such."""
        self.by_epoch = self.trainer.world_size == 1 and self._scaler() is None and not self._watched
        feed = self.feed.to(self.device).shard(self.global_rank, self.trainer.world_size)
        return _Epochs(feed) if self.by_epoch else feed

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batches are there already."""
        return batch

    def training_step(self, batch: Batch | Iterator[Batch], batch_idx: int) -> None:
        """One batch, or an epoch of them; the terms of the last are in `last_terms`."""
        if isinstance(batch, Batch):
            self._count(batch, self._through_lightning)
            return
        trainer, optimizer = self.trainer, cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False))
        callbacks = [one for one in trainer.callbacks if isinstance(one, StepCallback)]  # type: ignore[attr-defined]
        for one in batch:
            for callback in callbacks:
                callback.before_batch(trainer, self)
            self._count(one, lambda total, last: self._bare(total, optimizer, last=last))
            for callback in callbacks:
                callback.after_batch(trainer, self, one)

    def _count(self, batch: Batch, optimize: Callable[[Tensor, bool], None]) -> None:
        with WholeBatch() if self._whole_batch else nullcontext():
            terms = self.step(batch)
        optimize(terms.total, batch.last)
        self.last_terms = terms
        self.steps_done += batch.last
        self._fresh = batch.last

    def _bare(self, total: Tensor, optimizer: torch.optim.Optimizer, *, last: bool) -> None:
        if self._fresh:
            for parameter in self._trained:
                parameter.grad = None  # what optimizer.zero_grad() does, without torch's wrapper around it
        total.backward()  # type: ignore[no-untyped-call]
        if not last:
            return
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trained, self.recipe.clip_norm)
        optimizer.step()

    def _through_lightning(self, total: Tensor, last: bool) -> None:
        """Precision, exchange of gradients and `global_step` are Lightning's."""
        optimizer: Any = self.optimizers()

        def backward() -> None:
            if self._fresh:
                optimizer.zero_grad()
            self.manual_backward(total)

        if last:
            optimizer.step(closure=backward)
        else:
            backward()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip, where Lightning steps: it has taken the scale of 16-mixed out of the gradients by now."""
        if self.recipe.clip_norm is None:
            return
        if getattr(optimizer, "_step_supports_amp_scaling", False) and (scaler := self._scaler()) is not None:
            scaler.unscale_(optimizer)  # a fused optimizer would do it itself, after the clipping
        nn.utils.clip_grad_norm_(self._trained, self.recipe.clip_norm)

    def _scaler(self) -> "torch.amp.GradScaler | None":
        return getattr(self.trainer.precision_plugin, "scaler", None)


@dataclass(frozen=True)
class _Epochs:
    """Gives each epoch of a feed as one item."""

    feed: Feed

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        yield iter(self.feed)
