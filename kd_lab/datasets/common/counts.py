"""Counts of molecules as a network is given them."""

from typing import Any

import torch
from torch import Tensor

from kd_lab.inputs import Inputs, each
from kd_lab.outside.nodes import node_of


class LogCounts:
    """Counts [B, G] of a cell's genes to `log(1 + count * total / sum of the cell)`, float32; an empty cell stays 0.

    Fitted on nothing. With a total of 10,000 it is what scanpy's tutorials do (`normalize_total`, `log1p`; Wolf,
    Angerer and Theis 2018).

    Args:
        total: what the counts of each cell are brought to.
    """

    def __init__(self, total: float = 10_000.0) -> None:
        self.total = total

    def __call__(self, inputs: Inputs) -> Inputs:
        """New tensors on the same device."""
        return each(inputs, self._of_one)

    def _of_one(self, counts: Tensor) -> Tensor:
        values = counts.to(torch.float32)
        sums = values.sum(dim=1, keepdim=True)
        return torch.log1p(values * (self.total / torch.where(sums > 0, sums, 1)))

    def __repr__(self) -> str:
        """All of it: a dataset's fingerprint holds this."""
        return f"LogCounts({self.total})"

    @property
    def node(self) -> dict[str, Any]:
        """What builds it again, as a config: it goes with every network that it prepares samples for."""
        return node_of(self, total=self.total)
