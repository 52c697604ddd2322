"""How one network is trained: how long, in what batches, with which optimizer and learning rate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Precision = Literal["32", "bf16-mixed", "16-mixed"]

OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""Everything of an optimizer but its parameters: `functools.partial(torch.optim.Adam, lr=1e-3)`."""

Schedule = Callable[..., float]
"""A function of `kd_lab.schedules`: `schedule(step, base=..., total_steps=...)` to that step's learning rate."""


@dataclass(frozen=True)
class Recipe:
    """The settings of one training, complete.

    steps: how many optimizer steps. batch_size: samples per step over all processes. label_smoothing: epsilon of the
    hard labels, 0..1. clip_norm: the largest L2 norm of the whole gradient, or None. precision: Lightning's name.
    augment: whether the dataset's batch transform is applied. draws: how many views of a sample it makes in all; None:
    a new one in every epoch. channels_last: the order of a map in memory. compile: by torch.compile.
    """

    optimizer: OptimizerFactory
    schedule: Schedule
    steps: int
    batch_size: int
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: Precision = "32"
    augment: bool = False
    draws: int | None = None
    channels_last: bool = False
    compile: bool = False

    def build_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        return self.optimizer(parameters)
