"""How much of many samples is hashed: all where they are few, else some of them."""

import torch
from torch import Tensor

SMALL = 256 * 2**20
"""Bytes in all up to which the content of every file is hashed: a second's work."""
SAMPLED = 1024
"""Of more than that, so many, evenly from first to last."""


def evenly(count: int) -> Tensor:
    """The numbers of at most `SAMPLED` of so many, int64 in order."""
    return torch.linspace(0, count - 1, min(SAMPLED, count)).long()
