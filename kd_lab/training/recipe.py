"""How one network is trained: how long, in what batches, with which optimizer and learning rate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from kd_lab.types import Mix

Precision = Literal["32", "bf16-mixed", "16-mixed"]

OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""Everything of an optimizer but its parameters: `functools.partial(torch.optim.Adam, lr=1e-3)`."""

Schedule = Callable[..., float]
"""A function of `kd_lab.schedules`: `schedule(step, base=..., total_steps=...)` to that step's learning rate."""

OF_MANY_AXES = (nn.LayerNorm, nn.RMSNorm)
"""The norms whose parameters may have more than one axis."""


@dataclass(frozen=True)
class Recipe:
    """The settings of one training, complete.

    steps: how many optimizer steps. batch_size: samples per batch over all processes. label_smoothing: epsilon of the
    hard labels, 0..1. clip_norm: the largest L2 norm of the whole gradient, or None. precision: Lightning's name.
    augment: whether the dataset's batch transform is applied. draws: how many views of a sample it makes in all; None:
    a new one in every epoch. channels_last: the order of a map in memory. compile: by torch.compile. mix: of each
    sample with another, or None. accumulate: how many batches an optimizer step takes. ema: the decay of the moving
    average of the weights that is kept, or None. no_decay: no weight decay on biases and norms. early_stopping: after
    so many epochs without a better accuracy on the validation part, or None. by_length: texts of like length in the
    same step.
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
    mix: Mix | None = None
    accumulate: int = 1
    ema: float | None = None
    no_decay: bool = False
    early_stopping: int | None = None
    by_length: bool = False

    @property
    def step_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.accumulate

    def build_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over all that is trained of a module; with `no_decay` in two groups, which decay and do not."""
        trained = [p for p in module.parameters() if p.requires_grad]
        if not self.no_decay:
            return self.optimizer(trained)
        spared = {id(p) for p in _spared(module)}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if id(p) not in spared]},
            {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
        ]
        return self.optimizer([group for group in groups if group["params"]])


def _spared(module: nn.Module) -> list[nn.Parameter]:
    """Of biases, norms and single numbers, which have one axis at most, and of norms over several."""
    wide = [p for part in module.modules() if isinstance(part, OF_MANY_AXES) for p in part.parameters(recurse=False)]
    return [*wide, *(p for p in module.parameters() if p.ndim <= 1)]
