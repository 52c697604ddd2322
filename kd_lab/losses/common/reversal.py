"""Gradient reversal: what stands before it ascends the loss that everything else descends."""

from typing import Any, cast

import torch
from torch import Tensor


def reversed_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The tensor itself; its gradient is multiplied by -factor.

    Source: Ganin and Lempitsky 2015 (arXiv:1409.7495), section 3.
    """
    return cast("Tensor", _Reversed.apply(tensor, factor))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None
