"""How a Trainer of Lightning's has the processes of torchrun train; see `ranks`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch.multiprocessing as mp
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.strategies.launchers.multiprocessing import _GlobalStateSnapshot, _MultiProcessingLauncher

from kd_lab.training.ranks import Ranks, follow, packed, train


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
