"""Bytes as a network is given them: uint8 stays uint8 in memory, a quarter of the room, until it is in a batch."""

import torch
from torch import Tensor

from kd_lab.inputs import Inputs, each


class Scaled:
    """uint8 values 0..255 [B, ...] to `(value / 255 - mean) / deviation`, float32.

    Args:
        mean: a number, or a tensor that broadcasts over a batch.
        deviation: the same.
    """

    def __init__(self, mean: float | Tensor = 0.0, deviation: float | Tensor = 1.0) -> None:
        self.mean, self.deviation = torch.as_tensor(mean), torch.as_tensor(deviation)
        self._moves = bool((self.mean != 0).any() or (self.deviation != 1).any())

    def __call__(self, inputs: Inputs) -> Inputs:
        """New tensors on the same device."""
        return each(inputs, self._scaled)

    def _scaled(self, values: Tensor) -> Tensor:
        scaled = values.to(torch.float32).div_(255)
        if not self._moves:
            return scaled
        if self.mean.device != values.device:
            self.mean, self.deviation = self.mean.to(values.device), self.deviation.to(values.device)
        return scaled.sub_(self.mean).div_(self.deviation)

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        return f"Scaled({self.mean.tolist()}, {self.deviation.tolist()})"
