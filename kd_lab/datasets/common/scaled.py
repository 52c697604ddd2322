"""Numbers as a network is given them. uint8 stays uint8 in memory, a quarter of the room, until it is in a batch."""

from typing import Any

import torch
from torch import Tensor

from kd_lab.inputs import Inputs, each


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

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        divisor = "" if self.divisor == 255 else f", {self.divisor}"
        return f"Scaled({self.mean.tolist()}, {self.deviation.tolist()}{divisor})"

    @property
    def node(self) -> dict[str, Any]:
        """What builds it again, as a config: it goes with every network that it prepares samples for."""
        given = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist(), "divisor": self.divisor}
        return {"_target_": f"{type(self).__module__}.{type(self).__qualname__}", **given}
