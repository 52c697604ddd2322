"""Which processes and devices a job trains on."""

import os
from dataclasses import dataclass

import torch

from kd_lab.errors import UserError
from kd_lab.job.settings import TrainerSettings


@dataclass(frozen=True)
class Devices:
    """accelerator: cpu or gpu. count: processes, one device each. strategy: Lightning's name.

    sync_batchnorm: whether BatchNorm sees the batches of all processes as one.
    """

    accelerator: str
    count: int
    strategy: str
    sync_batchnorm: bool = False

    @property
    def main(self) -> torch.device:
        """Where the main process measures."""
        return torch.device("cuda", 0) if self.accelerator == "gpu" else torch.device("cpu")


def resolve(settings: TrainerSettings) -> Devices:
    """Match what was asked for with what is there, and set the number of torch threads.

    Raises:
        UserError: A GPU is asked for where there is none, more than there are, or several devices without DDP; or this
            is one of several processes that torchrun started, each of which would do the whole job.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        raise UserError(
            f"RANK={os.environ['RANK']} WORLD_SIZE={os.environ['WORLD_SIZE']}: started by torchrun or the like, and "
            "kd-lab starts its processes itself, on one machine; expected no torchrun, and trainer=ddp "
            "trainer.devices=N for N processes"
        )
    gpus, count = _gpus(), processes(settings)
    accelerator = settings.accelerator if settings.accelerator != "auto" else ("gpu" if gpus else "cpu")
    if accelerator == "gpu" and not gpus:
        raise UserError("trainer.accelerator=gpu: expected a CUDA GPU, but torch sees none here; choose trainer=cpu")
    several = settings.strategy == "ddp_spawn"
    if accelerator == "gpu" and count > gpus:
        raise UserError(f"trainer.devices={count}: expected at most the {gpus} GPUs that torch sees here")
    if count > 1 and not several:
        raise UserError(f"trainer.devices={count}: several devices need trainer=ddp")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if count == 1:
        return Devices(accelerator, 1, "auto")
    return Devices(accelerator, count, settings.strategy, settings.sync_batchnorm)


def processes(settings: TrainerSettings) -> int:
    """How many train, each with a share of every batch."""
    several = settings.strategy == "ddp_spawn"
    return settings.devices if isinstance(settings.devices, int) else ((_gpus() or 2) if several else 1)


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
