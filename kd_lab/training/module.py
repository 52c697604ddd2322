"""The LightningModule around every training of kd-lab: it moves the weights, counts the steps, and knows no loss.

One optimizer step is one `training_step`. The optimization is manual. In one process, at fp32 and bf16, it is done with
the bare torch optimizer: Lightning's automatic path costs about as much per step as a small network itself
(experiments/speed has the numbers). All else goes through Lightning's optimizer.
"""

import os
from collections.abc import Iterable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lab.training.recipe import Recipe
from kd_lab.types import Batch, Feed, LossTerms, Step


class TrainingModule(pl.LightningModule):
    """Trains the parameters of `step` on the batches of `feed`.

    Args:
        step: a module; see `kd_lab.types.Step`.
        recipe: optimizer, clipping, precision.
        feed: the batches.
        watched: whether somebody reads Lightning's own counters, such as callbacks of the user's.
    """

    def __init__(self, step: Step, recipe: Recipe, feed: Feed, *, watched: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = step
        self.recipe = recipe
        self.feed = feed
        self.steps_done = 0
        """Optimizer steps taken so far: the one count that callbacks read."""
        self.last_terms: LossTerms | None = None
        self._watched = watched
        self._ddp_params_and_buffers_to_ignore = [f"step.{name}" for name in step.own_buffers()]

    def on_fit_start(self) -> None:
        """The step comes to this device."""
        if self.device.type == "cpu":
            # Lightning sets this to "1", and Adam then looks for the CUDA driver at every step: 55 us, against 1 us.
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        self.step.attach(self.device)
        self._trained = [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer over every trainable part of the step."""
        return self.recipe.build_optimizer([p for p in self.parameters() if p.requires_grad])

    def train_dataloader(self) -> Iterable[Batch]:
        """This process's share of every batch, on this device."""
        return self.feed.to(self.device).shard(self.global_rank, self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batches are there already."""
        return batch

    def on_train_start(self) -> None:
        """Take the bare optimizer out of Lightning once, where it is used."""
        alone = self.trainer.world_size == 1 and self._scaler() is None
        self._bare: torch.optim.Optimizer | None = None
        if alone and not self._watched:
            self._bare = cast("torch.optim.Optimizer", self.optimizers(use_pl_optimizer=False))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One optimizer step; the terms are in `last_terms`."""
        terms = self.step(batch)
        if self._bare is None:
            self._through_lightning(terms.total)
        else:
            self._bare.zero_grad()
            terms.total.backward()  # type: ignore[no-untyped-call]
            if self.recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._trained, self.recipe.clip_norm)
            self._bare.step()
        self.last_terms = terms
        self.steps_done += 1

    def _through_lightning(self, total: Tensor) -> None:
        """Precision, exchange of gradients and `global_step` are Lightning's."""
        optimizer: Any = self.optimizers()

        def backward() -> None:
            optimizer.zero_grad()
            self.manual_backward(total)

        optimizer.step(closure=backward)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip, where Lightning steps: it has taken the scale of 16-mixed out of the gradients by now."""
        if self.recipe.clip_norm is None:
            return
        if getattr(optimizer, "_step_supports_amp_scaling", False) and (scaler := self._scaler()) is not None:
            scaler.unscale_(optimizer)  # a fused optimizer would do it itself, after the clipping
        nn.utils.clip_grad_norm_(self._trained, self.recipe.clip_norm)

    def _scaler(self) -> "torch.amp.GradScaler | None":
        return getattr(self.trainer.precision_plugin, "scaler", None)
