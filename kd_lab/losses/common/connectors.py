"""What brings a student's layer to the channels of a teacher's, before both are compared position by position."""

from typing import cast

from torch import nn

from kd_lab.losses.common.maps import conv1x1
from kd_lab.norm import BatchNorm
from kd_lab.types import Shape


def connector(shape: Shape, channels: int) -> nn.Sequential:
    """A 1x1 convolution without bias, then BatchNorm; a linear layer for vectors.

    The weights start from N(0, 2 / channels), as in the code of AB and OFD (Heo et al. 2019).
    """
    convolution = conv1x1(shape, channels)
    nn.init.kaiming_normal_(cast("nn.Conv2d", convolution).weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, BatchNorm(channels))
