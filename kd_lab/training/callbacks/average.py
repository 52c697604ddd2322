"""The moving average of the weights: steadier than those of the last step, and what is kept in their place.

Source: Polyak and Juditsky 1992 (averages of the iterates); as an exponential average with a decay Tarvainen and
Valpola 2017 (arXiv:1703.01780), equation 1.
"""

from typing import cast

import pytorch_lightning as pl
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.state import State, into_module, of_module
from kd_lab.types import Batch


class Average(StepCallback):
    """After every optimizer step `average <- decay * average + (1 - decay) * weights`; it begins as those of the first.

    Buffers are averaged alike: the statistics of BatchNorm belong to the weights that they were measured with. At the
    end of the training the average takes the place of the weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @property
    def network(self) -> nn.Module:
        """The one with the averaged weights."""
        return self._averaged.module

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the network before anybody listens to its layers; in each process, because the average is no data."""
        network = cast("TrainingModule", pl_module).step.network
        average = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The copy comes to the device of the training."""
        self._averaged.to(pl_module.device)

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Take the weights of this step in."""
        if batch.last:
            self._averaged.update_parameters(module.step.network)

    def state_dict(self) -> State:
        """The average so far."""
        return of_module(self._averaged)

    def load_state_dict(self, state_dict: State) -> None:
        """Go on with it."""
        into_module(self._averaged, state_dict)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put it in the place of the weights."""
        cast("TrainingModule", pl_module).step.network.load_state_dict(self.network.state_dict())
        del self._averaged
