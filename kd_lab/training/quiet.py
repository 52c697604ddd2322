"""Silences what Lightning and torch say about themselves: in this process, and in those that train together."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from pytorch_lightning.strategies import DDPStrategy

from kd_lab.training.launcher import FromServer, OverRanks
from kd_lab.training.module import TrainingModule
from kd_lab.training.ranks import Ranks
from kd_lab.training.sharding import shard

LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning", "torch.distributed", "torch.multiprocessing")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence them during a training; errors stay."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _silence() -> None:
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|torch\.")
    warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")


class QuietDDP(DDPStrategy):
    """DDP in processes of their own, each of them as quiet as the one that wants them.

    Not `ddp`, whose children would run the whole sweep again (Lightning issue 18175).

    threads: torch's in each process; None leaves them. ranks: the processes of torchrun, if it started this one; each
    of them spawns one then.
    """

    def __init__(self, *, find_unused_parameters: bool, threads: int | None = None, ranks: Ranks | None = None) -> None:
        super().__init__(start_method="spawn", find_unused_parameters=find_unused_parameters)
        self._threads = threads
        self._ranks = ranks

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ranks": None}

    def _configure_launcher(self) -> None:
        self._launcher = FromServer(self, self.num_processes) if self._ranks is None else OverRanks(self, self._ranks)

    def setup_environment(self) -> None:
        """What a process does first, before it says that it is there."""
        _silence()
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        super().setup_environment()


class QuietFSDP(QuietDDP):
    """The same processes, each with a piece of what is trained; see `kd_lab.training.sharding`.

    Lightning's FSDPStrategy refuses the CPU, and its ModelParallelStrategy starts processes that would run the whole
    sweep again.
    """

    def __init__(self, *, threads: int | None = None, ranks: Ranks | None = None) -> None:
        super().__init__(find_unused_parameters=False, threads=threads, ranks=ranks)

    def configure_ddp(self) -> None:
        """Share out in the place of wrapping, before the optimizer is built."""
        step = self._module.step
        shard(cast("torch.nn.Module", step), step.network, self.root_device)

    def teardown(self) -> None:
        """As after DDP, but the pieces stay where they are: what is whole is on its way home."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()

    @property
    def _module(self) -> TrainingModule:
        return cast("TrainingModule", self.lightning_module)
