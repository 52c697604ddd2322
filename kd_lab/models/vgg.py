"""VGG with BatchNorm and one linear classifier, for 32x32 images: vgg8, vgg11, vgg13, vgg16.

Source: Simonyan, Zisserman 2015 (arXiv:1409.1556), table 1, as CRD cut it (Tian et al. 2020, arXiv:1910.10699): the
last two blocks have the same resolution, and their average is classified. Names of weights are those of CRD's
repository, so the teachers published there load.

Legend: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kd_lab.models.common.convs import average, start_from_he, start_small
from kd_lab.models.common.inputs import check_num_classes, check_positive, image_shape

WIDTHS = (64, 128, 256, 512, 512)
LEAST = 8
"""Three poolings leave one pixel of so many."""

LARGE = 64
"""From so many pixels on, the fourth block is pooled too, as on the 64x64 images of Tiny-ImageNet."""


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions with BatchNorm and ReLU, 2x2 max pooling between them.

    The first block is what a stem is elsewhere: papers compare the other four.

    Args:
        num_classes: K.
        input_shape: (C, H, W), H and W at least 8.
        convolutions: in each block; [1, 1, 1, 1, 1] is vgg8, [2, 2, 2, 2, 2] is vgg13.

    Raises:
        ValueError: no image, an image too small to pool, not five numbers of convolutions.
    """

    stage_ends: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3", "block4")

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], *, convolutions: Sequence[int]) -> None:
        super().__init__()
        check_num_classes(num_classes)
        channels, height, width = image_shape(input_shape, "vgg", least=LEAST)
        if len(convolutions) != len(WIDTHS):
            raise ValueError(
                f"Expected `convolutions` of vgg to be five numbers, one a block, but got {list(convolutions)}."
            )
        blocks = []
        for count, planes in zip(convolutions, WIDTHS, strict=True):
            check_positive(convolutions=count)
            blocks.append(_block(count, channels, planes))
            channels = planes
        self.block0, self.block1, self.block2, self.block3, self.block4 = blocks
        self.pool0, self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.pool3 = nn.MaxPool2d(2) if min(height, width) >= LARGE else nn.Identity()
        self.classifier = nn.Linear(channels, num_classes)
        start_from_he(self)
        start_small(self.classifier)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] to logits [B, K]."""
        maps = self.pool1(self.block1(self.pool0(self.block0(inputs))))
        maps = self.pool3(self.block3(self.pool2(self.block2(maps))))
        logits_bk: Tensor = self.classifier(average(self.block4(maps)))
        return logits_bk


def _block(count: int, before: int, planes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [nn.Conv2d(planes if i else before, planes, 3, padding=1), nn.BatchNorm2d(planes), nn.ReLU()]
    return nn.Sequential(*layers)
