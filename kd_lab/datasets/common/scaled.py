"""Numbers as a network is given them. uint8 stays uint8 in memory, a quarter of the room, until it is in a batch."""

from typing import Any

import torch
from torch import Tensor

from kd_lab.inputs import Inputs, each
from kd_lab.outside.nodes import node_of

_ROUNDING = 1e-6
"""A deviation of so small a part of the largest value is float32's rounding (1.2e-7) of numbers that are all alike."""


class Scaled:
    """Values [B, ...] to `(value / divisor - mean) / deviation`, float32.

    Args:
        mean: a number, or numbers that broadcast over a batch: a tensor, or lists of lists.
        deviation: the same.
        divisor: 255 for uint8.
    """

    def __init__(self, mean: Any = 0.0, deviation: Any = 1.0, divisor: float = 255.0) -> None:
        self.mean, self.deviation = (torch.as_tensor(one, dtype=torch.float32) for one in (mean, deviation))
        self.divisor = divisor
        self._moves = bool((self.mean != 0).any() or (self.deviation != 1).any())

    def __call__(self, inputs: Inputs) -> Inputs:
        """New tensors on the same device."""
        return each(inputs, self.of_one)

    def of_one(self, values: Tensor) -> Tensor:
        """A new tensor, of one that has no name."""
        scaled = values.to(torch.float32, copy=True).div_(self.divisor)
        if not self._moves:
            return scaled
        if self.mean.device != values.device:
            self.mean, self.deviation = self.mean.to(values.device), self.deviation.to(values.device)
        return scaled.sub_(self.mean).div_(self.deviation)

    def undone(self, inputs: Inputs) -> Inputs:
        """Scaled values [B, ...] to `(value * deviation + mean) * divisor`, float32, new tensors."""
        return each(inputs, lambda one: (one * self.deviation.to(one.device) + self.mean.to(one.device)) * self.divisor)

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        divisor = "" if self.divisor == 255 else f", {self.divisor}"
        return f"Scaled({self.mean.tolist()}, {self.deviation.tolist()}{divisor})"

    @property
    def node(self) -> dict[str, Any]:
        """What builds it again, as a config: it goes with every network that it prepares samples for."""
        return node_of(self, mean=self.mean.tolist(), deviation=self.deviation.tolist(), divisor=self.divisor)


class ZNormed:
    """Series [B, C, T] to mean 0 and standard deviation 1 over the time, each channel of each sample by itself.

    float32; a channel that does not change becomes 0.
    """

    def __call__(self, inputs: Inputs) -> Inputs:
        """New tensors on the same device."""
        return each(inputs, self.of_one)

    def of_one(self, values: Tensor) -> Tensor:
        """A new tensor, of one that has no name."""
        values = values.to(torch.float32)
        variance, mean = torch.var_mean(values, dim=-1, correction=0, keepdim=True)
        deviation = variance.sqrt()
        still = deviation <= _ROUNDING * values.abs().amax(-1, keepdim=True)
        return values.sub(mean).div_(torch.where(still, 1, deviation)).masked_fill_(still, 0)

    def undone(self, inputs: Inputs) -> Inputs:
        """The series as they are: what their level was is lost, and normalised again they stay so, but for rounding."""
        return inputs

    def __repr__(self) -> str:
        """All of it."""
        return "ZNormed()"

    @property
    def node(self) -> dict[str, Any]:
        """See `Scaled.node`."""
        return node_of(self)
