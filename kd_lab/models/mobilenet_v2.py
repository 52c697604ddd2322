"""MobileNetV2 for 32x32 images, at half its width: mobilenet_v2.

Source: Sandler et al. 2018 (arXiv:1801.04381), table 2, as CRD cut it (Tian et al. 2020, arXiv:1910.10699): the first
stages have the strides of small images, ReLU stands for ReLU6, and the first block has its 1x1 convolution too. Names
of weights are those of CRD's repository.

Legend: B batch, C channels, H height, W width, K classes.
"""

from typing import ClassVar

from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv, start_from_he, start_small
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Channels, blocks and stride of each stage at full width."""

STEM, LAST = 32, 1280
LEAST_WIDTH = 1 / 16


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a 3x3 one of each channel, a 1x1 one that narrows, without an activation."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * before
        self.conv = nn.Sequential(
            *_layer(before, wide, 1),
            *_layer(wide, wide, 3, stride, groups=wide),
            conv(wide, after, 1),
            nn.BatchNorm2d(after),
        )
        self.adds = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        found: Tensor = self.conv(maps)
        return maps + found if self.adds else found


class MobileNetV2(nn.Module):
    """A 3x3 convolution with stride 2, seven stages down to H / 16, a 1x1 convolution, the average, a classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        width: every stage has so many times its channels; the last convolution has at least 1280.
        expansion: T of the papers: how much wider a block is inside.

    Raises:
        ValueError: no image, a width that leaves a stage without channels, an expansion below 1.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("blocks.1", "blocks.2", "blocks.4", "blocks.6")

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, width: float = 0.5, expansion: int = 6
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        check_positive(expansion=expansion)
        if width < LEAST_WIDTH:
            raise ValueError(f"Expected `width` of mobilenet_v2 to be at least 1/16, but got {width}.")
        channels, _, _ = image_shape(input_shape, "mobilenet_v2")
        before = int(STEM * width)
        self.conv1 = nn.Sequential(*_layer(channels, before, 3, 2))
        self.blocks = nn.ModuleList()
        for number, (planes, count, first) in enumerate(STAGES):
            after = int(planes * width)
            stage = []
            for i in range(count):
                stage.append(InvertedResidual(before, after, 1 if i else first, expansion if number else 1))
                before = after
            self.blocks.append(nn.Sequential(*stage))
        last = max(LAST, int(LAST * width))
        self.conv2 = nn.Sequential(*_layer(before, last, 1))
        head = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(head)
        start_from_he(self)
        start_small(head)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.conv1(inputs)
        for stage in self.blocks:
            maps = stage(maps)
        logits_bk: Tensor = self.classifier(average(self.conv2(maps)))
        return logits_bk


def _layer(before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1) -> list[nn.Module]:
    return [conv(before, after, kernel, stride=stride, groups=groups), nn.BatchNorm2d(after), nn.ReLU()]
