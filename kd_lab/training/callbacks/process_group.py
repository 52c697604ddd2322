"""Ends the group of processes before they end themselves."""

import pytorch_lightning as pl
from torch import distributed


class ProcessGroup(pl.Callback):
    """Destroys torch's process group when a training is over.

    A process that ends with gloo's threads still there may be aborted (`terminate called without an active exception`,
    torch 2.15), and a finished training would count as failed. Lightning 2.6 does this for NCCL alone.
    """

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """After the last step and the last collective of each process."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
