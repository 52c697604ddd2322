"""BatchNorm for the parts of a loss, which must not stop a training where a batch has one value per channel.

Legend: B batch, C channels.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import Shape


def batch_norm(shape: Shape) -> nn.Module:
    """Over the channels of a feature of this shape; with the running statistics where each channel has one value.

    A batch of one vector, or of one map with one position, has no variance: torch's own layers raise a ValueError.
    """
    kinds: tuple[type[nn.Module], ...] = (_BatchNorm1d, _BatchNorm1d, _BatchNorm2d, _BatchNorm3d)
    return kinds[len(shape) - 1](shape[0])


class _Lenient:
    """Goes before a BatchNorm of torch among the bases."""

    def forward(self: Any, feature: Tensor) -> Tensor:
        """[B, C, *positions] to the same shape."""
        if self.training and feature.numel() == feature.shape[1]:
            return F.batch_norm(
                feature, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        normalised: Tensor = super().forward(feature)  # type: ignore[misc]
        return normalised


class _BatchNorm1d(_Lenient, nn.BatchNorm1d):
    pass


class _BatchNorm2d(_Lenient, nn.BatchNorm2d):
    pass


class _BatchNorm3d(_Lenient, nn.BatchNorm3d):
    pass
