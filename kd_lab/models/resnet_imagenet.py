"""The residual networks of ImageNet for 32x32 images: resnet18, resnet34, resnet50.

Source: He et al. 2016 (arXiv:1512.03385), table 1; the first convolution is 3x3 without stride, and nothing is pooled
after it. Names of weights are those of CRD's repository (arXiv:1910.10699), so the ResNet50 published there loads.

Legend: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv, shortcut, stage, start_from_he
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

WIDTHS = (64, 128, 256, 512)


class Basic(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    expansion: ClassVar[int] = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(before, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut = shortcut(before, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, width, H / stride, W / stride]."""
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out: Tensor = self.relu(found + self.shortcut(maps))
        return out


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, the last four times as wide, and a way around them."""

    expansion: ClassVar[int] = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = self.expansion * width
        self.conv1 = conv(before, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, after, 1)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.shortcut = shortcut(before, after, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, 4 width, H / stride, W / stride]."""
        found = self.relu(self.bn1(self.conv1(maps)))
        found = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(found)))))
        out: Tensor = self.relu(found + self.shortcut(maps))
        return out


class ImageNetResNet(nn.Module):
    """A 3x3 convolution, four stages of residual blocks at H, H / 2, H / 4 and H / 8, the average, a classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        blocks: in each of the four stages; [2, 2, 2, 2] is resnet18, [3, 4, 6, 3] is resnet34 and resnet50.
        bottleneck: blocks of three convolutions, as from resnet50 up.

    Raises:
        ValueError: no image, not four numbers of blocks.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, blocks: Sequence[int], bottleneck: bool = False
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if len(blocks) != len(WIDTHS):
            raise ValueError(
                f"Expected `blocks` of an ImageNet resnet to be four numbers, one a stage, but got {list(blocks)}."
            )
        for count in blocks:
            check_positive(blocks=count)
        kind = Bottleneck if bottleneck else Basic
        self.conv1 = conv(image_shape(input_shape, "resnet")[0], WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        stages, before = [], WIDTHS[0]
        for i, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
            stages.append(stage(kind, before, width, count, stride=2 if i else 1, expansion=kind.expansion))
            before = kind.expansion * width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(before, num_classes)
        start_from_he(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.relu(self.bn1(self.conv1(inputs)))
        logits_bk: Tensor = self.linear(average(self.layer4(self.layer3(self.layer2(self.layer1(maps))))))
        return logits_bk
