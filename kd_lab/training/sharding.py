"""Parameters, gradients and optimizer state of a training, each process with a piece of them (FSDP2, ZeRO).

Sources: Rajbhandari et al. 2020 (arXiv:1910.02054); Zhao et al. 2023 (arXiv:2304.11277); torch's `fully_shard`.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(step: nn.Module, network: nn.Module, device: torch.device) -> None:
    """From now on each process holds a piece of every parameter of a step, along its first axis, in DTensors.

    The network is one unit, what else the step trains is another. A unit is whole in every process from the beginning
    of a step's forward pass to the end of its backward pass, because losses read layers and weights in between; its
    gradients are averaged over the processes, as DDP does, and each keeps its piece. Between two steps, when the
    optimizer works, nothing is whole. Buffers are each process's own, as under the DDP that Lightning makes of a module
    that optimizes by itself; those of the first one come home.

    Args:
        step: what is trained, with the network in it.
        network: what comes out of the training.
        device: that of this process, where the parameters are.

    Raises:
        ValueError: a parameter is a single number, without an axis.
    """
    for parameter in step.parameters():
        parameter.data = parameter.data.contiguous()  # of convolutions, whose channels may lie last
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for unit in (network, step):
        fully_shard(unit, mesh=mesh, reshard_after_forward=False)


def whole(value: Any) -> Any:
    """The same with whole tensors on the CPU in the place of pieces, within dicts, lists and tuples.

    All processes call it, in the same order; only the first one needs the answer, and elsewhere the tensors are empty.
    """
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.cpu() if distributed.get_rank() == 0 else full.new_empty(0, device="cpu")
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(whole, value)) if isinstance(value, list) else tuple(map(whole, value))
    return value


def like(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor as this process holds `own`: its piece, where that is one. Nothing is sent."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
