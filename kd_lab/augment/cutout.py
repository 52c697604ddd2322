"""Cutout: a square of each image is painted over, at a random place.

Source: DeVries and Taylor 2017 (arXiv:1708.04552): the centre is any pixel, so that part of the square may lie outside.
They paint zeros into standardized images, which is the mean; here images are not standardized yet, so it is a setting.

Legend: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from kd_lab.augment.common.images import check_images
from kd_lab.seeds import integers


class Cutout:
    """Paints a square of `size` pixels over each image, in all channels."""

    def __init__(self, size: int = 16, fill: float = 0.5) -> None:
        """Keeps the settings.

        Args:
            size: the side of the square, in pixels; at least 1.
            fill: what it is painted with: 0 black, 1 white (255 in uint8); 0.5 is close to the mean of photographs.

        Raises:
            ValueError: `size` is below 1, or `fill` is not from 0 to 1.
        """
        if size < 1:
            raise ValueError(f"Expected `size` to be >= 1, but got {size}.")
        if not 0 <= fill <= 1:
            raise ValueError(f"Expected `fill` to be from 0 to 1, but got {fill}.")
        self.size, self.fill = size, fill

    def __call__(self, inputs: Tensor, seeds: Tensor) -> Tensor:
        """Augments a batch.

        Args:
            inputs: [B, C, H, W], uint8 or floats.
            seeds: [B] int64, on the same device.

        Returns:
            A new tensor [B, C, H, W] of the same type, on the same device.

        Raises:
            ValueError: the inputs are not [B, C, H, W].
        """
        check_images(inputs, "cut")
        height, width = inputs.shape[2:]
        place_B = integers(seeds, 0, height * width)
        inside_BH, inside_BW = self._inside(place_B // width, height), self._inside(place_B % width, width)
        square = inside_BH[:, None, :, None] & inside_BW[:, None, None, :]
        return inputs.masked_fill(square, self.fill if inputs.is_floating_point() else round(255 * self.fill))

    def _inside(self, centre_B: Tensor, length: int) -> Tensor:
        """Which of the pixels along one side [B, length] the square covers."""
        first = (centre_B - self.size // 2)[:, None]
        pixels = torch.arange(length, device=centre_B.device)
        return (pixels >= first) & (pixels < first + self.size)
