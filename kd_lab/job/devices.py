"""Which processes and devices a job trains on."""

from dataclasses import dataclass

import torch

from kd_lab.errors import UserError
from kd_lab.job.settings import TrainerSettings
from kd_lab.outside.torchrun import Place, place


@dataclass(frozen=True)
class Devices:
    """accelerator: cpu or gpu. count: processes, one device each. strategy: Lightning's name.

    sync_batchnorm: whether BatchNorm sees the batches of all processes as one. place: this process's own among those
    that torchrun started, if it did: they train then, and kd-lab starts none beside them.
    """

    accelerator: str
    count: int
    strategy: str
    sync_batchnorm: bool = False
    place: Place | None = None

    @property
    def main(self) -> torch.device:
        """Where the main process measures."""
        return torch.device("cuda", 0) if self.accelerator == "gpu" else torch.device("cpu")


def resolve(settings: TrainerSettings) -> Devices:
    """Match what was asked for with what is there, and set the number of torch threads.

    Raises:
        UserError: A GPU is asked for where there is none, more than there are, several devices without DDP, or another
            number of processes than torchrun started.
    """
    own = place()
    gpus, count = _gpus(), processes(settings)
    accelerator = settings.accelerator if settings.accelerator != "auto" else ("gpu" if gpus else "cpu")
    if accelerator == "gpu" and not gpus:
        raise UserError("trainer.accelerator=gpu: expected a CUDA GPU, but torch sees none here; choose trainer=cpu")
    several = settings.strategy == "ddp_spawn"
    if own is not None and (count != own.world or not several):
        raise UserError(
            f"trainer.devices={count}: torchrun started {own.world} processes; expected trainer=ddp, and of "
            f"trainer.devices that number or auto"
        )
    here = count if own is None else own.local_world
    if accelerator == "gpu" and here > gpus:
        raise UserError(f"trainer.devices={here}: expected at most the {gpus} GPUs that torch sees here")
    if count > 1 and not several:
        raise UserError(f"trainer.devices={count}: several devices need trainer=ddp")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if count == 1:
        return Devices(accelerator, 1, "auto")
    return Devices(accelerator, count, settings.strategy, settings.sync_batchnorm, own)


def processes(settings: TrainerSettings) -> int:
    """How many train, each with a share of every batch."""
    if isinstance(settings.devices, int):
        return settings.devices
    if settings.strategy != "ddp_spawn":
        return 1
    own = place()
    return own.world if own is not None else (_gpus() or 2)


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
