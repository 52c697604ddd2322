"""Random shifts of images: what keeps a digit's label true with few labels (setting of the digits demo)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.augment.common.images import check_images
from kd_lab.seeds import integers


class Shift:
    """Moves each image by up to `pixels` along height and width, filling with zeros.

    The two distances of each image follow from its seed, uniformly from the whole numbers -pixels..pixels.
    """

    def __init__(self, pixels: int) -> None:
        """Keeps the largest distance.

        Args:
            pixels: the largest shift, in pixels; at least 1.

        Raises:
            ValueError: `pixels` is below 1.
        """
        if pixels < 1:
            raise ValueError(f"Expected `pixels` to be >= 1, but got {pixels}.")
        self.pixels = pixels

    def __call__(self, inputs: Tensor, seeds: Tensor) -> Tensor:
        """Shifts a batch.

        Args:
            inputs: [B, C, H, W].
            seeds: [B] int64, on the same device.

        Returns:
            A new tensor [B, C, H, W] of the same type, on the same device.

        Raises:
            ValueError: the inputs are not [B, C, H, W].
        """
        check_images(inputs, "shift")
        pixels, (count, _, height, width) = self.pixels, inputs.shape
        side = 2 * pixels + 1
        place = integers(seeds, 0, side**2)
        down, right = place // side, place % side
        padded = F.pad(inputs, (pixels, pixels, pixels, pixels))
        # A view [B, C, 2p+1, 2p+1, H, W] of every possible window: one gather then picks a window per image.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=inputs.device), :, down, right]
