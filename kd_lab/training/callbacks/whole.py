"""The network in one piece, where processes share it out."""

import copy
from typing import cast

import pytorch_lightning as pl
from torch import nn

from kd_lab.training.callbacks.cost import Cost
from kd_lab.training.module import TrainingModule
from kd_lab.training.state import into_module, of_module


class Whole(pl.Callback):
    """Has a copy of the network in the first process, on the CPU, with the weights of every epoch's end.

    So it can be followed on the validation part and kept as one that nobody shares out. At the end of the training all
    that the step trained is whole there, as the weights come home. It comes before all callbacks that look.

    Args:
        cost: its clock stands still meanwhile, as it does for the validation part.
        follow: whether anybody looks at the end of an epoch; else there is no copy.
    """

    def __init__(self, cost: Cost, *, follow: bool) -> None:
        self.cost = cost
        self.follow = follow

    @property
    def network(self) -> nn.Module:
        """The copy; in the first process alone."""
        return self._network

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the network before anybody listens to its layers, and before it is shared out."""
        if self.follow and trainer.is_global_zero:
            self._network = copy.deepcopy(cast("TrainingModule", pl_module).step.network)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Whoever looked had it on a device, whose memory is wanted now."""
        if self.follow and trainer.is_global_zero:
            self._network.to("cpu")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the weights; all processes give their pieces."""
        if not self.follow:
            return
        with self.cost.paused(pl_module.device):
            weights = of_module(cast("TrainingModule", pl_module).step.network)
            if trainer.is_global_zero:
                into_module(self._network, weights)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All of the step, the losses' parts too."""
        module = cast("TrainingModule", pl_module)
        module.at_end = of_module(cast("nn.Module", module.step))
