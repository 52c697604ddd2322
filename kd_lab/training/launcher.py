"""How a Trainer of Lightning's starts the processes that train: forked on this machine, or those of torchrun's."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch.multiprocessing as mp
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.strategies.launchers.multiprocessing import _GlobalStateSnapshot, _MultiProcessingLauncher
from torch.multiprocessing.spawn import start_processes

from kd_lab.training.ranks import Ranks, follow, packed, train

PRELOADED = ["pytorch_lightning", "torchmetrics"]
"""What a server of forks has imported before it forks, and torch with it: of 10 s all but 0.3 (AMD EPYC, 2 cores)."""


class FromServer(_MultiProcessingLauncher):
    """As Lightning's own that spawns, but the processes are forked from one that has imported what they need.

    That one is started once, by itself, and has neither threads nor a CUDA context; a spawned one would import torch
    and Lightning anew for every training.
    """

    def __init__(self, strategy: "pl.strategies.ParallelStrategy", processes: int) -> None:
        super().__init__(strategy, start_method="spawn")  # what a process does first is what a spawned one does
        self._processes = processes

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """See Lightning's."""
        environment = self._strategy.cluster_environment
        assert environment is not None
        os.environ["MASTER_PORT"] = str(environment.main_port)
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        results = context.SimpleQueue()
        processes = start_processes(  # type: ignore[no-untyped-call]
            self._as_here,
            args=(dict(os.environ), trainer, function, args, kwargs, results, _GlobalStateSnapshot.capture()),
            nprocs=self._processes,
            start_method="forkserver",
            join=False,
        )
        self.procs = processes.processes
        while not processes.join():
            pass
        output = results.get()
        self._recover_results_in_main_process(output, trainer)
        return output.trainer_results

    def _as_here(self, index: int, environment: Mapping[str, str], *given: Any) -> None:
        """In a process: the server's environment is that of the moment when it was started."""
        os.environ.clear()
        os.environ.update(environment)
        self._wrapping_function(index, *given)


class OverRanks(_MultiProcessingLauncher):
    """Has every rank start the process that Lightning's own launcher would start as many of, on one machine.

    What comes back is the same: the weights in a file, the state of the trainer, what was measured; of rank 0.
    """

    def __init__(self, strategy: "pl.strategies.ParallelStrategy", ranks: Ranks) -> None:
        super().__init__(strategy, start_method="spawn")
        self._ranks: Ranks | None = ranks

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_ranks": None}

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """See Lightning's."""
        assert self._ranks is not None
        call = Call(self, trainer, function, args, kwargs, _GlobalStateSnapshot.capture())
        training = packed(call, port=find_free_network_port())
        results = mp.get_context("spawn").SimpleQueue()
        number = self._ranks.publish(training)
        process = train(training, results)
        self.procs = process.processes
        follow(self._ranks, number, process)
        self._ranks.forget(number)
        output = results.get()
        self._recover_results_in_main_process(output, trainer)
        return output.trainer_results


@dataclass(frozen=True)
class Call:
    """What a rank's process does for a launcher; the fields are those that Lightning hands to its own processes."""

    launcher: OverRanks
    trainer: Any
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    states: _GlobalStateSnapshot

    def __call__(self, results: Any) -> None:
        """results: the queue of rank 0, None in the others."""
        self.states.restore()
        found = self.function(*self.args, **self.kwargs)
        if results is not None:
            output = self.launcher._collect_rank_zero_results(self.trainer, found)
            results.put(move_data_to_device(output, "cpu"))
