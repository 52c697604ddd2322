"""RandAugment: every image gets a few operations drawn at random, all of one strength.

It makes the strong second view of MLLD, and augments image data of one's own. Source: Cubuk et al. 2020
(arXiv:1909.13719), algorithm 1, with the fourteen operations and magnitudes of torchvision.

Differs: `torchvision.transforms.v2.RandAugment` draws once for all that it is given, and image by image it takes 0.4 ms
for each. Here every image draws, and each operation is applied once, to all images that drew it.

An image of fewer than 256 pixels has no histogram to equalize: that operation leaves it as it is, as in Pillow.

Legend: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lab.seeds import integers

LARGEST = 30
"""The largest magnitude; torchvision divides the range of every operation into 31 steps, the first of which is 0."""

INSTEAD = "choose another augmentation, such as kd_lab.augment.shift.Shift with pixels=1"


def _sheared(images: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(0.3 * x)), math.degrees(math.atan(0.3 * y))]
    sheared: Tensor = F.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])
    return sheared


def _moved(images: Tensor, x: float, y: float) -> Tensor:
    height, width = images.shape[-2:]
    pixels = [int(150 / 331 * width * x), int(150 / 331 * height * y)]  # at most 150 pixels of ImageNet's 331
    moved: Tensor = F.affine(images, angle=0.0, translate=pixels, scale=1.0, shear=[0.0, 0.0])
    return moved


SIGNED: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda images, s: _sheared(images, s, 0.0),
    lambda images, s: _sheared(images, 0.0, s),
    lambda images, s: _moved(images, s, 0.0),
    lambda images, s: _moved(images, 0.0, s),
    lambda images, s: F.rotate(images, 30.0 * s),
    lambda images, s: F.adjust_brightness(images, 1.0 + 0.9 * s),
    lambda images, s: F.adjust_saturation(images, 1.0 + 0.9 * s),
    lambda images, s: F.adjust_contrast(images, 1.0 + 0.9 * s),
    lambda images, s: F.adjust_sharpness(images, 1.0 + 0.9 * s),
)
"""Operations of a strength from -1 to 1; what comes in from outside the image is black."""

OTHERS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda images, _: images,
    lambda images, s: F.posterize(images, round(8 - 4 * s)),
    lambda images, s: F.solarize(images, 1.0 - s),
    lambda images, _: F.autocontrast(images),
    lambda images, _: F.equalize(images),
)
"""Operations of a strength from 0 to 1, or of none."""


class RandAugment:
    """Applies `num_ops` operations to each image, one after the other, drawn independently and with replacement."""

    def __init__(self, num_ops: int = 2, magnitude: int = 10) -> None:
        """Keeps the settings.

        Args:
            num_ops: how many operations each image gets; at least 1.
            magnitude: the strength of every operation, from 0 to 30.

        Raises:
            ValueError: `num_ops` is below 1, or `magnitude` is not from 0 to 30.
        """
        if num_ops < 1:
            raise ValueError(f"Expected `num_ops` to be >= 1, but got {num_ops}.")
        if not 0 <= magnitude <= LARGEST:
            raise ValueError(f"Expected `magnitude` to be from 0 to {LARGEST}, but got {magnitude}.")
        self.num_ops, self.magnitude = num_ops, magnitude

    def __call__(self, inputs: Tensor, seeds: Tensor) -> Tensor:
        """Augments a batch.

        Args:
            inputs: [B, C, H, W] with C = 1 or 3, values from 0 to 1 or uint8. One channel has no color to change.
            seeds: [B] int64, on the same device.

        Returns:
            A new tensor [B, C, H, W] of the same type and range, on the same device.

        Raises:
            ValueError: the inputs are no such images.
        """
        if inputs.dtype == torch.uint8:
            return (self(inputs.float() / 255, seeds) * 255).round().to(torch.uint8)
        _check(inputs)
        images, strength = inputs.clone(), self.magnitude / LARGEST
        for turn in range(self.num_ops):
            drawn = integers(seeds, 2 * turn, len(SIGNED) + len(OTHERS))
            negative = integers(seeds, 2 * turn + 1, 2) == 1
            for number, operation in enumerate((*SIGNED, *OTHERS)):
                signs = (1, -1) if number < len(SIGNED) else (1,)
                for sign in signs:
                    of_sign = negative == (sign < 0) if len(signs) == 2 else torch.ones_like(negative)
                    rows = torch.nonzero((drawn == number) & of_sign).squeeze(1)
                    if len(rows):
                        images[rows] = operation(images[rows], sign * strength)
        return images


def _check(inputs: Tensor) -> None:
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        advice = INSTEAD if inputs.ndim == 4 else "choose a dataset of images, or no augmentation"
        raise ValueError(
            f"Expected images [B, C, H, W] of 1 or 3 channels for RandAugment, but got inputs of shape "
            f"{list(inputs.shape)}: {advice}."
        )
    low, high = (float(bound) for bound in torch.aminmax(inputs))
    if not (low >= 0 and high <= 1):  # Written so that NaN ends here too.
        raise ValueError(
            f"Expected images with values from 0 to 1 for RandAugment, but got values from {low:g} to {high:g}: "
            f"{INSTEAD}, or scale the images."
        )
