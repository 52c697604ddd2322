"""What losses of layers share: the same resolution for two maps, and convolutions over however many axes they have.

Legend: B batch, C channels, S positions.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import Shape

_POOL: tuple[Any, ...] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
_CONV: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: tuple[Any, ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_SMOOTH = ("linear", "bilinear", "trilinear")


def at_resolution(feature: Tensor, positions: Shape) -> Tensor:
    """[B, C, *anything] to [B, C, *positions]: pooled on the axes that shrink, interpolated on those that grow."""
    now = tuple(feature.shape[2:])
    if now == tuple(positions):
        return feature
    smaller = tuple(min(n, p) for n, p in zip(now, positions, strict=True))
    if smaller != now:
        feature = _POOL[len(now) - 1](feature, smaller)
    if smaller != tuple(positions):
        feature = F.interpolate(feature, positions, mode=_SMOOTH[len(now) - 1], align_corners=False)
    return feature


def at_the_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both average-pooled, on each axis, to the smaller of the two resolutions."""
    positions = tuple(min(s, t) for s, t in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return at_resolution(student, positions), at_resolution(teacher, positions)


def conv1x1(shape: Shape, channels: int, *, bias: bool = False) -> nn.Module:
    """From the channels of a feature of this shape to `channels`, at every position; a linear layer for vectors."""
    if len(shape) == 1:
        return nn.Linear(shape[0], channels, bias=bias)
    made: nn.Module = _CONV[len(shape) - 2](shape[0], channels, 1, bias=bias)
    return made


def conv3x3(shape: Shape, channels: int, *, stride: int = 1, bias: bool = False) -> nn.Module:
    """A kernel of 3 along every axis of positions, padded by 1."""
    made: nn.Module = _CONV[len(shape) - 2](shape[0], channels, 3, stride=stride, padding=1, bias=bias)
    return made


def conv_transpose4x4(shape: Shape, channels: int) -> nn.Module:
    """Twice the resolution: a transposed kernel of 4 along every axis of positions, stride 2."""
    made: nn.Module = _TRANSPOSED[len(shape) - 2](shape[0], channels, 4, stride=2, padding=1)
    return made
