"""ShuffleNet for 32x32 images, three groups: shuffle_v1.

Source: Zhang et al. 2018 (arXiv:1707.01083), table 1, as CRD cut it (Tian et al. 2020, arXiv:1910.10699): a 1x1
convolution first, nothing pooled after it, three stages down to H / 8. Names of weights are those of CRD's repository.
Initial weights are torch's own, as they were for the published figures.

Legend: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv, stage
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

STEM = 24
STAGES = 3


class Block(nn.Module):
    """1x1 convolution in groups, shuffle, 3x3 of each channel, 1x1 in groups; added to the input or set beside it.

    With stride 2 the input is averaged over 3x3 and stands beside the result, so `after` counts both.
    """

    def __init__(self, before: int, after: int, stride: int, groups: int) -> None:
        super().__init__()
        own = after - before if stride == 2 else after
        inner, first = own // 4, 1 if before == STEM else groups  # the few channels of the stem stay in one group
        self.conv1 = conv(before, inner, 1, groups=first)
        self.bn1 = nn.BatchNorm2d(inner)
        self.shuffle1 = nn.ChannelShuffle(first)
        self.conv2 = conv(inner, inner, 3, stride=stride, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv(inner, own, 1, groups=groups)
        self.bn3 = nn.BatchNorm2d(own)
        self.relu = nn.ReLU()
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        found = self.shuffle1(self.relu(self.bn1(self.conv1(maps))))
        found = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(found)))))
        found = found + maps if self.shortcut is None else torch.cat([found, self.shortcut(maps)], 1)
        out: Tensor = self.relu(found)
        return out


class ShuffleNetV1(nn.Module):
    """A 1x1 convolution, three stages at H / 2, H / 4 and H / 8, the average, a linear classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        groups: of the 1x1 convolutions.
        channels: of each stage.
        blocks: of each stage, the first one halves the map.

    Raises:
        ValueError: no image, not three stages, channels that cannot be divided into the groups.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        *,
        groups: int = 3,
        channels: Sequence[int] = (240, 480, 960),
        blocks: Sequence[int] = (4, 8, 4),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        _check(groups, channels, blocks)
        self.conv1 = conv(image_shape(input_shape, "shuffle_v1")[0], STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        stages = []
        for before, after, count in zip((STEM, *channels), channels, blocks, strict=False):
            stages.append(stage(partial(Block, groups=groups), before, after, count, stride=2))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(channels[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.relu(self.bn1(self.conv1(inputs)))
        logits_bk: Tensor = self.linear(average(self.layer3(self.layer2(self.layer1(maps)))))
        return logits_bk


def _check(groups: int, channels: Sequence[int], blocks: Sequence[int]) -> None:
    check_positive(groups=groups)
    if len(channels) != STAGES or len(blocks) != STAGES:
        raise ValueError(
            "Expected `channels` and `blocks` of shuffle_v1 to be three numbers each, one a stage, but got "
            f"{list(channels)} and {list(blocks)}."
        )
    for count in blocks:
        check_positive(blocks=count)
    for before, after in zip((STEM, *channels), channels, strict=False):
        own = (after - before, after)
        if after <= before or any(size % groups or size // 4 % groups for size in own):
            raise ValueError(
                "Expected `channels` of shuffle_v1 to rise from 24, each with a rise and a quarter of both that "
                f"divide into `groups`={groups}, but got {list(channels)}."
            )
