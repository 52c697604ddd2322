"""The batches of all processes as one, with the gradient of the one.

Legend: B samples of this process, N of all processes.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from kd_lab.losses.common.outputs import mapped
from kd_lab.types import Outputs


def gathered(tensor: Tensor) -> Tensor:
    """[B, ...] of this process to [N, ...] of all, in the order of the ranks; alone, the tensor itself.

    Every process computes the same loss of all N samples from it. DDP takes the mean of the processes' gradients, and
    each process sends back only what reaches its own samples, so that is scaled by their number: the mean is then the
    gradient of one process with the whole batch, for the network and for whatever the loss trains before it gathers.
    """
    if not _several():
        return tensor
    return cast("Tensor", _Gather.apply(tensor))


def gathered_outputs(outputs: Outputs) -> Outputs:
    """The outputs of all processes."""
    if not _several():
        return outputs
    return mapped(outputs, gathered)


def standing(tensor: Tensor) -> tuple[slice, int]:
    """Where the samples of this process's `tensor` [B, ...] stand among the gathered ones, and how many these are."""
    if not _several():
        return slice(0, len(tensor)), len(tensor)
    sizes = _sizes(tensor)
    start = sum(sizes[: dist.get_rank()])
    return slice(start, start + len(tensor)), sum(sizes)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _sizes(tensor: Tensor) -> list[int]:
    """How many samples each process has: the last batch of an epoch need not divide evenly."""
    own = torch.tensor([len(tensor)], device=tensor.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own)
    return [int(size) for size in sizes]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        sizes, rank = _sizes(tensor), dist.get_rank()
        ctx.start, ctx.count, ctx.world = sum(sizes[:rank]), len(tensor), len(sizes)
        # All ranks must send the same number of rows: the shorter ones are filled up, and cut again below.
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded.contiguous())
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        own: Tensor = gradients[0][ctx.start : ctx.start + ctx.count] * ctx.world
        return own
