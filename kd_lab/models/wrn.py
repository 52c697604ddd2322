"""Wide residual networks for 32x32 images: wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2 (depth, width).

Source: Zagoruyko, Komodakis 2016 (arXiv:1605.07146): BatchNorm and ReLU stand before each convolution. Names of weights
are those of CRD's repository (arXiv:1910.10699), so the teachers published there load.

Legend: B batch, C channels, H height, W width, K classes.
"""

from typing import ClassVar

from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv, stage, start_from_he
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

STEM = 16


class Block(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, and a way around them.

    Where the number of channels changes, that way is a 1x1 convolution of what the first ReLU says; else it is the
    input itself.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU()
        self.conv1 = conv(before, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv(width, width, 3)
        self.convShortcut = conv(before, width, 1, stride=stride) if before != width else None

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, width, H / stride, W / stride]."""
        active = self.relu1(self.bn1(maps))
        found: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        around: Tensor = maps if self.convShortcut is None else self.convShortcut(active)
        return around + found


class Stage(nn.Module):
    """Blocks of one width, one after the other."""

    def __init__(self, blocks: int, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.layer = stage(Block, before, width, blocks, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, width, H / stride, W / stride]."""
        out: Tensor = self.layer(maps)
        return out


class WideResNet(nn.Module):
    """A 3x3 convolution, three stages of blocks at H, H / 2 and H / 4, BatchNorm, ReLU, the average, a classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        depth: 6n + 4: n blocks in each stage.
        width: the stages have 16, 32 and 64 times so many channels.

    Raises:
        ValueError: no image, a depth that is not 6n + 4, a width below 1.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3")

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], *, depth: int, width: int) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_positive(width=width)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"Expected `depth` of wrn to be 6n + 4 (10, 16, 22, 28, 40, ...), but got {depth}.")
        last = 64 * width
        self.conv1 = conv(image_shape(input_shape, "wrn")[0], STEM, 3)
        self.block1 = Stage(blocks, STEM, 16 * width, 1)
        self.block2 = Stage(blocks, 16 * width, 32 * width, 2)
        self.block3 = Stage(blocks, 32 * width, last, 2)
        self.bn1 = nn.BatchNorm2d(last)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(last, num_classes)
        start_from_he(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.block3(self.block2(self.block1(self.conv1(inputs))))
        logits_bk: Tensor = self.fc(average(self.relu(self.bn1(maps))))
        return logits_bk
