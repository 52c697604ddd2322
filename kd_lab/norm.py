"""BatchNorm where a batch is short, and where it is shared out among several processes.

Legend: B batch, C channels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode


class BatchNorm(_BatchNorm):
    """BatchNorm over the channels of vectors, sequences or maps: for parts that are added to a network or a loss.

    One value per channel (a batch of one, one position) has no variance, and torch raises a ValueError there. This one
    normalises such a batch with its running statistics, as in eval mode, and leaves them as they are.

    Args:
        num_features: C.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's own name for it
        """[B, C, *positions] to the same shape."""
        if self.training and input.numel() == self.num_features and not WholeBatch.entered:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any number of positions."""


class WholeBatch(TorchFunctionMode):
    """A context in which BatchNorm of any kind takes its statistics over the pieces of all processes.

    torch's own SyncBatchNorm knows no CPU, and takes the place of whole modules, so that it loses what a kind of its
    own does beside (timm's activation). This one stands behind `torch.nn.functional.batch_norm`, which all kinds call.
    """

    entered = False

    def __enter__(self) -> "WholeBatch":
        super().__enter__()  # type: ignore[no-untyped-call]
        WholeBatch.entered = True
        return self

    def __exit__(self, *ended: object) -> None:
        WholeBatch.entered = False
        super().__exit__(*ended)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Do what was called, but for BatchNorm in its own way."""
        return (whole_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def whole_batch_norm(  # noqa: PLR0917  # called as torch's own
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of the pieces [B, C, *positions] of all processes as one batch.

    The gradient is that of the sum of the processes' losses, of which DDP takes the mean.
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    wide = input.to(torch.promote_types(input.dtype, torch.float32))
    over, shape = [0, *range(2, input.dim())], [1, -1, *[1] * (input.dim() - 2)]
    sums = _summed(torch.cat([wide.sum(over), wide.new_tensor([input.numel() / input.shape[1]])]))
    mean, count = sums[:-1] / sums[-1], sums[-1].detach()
    centred = wide - mean.view(shape)
    variance = _summed(centred.square().sum(over)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * count / (count - 1)).to(running_var), momentum)
    normal = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        normal = normal * weight.view(shape)
    if bias is not None:
        normal = normal + bias.view(shape)
    return normal.to(input.dtype)


def _summed(tensor: Tensor) -> Tensor:
    """Over all processes, there and back."""
    total: Tensor = _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0].contiguous())
