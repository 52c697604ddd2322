"""Networks that make samples from noise, for any shape of sample.

Legend: B batch, L numbers of noise, C channels, H height, W width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import Shape

WIDTH = 64
HIDDEN = 256


class Generator(nn.Module):
    """Noise [B, L] to samples [B, *shape] between `low` and `high`.

    Pictures by two convolutions that each double the size, as in Chen et al. 2019 (DAFL, arXiv:1904.01186); anything
    else by two hidden layers.

    Args:
        shape: of a sample.
        noise: L.
        low: the least value.
        high: the largest.
        normalized: whether BatchNorm stands before the sigmoid, which then seldom comes near the bounds.
    """

    def __init__(self, shape: Shape, noise: int, low: float, high: float, *, normalized: bool = True) -> None:
        super().__init__()
        self.shape, self.low, self.high = tuple(shape), float(low), float(high)
        body = _pictures(self.shape, noise) if len(self.shape) == 3 else _vectors(self.shape, noise)
        self.body = body if normalized else body[:-1]

    def forward(self, noise_BL: Tensor) -> Tensor:
        """Noise [B, L] to samples [B, *shape]."""
        made: Tensor = self.body(noise_BL)
        if len(self.shape) == 3 and made.shape[-2:] != self.shape[1:]:
            made = F.interpolate(made, size=self.shape[1:], mode="bilinear", align_corners=False)
        return self.low + (self.high - self.low) * torch.sigmoid(made.reshape(-1, *self.shape))


def _pictures(shape: Shape, noise: int) -> nn.Sequential:
    channels, height, width = shape
    small = (2 * WIDTH, -(-height // 4), -(-width // 4))
    return nn.Sequential(
        nn.Linear(noise, math.prod(small)),
        nn.Unflatten(1, small),
        nn.BatchNorm2d(2 * WIDTH),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1),
        nn.BatchNorm2d(WIDTH),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, channels, 3, padding=1),
        nn.BatchNorm2d(channels, affine=False),
    )


def _vectors(shape: Shape, noise: int) -> nn.Sequential:
    size = math.prod(shape)
    return nn.Sequential(
        nn.Linear(noise, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, size),
        nn.BatchNorm1d(size, affine=False),
    )
