"""Random crops of the padded image, and a mirror: what every recipe for CIFAR does to its training images.

Source: He et al. 2016 (arXiv:1512.03385), section 4.2: 4 pixels of zeros on each side, a crop of the old size, a
horizontal flip.

Legend: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.augment.common.images import check_images
from kd_lab.seeds import integers


class CropFlip:
    """Crops each image out of itself with zeros around it, at a place of its own, and mirrors half of them."""

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        """Keeps the settings.

        Args:
            padding: pixels of zeros on each side; 0: no crop.
            flip: left and right change places in half of the images. Not for digits or letters.

        Raises:
            ValueError: `padding` is below 0.
        """
        if padding < 0:
            raise ValueError(f"Expected `padding` to be >= 0, but got {padding}.")
        self.padding, self.flip = padding, flip

    def __call__(self, inputs: Tensor, seeds: Tensor) -> Tensor:
        """Augments a batch.

        Args:
            inputs: [B, C, H, W].
            seeds: [B] int64, on the same device.

        Returns:
            A new tensor [B, C, H, W] of the same type, on the same device.

        Raises:
            ValueError: the inputs are not [B, C, H, W].
        """
        check_images(inputs, "crop")
        padding, (_, channels, height, width) = self.padding, inputs.shape
        place_B = integers(seeds, 0, (2 * padding + 1) ** 2)
        padded = F.pad(inputs, (padding, padding, padding, padding))
        rows_BH = (place_B // (2 * padding + 1))[:, None] + torch.arange(height, device=inputs.device)
        columns = torch.arange(width, device=inputs.device).expand(len(inputs), width)
        if self.flip:
            columns = torch.where((integers(seeds, 1, 2) == 1)[:, None], columns.flip(1), columns)
        columns_BW = (place_B % (2 * padding + 1))[:, None] + columns
        # One gather of single pixels: on the CPU faster than a gather of windows behind a flip of the whole batch.
        pixels = (rows_BH[:, :, None] * padded.shape[3] + columns_BW[:, None, :]).flatten(1)
        taken = padded.flatten(2).gather(2, pixels[:, None].expand(-1, channels, -1))
        return taken.view(inputs.shape)
