"""ShuffleNetV2 for 32x32 images, at its full width: shuffle_v2.

Source: Ma et al. 2018 (arXiv:1807.11164), table 5, as CRD cut it (Tian et al. 2020, arXiv:1910.10699): a 1x1
convolution first, nothing pooled after it, three stages down to H / 8. Names of weights are those of CRD's repository.
Initial weights are torch's own, as they were for the published figures.

Legend: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lab.models.common.convs import average, conv
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

STEM = 24
STAGES = 3


class Block(nn.Module):
    """One half of the channels goes through three convolutions, the other past them; then both are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = conv(half, half, 1)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = conv(half, half, 3, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(half, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, width, H, W] to the same shape."""
        past, through = maps.chunk(2, dim=1)
        through = self.relu(self.bn1(self.conv1(through)))
        through = self.relu(self.bn3(self.conv3(self.bn2(self.conv2(through)))))
        out: Tensor = self.shuffle(torch.cat([past, through], 1))
        return out


class DownBlock(nn.Module):
    """All channels go both ways, each of which halves the map and gives half of the new channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.conv1 = conv(before, before, 3, stride=2, groups=before)
        self.bn1 = nn.BatchNorm2d(before)
        self.conv2 = conv(before, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(before, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = conv(half, half, 3, stride=2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv(half, half, 1)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, before, H, W] to [B, after, H / 2, W / 2]."""
        left = self.relu(self.bn2(self.conv2(self.bn1(self.conv1(maps)))))
        right = self.relu(self.bn3(self.conv3(maps)))
        right = self.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        out: Tensor = self.shuffle(torch.cat([left, right], 1))
        return out


class ShuffleNetV2(nn.Module):
    """A 1x1 convolution, three stages at H / 2, H / 4 and H / 8, a 1x1 convolution, the average, a classifier.

    Args:
        num_classes: K.
        input_shape: (C, H, W).
        channels: of each stage and of the last convolution.
        blocks: of each stage, after the one that halves the map.

    Raises:
        ValueError: no image, not three stages, an odd number of channels.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        *,
        channels: Sequence[int] = (116, 232, 464, 1024),
        blocks: Sequence[int] = (3, 7, 3),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        _check(channels, blocks)
        self.conv1 = conv(image_shape(input_shape, "shuffle_v2")[0], STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        stages = []
        for before, after, count in zip((STEM, *channels), channels, blocks, strict=False):
            stages.append(nn.Sequential(DownBlock(before, after), *(Block(after) for _ in range(count))))
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2 = conv(channels[-2], channels[-1], 1)
        self.bn2 = nn.BatchNorm2d(channels[-1])
        self.linear = nn.Linear(channels[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(inputs))))))
        logits_bk: Tensor = self.linear(average(self.relu(self.bn2(self.conv2(maps)))))
        return logits_bk


def _check(channels: Sequence[int], blocks: Sequence[int]) -> None:
    if len(channels) != STAGES + 1 or len(blocks) != STAGES:
        raise ValueError(
            "Expected `channels` of shuffle_v2 to be four numbers, of the three stages and the last convolution, and "
            f"`blocks` three, but got {list(channels)} and {list(blocks)}."
        )
    check_positive(channels=min(channels), blocks=min(blocks))
    if any(width % 2 for width in channels[:-1]):
        raise ValueError(f"Expected `channels` of shuffle_v2 to be even in each stage, but got {list(channels)}.")
