"""Where this process stands among those that torchrun started, as it told them in their environment."""

import os
from dataclasses import dataclass

from kd_lab.errors import UserError


@dataclass(frozen=True)
class Place:
    """rank: of `world` processes on all machines. local_rank: of the `local_world` on this one.

    host, port: where torchrun's store is. attempt: how often torchrun has started all of them again.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    host: str
    port: int
    attempt: int

    @property
    def machines(self) -> int:
        """With the same number of processes each."""
        return self.world // self.local_world


def place() -> Place | None:
    """The place of this process; None where it was not started by torchrun, or alone.

    Raises:
        UserError: it is one of several that something else started, each of which would do the whole job; or machines
            have different numbers of processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world < 2 or "RANK" not in os.environ:
        return None
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError(
            f"RANK={os.environ['RANK']} WORLD_SIZE={world}: one of several processes, each of which would do the whole "
            "job; expected torchrun to start them, or one process and trainer=ddp trainer.devices=N"
        )
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world, local_rank, local_world = (int(os.environ[name]) for name in names)
    if world % local_world:
        raise UserError(
            f"WORLD_SIZE={world} LOCAL_WORLD_SIZE={local_world}: expected as many processes on each machine; give "
            "torchrun the same --nproc_per_node everywhere"
        )
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    return Place(rank, world, local_rank, local_world, host, port, attempt)
