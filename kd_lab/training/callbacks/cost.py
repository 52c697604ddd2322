"""What training cost: wall time, samples per second, steps, peak memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast

import pytorch_lightning as pl
import torch

from kd_lab import names
from kd_lab.measures.memory import PeakMemory
from kd_lab.training.module import StepCallback, TrainingModule
from kd_lab.training.state import State
from kd_lab.types import Batch


class Cost(StepCallback):
    """Measures one fit from its first batch to its last, start-up and what is done in `paused` left out.

    The values land in `trainer.callback_metrics`, the one thing that Lightning brings home from spawned processes.
    """

    of_process: ClassVar[bool] = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._samples = 0
        self._memory = PeakMemory(pl_module.device)
        self._memory.__enter__()
        self._elsewhere_s, self._peak_before = 0.0, 0
        self._started = time.perf_counter()

    @contextmanager
    def paused(self, device: torch.device) -> Iterator[None]:
        """What happens inside is no part of the training, such as following the validation part."""
        _wait_for(device)
        self._paused_at = time.perf_counter()
        try:
            yield
        finally:
            _wait_for(device)
            self._elsewhere_s += time.perf_counter() - self._paused_at

    def after_batch(self, trainer: pl.Trainer, module: TrainingModule, batch: Batch) -> None:
        """Count."""
        self._samples += len(batch.targets)

    def state_dict(self) -> State:
        """What it has cost so far; called in `paused`, from whose beginning on no time counts."""
        return {"samples": self._samples, "wall_s": self._wall(self._paused_at), "peak_bytes": self._peak()}

    def load_state_dict(self, state_dict: State) -> None:
        """As if what it cost had just been spent."""
        self._samples, self._peak_before = state_dict["samples"], state_dict["peak_bytes"]
        self._elsewhere_s = -state_dict["wall_s"]
        self._started = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, once the device has done what it was asked."""
        _wait_for(pl_module.device)
        wall = self._wall(time.perf_counter())
        found = {
            names.COST_TRAIN_WALL_S: wall,
            names.COST_TRAIN_SAMPLES_PER_S: self._samples * trainer.world_size / wall,
            names.COST_TRAIN_STEPS: float(cast("TrainingModule", pl_module).steps_done),
            names.COST_TRAIN_PEAK_MEMORY_BYTES: float(self._peak()),
        }
        trainer.callback_metrics.update({k: torch.tensor(v, dtype=torch.float64) for k, v in found.items()})

    def _wall(self, now: float) -> float:
        return now - self._started - self._elsewhere_s

    def _peak(self) -> int:
        self._memory.__exit__(None, None, None)  # reads it; it may be read again
        return max(self._memory.peak_bytes, self._peak_before)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
