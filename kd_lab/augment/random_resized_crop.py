"""Random crops of any size and shape, brought to one size, and a mirror: what every recipe for ImageNet trains on.

Source: Szegedy et al. 2015 (arXiv:1409.4842), section 6: 8% to 100% of the area, a ratio of the sides of 3/4 to 4/3;
with the ten attempts and the way out of torchvision's RandomResizedCrop.

Of a dataset that reads pictures of any size, the piece is cut out of the whole picture. Bilinear, antialiased.

Legend: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lab.augment.common.images import check_images
from kd_lab.seeds import integers

ATTEMPTS = 10
"""So many boxes are drawn until one lies within the picture; then the largest in the middle is taken."""
_DRAWS = 4
"""Numbers for each attempt: area, ratio, top, left."""
_STEPS = 2**31 - 1


class RandomResizedCrop:
    """Cuts a box out of each picture, at a place of its own, brings it to size and mirrors half of them."""

    cuts = True

    def __init__(
        self,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
    ) -> None:
        """Keeps the settings.

        Args:
            scale: the smallest and the largest share of the area, above 0 and at most 1.
            ratio: the smallest and the largest width by height; its logarithm is drawn.
            flip: left and right change places in half of the pictures. Not for digits or letters.

        Raises:
            ValueError: bounds out of order or out of range.
        """
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(
                f"Expected `scale` to be two shares of the area, 0 < smallest <= largest <= 1, but got {list(scale)}."
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                f"Expected `ratio` to be two ratios of the sides, 0 < smallest <= largest, but got {list(ratio)}."
            )
        self.scale, self.ratio, self.flip = tuple(scale), tuple(ratio), flip

    def __call__(self, inputs: Tensor, seeds: Tensor) -> Tensor:
        """Augments a batch.

        Args:
            inputs: [B, C, H, W], uint8 or floats.
            seeds: [B] int64.

        Returns:
            A new tensor [B, C, H, W] of the same type, on the same device.

        Raises:
            ValueError: the inputs are not [B, C, H, W].
        """
        check_images(inputs, "crop")
        return self.cut(list(inputs), seeds, (inputs.shape[2], inputs.shape[3]))

    def cut(self, pictures: Sequence[Tensor], seeds: Tensor, size: tuple[int, int]) -> Tensor:
        """Pictures [C, H, W] of any sizes, and a seed for each [B] int64: boxes of them, [B, C, *size]."""
        seeds = seeds.cpu()  # boxes are drawn there, so that they are the same on every device
        sizes = torch.tensor([picture.shape[-2:] for picture in pictures])
        mirrored = (integers(seeds, ATTEMPTS * _DRAWS, 2) == 1).tolist() if self.flip else [False] * len(pictures)
        made = []
        for picture, box, mirror in zip(pictures, self.boxes(sizes, seeds).tolist(), mirrored, strict=True):
            piece: Tensor = F.resized_crop(picture, *box, size=list(size), antialias=True)
            made.append(piece.flip(2) if mirror else piece)
        return torch.stack(made)

    def boxes(self, sizes: Tensor, seeds: Tensor) -> Tensor:
        """Heights and widths [B, 2] and seeds [B], on the CPU, to top, left, height and width of a box [B, 4] int64."""
        height_B, width_B = sizes.unbind(1)
        found_B = torch.zeros(len(sizes), dtype=torch.bool)
        boxes = self._middle(height_B, width_B)
        for attempt in range(ATTEMPTS):
            area_B, ratio_B, top_B, left_B = (
                integers(seeds, _DRAWS * attempt + draw, _STEPS).double() / _STEPS for draw in range(_DRAWS)
            )
            pixels_B = height_B * width_B * (self.scale[0] + (self.scale[1] - self.scale[0]) * area_B)
            low, high = (math.log(bound) for bound in self.ratio)
            by_B = torch.exp(low + (high - low) * ratio_B)
            w_B, h_B = (pixels_B * by_B).sqrt().round().long(), (pixels_B / by_B).sqrt().round().long()
            fits_B = (w_B > 0) & (w_B <= width_B) & (h_B > 0) & (h_B <= height_B)
            top_B, left_B = (top_B * (height_B - h_B + 1)).long(), (left_B * (width_B - w_B + 1)).long()
            drawn = torch.stack([top_B, left_B, h_B, w_B], dim=1)
            boxes = torch.where((fits_B & ~found_B)[:, None], drawn, boxes)
            found_B |= fits_B
        return boxes

    def _middle(self, height_B: Tensor, width_B: Tensor) -> Tensor:
        """The largest box in the middle whose ratio is allowed."""
        least, most = self.ratio
        w_B = torch.minimum(width_B, (height_B * most).round().long())
        h_B = torch.minimum(height_B, (width_B / least).round().long())
        h_B, w_B = h_B.clamp(min=1), w_B.clamp(min=1)
        return torch.stack([(height_B - h_B) // 2, (width_B - w_B) // 2, h_B, w_B], dim=1)
