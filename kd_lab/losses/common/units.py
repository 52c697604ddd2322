"""Vectors of length 1, where some have length 0."""

from typing import cast

import torch
from torch import Tensor

LEAST = 1e-12
"""What a shorter vector is divided by, as by `torch.nn.functional.normalize`."""


def units(vectors: Tensor, dim: int) -> Tensor:
    """The vectors along `dim`, each divided by its length; a vector of length 0 stays as it is.

    Divided by 1e-12 its value would be the same 0, but its slope, and so the gradient, would be of the order 1e12.
    """
    lengths = cast("Tensor", torch.linalg.vector_norm(vectors, dim=dim, keepdim=True))
    return vectors / lengths.clamp_min(LEAST).masked_fill(lengths == 0, 1.0)
