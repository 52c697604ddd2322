"""What is done to all tensors that a network says."""

from collections.abc import Callable

import torch
from torch import Tensor

from kd_lab.types import Outputs


def in_float32(outputs: Outputs) -> Outputs:
    """The outputs in float32, or float64 if they are that already."""
    tensors = (outputs.logits, *outputs.features)
    if all(t.dtype in (torch.float32, torch.float64) for t in tensors):
        return outputs  # the views come from the same network at the same precision
    return mapped(outputs, widened)


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32, or float64 if it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def mapped(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """The outputs with every tensor changed."""
    return Outputs(change(outputs.logits), tuple(map(change, outputs.features)), tuple(map(change, outputs.views)))


def detached(outputs: Outputs) -> Outputs:
    """The outputs without their graph."""
    if not any(t.requires_grad for t in (outputs.logits, *outputs.features)):
        return outputs
    return mapped(outputs, torch.Tensor.detach)
