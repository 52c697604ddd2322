"""Residual networks for 32x32 images: resnet8 to resnet110, and the wide resnet8x4 and resnet32x4.

Source: He et al. 2016 (arXiv:1512.03385), section 4.2, with 1x1 convolutions around the blocks that change the shape
(option B); the wide ones from Tian, Krishnan, Isola 2020 (CRD, arXiv:1910.10699). Names of weights are those of CRD's
repository, so the teachers published there load.

Legend: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv, shortcut, stage, start_from_he
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(before, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(before, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, width, H / stride, W / stride]."""
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out: Tensor = self.relu(found + self.downsample(maps))
        return out


class ResNet(nn.Module):
    """A 3x3 convolution, three stages of residual blocks at H, H / 2 and H / 4, the average, a linear classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        depth: 6n + 2: n blocks in each stage.
        channels: of the first convolution and of the three stages.

    Raises:
        ValueError: no image, a depth that is not 6n + 2, not four numbers of channels.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, depth: int, channels: Sequence[int] = (16, 16, 32, 64)
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"Expected `depth` of resnet to be 6n + 2 (8, 14, 20, 32, ...), but got {depth}.")
        if len(channels) != 4:
            raise ValueError(
                "Expected `channels` of resnet to be four numbers, of the first convolution and the three stages, "
                f"but got {list(channels)}."
            )
        for width in channels:
            check_positive(channels=width)
        stem, first, second, third = channels
        self.conv1 = conv(image_shape(input_shape, "resnet")[0], stem, 3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = stage(Block, stem, first, blocks, stride=1)
        self.layer2 = stage(Block, first, second, blocks, stride=2)
        self.layer3 = stage(Block, second, third, blocks, stride=2)
        self.fc = nn.Linear(third, num_classes)
        start_from_he(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.relu(self.bn1(self.conv1(inputs)))
        logits_bk: Tensor = self.fc(average(self.layer3(self.layer2(self.layer1(maps)))))
        return logits_bk
