"""Which processes and devices a job trains on."""

from dataclasses import dataclass

import torch

from kd_lab.errors import UserError
from kd_lab.job.settings import TrainerSettings
from kd_lab.outside.torchrun import Place, place

FSDP = "fsdp"
SEVERAL = {"ddp_spawn": "ddp", FSDP: FSDP}
"""The strategies of several processes, to the trainer that has them."""


@dataclass(frozen=True)
class Devices:
    """accelerator: cpu or gpu. count: processes, one device each. strategy: `auto`, `ddp_spawn` or `fsdp`.

    sync_batchnorm: whether BatchNorm sees the batches of all processes as one. place: this process's own among those
    that torchrun started, if it did: they train then, and kd-lab starts none beside them.
    """

    accelerator: str
    count: int
    strategy: str
    sync_batchnorm: bool = False
    place: Place | None = None

    @property
    def sharded(self) -> bool:
        """Whether each process holds a piece of what is trained."""
        return self.strategy == FSDP

    @property
    def main(self) -> torch.device:
        """Where the main process measures."""
        return torch.device("cuda", 0) if self.accelerator == "gpu" else torch.device("cpu")


def resolve(settings: TrainerSettings) -> Devices:
    """Match what was asked for with what is there, and set the number of torch threads.

    Raises:
        UserError: A GPU is asked for where there is none, more than there are, several devices without DDP or FSDP, one
            with FSDP, or another number of processes than torchrun started.
    """
    own = place()
    gpus, count = _gpus(), processes(settings)
    accelerator = settings.accelerator if settings.accelerator != "auto" else ("gpu" if gpus else "cpu")
    if accelerator == "gpu" and not gpus:
        raise UserError("trainer.accelerator=gpu: expected a CUDA GPU, but torch sees none here; choose trainer=cpu")
    trainer = SEVERAL.get(settings.strategy)
    if own is not None and (count != own.world or trainer is None):
        raise UserError(
            f"trainer.devices={count}: torchrun started {own.world} processes; expected trainer={trainer or 'ddp'}, "
            "and of trainer.devices that number or auto"
        )
    here = count if own is None else own.local_world
    if accelerator == "gpu" and here > gpus:
        raise UserError(f"trainer.devices={here}: expected at most the {gpus} GPUs that torch sees here")
    if count > 1 and trainer is None:
        raise UserError(f"trainer.devices={count}: several devices need trainer=ddp")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if count == 1 and settings.strategy == FSDP:
        raise UserError(
            "trainer=fsdp: one process has nothing to share out; expected two or more, such as trainer.accelerator=cpu "
            "trainer.devices=2, or trainer=cpu or trainer=gpu"
        )
    if count == 1:
        return Devices(accelerator, 1, "auto")
    return Devices(accelerator, count, settings.strategy, settings.sync_batchnorm, own)


def processes(settings: TrainerSettings) -> int:
    """How many train, each with a share of every batch."""
    if isinstance(settings.devices, int):
        return settings.devices
    if settings.strategy not in SEVERAL:
        return 1
    own = place()
    return own.world if own is not None else (_gpus() or 2)


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
