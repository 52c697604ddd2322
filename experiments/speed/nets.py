"""The pair of the benchmark: residual networks for 32 x 32 images with wide channels, as CRD's authors cut them.

He et al. 2016 (arXiv:1512.03385), section 4.2, with 32, 64, 128, 256 channels; depth 6n + 2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.around = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] to [B, width, H / stride, W / stride]."""
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps)))))
        return F.relu(found + self.around(maps))


class ResNet(nn.Module):
    """resnet32x4 at depth 32, resnet8x4 at depth 8."""

    def __init__(self, num_classes: int, *, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        layers: list[nn.Module] = []
        before = 32
        for width, stride in ((64, 1), (128, 2), (256, 2)):
            for number in range(blocks):
                layers.append(Block(before, width, stride if number == 0 else 1))
                before = width
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(256, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 32, 32] to logits [B, K]."""
        pooled: Tensor = torch.mean(self.stages(self.stem(images)), dim=(2, 3))
        logits: Tensor = self.head(pooled)
        return logits
