"""CutMix: a rectangle of every image is taken from another one, and its loss in proportion to the area.

Source: Yun et al. 2019 (arXiv:1905.04899), algorithm A1: one rectangle for all images of a step, its centre anywhere,
what lies outside cut off; lambda is then the share of the pixels that are left, exactly.

Legend: B batch, C channels, H height, W width.
"""

import math

from torch import Tensor

from kd_lab.mixing.common.shares import checked, drawn


class CutMix:
    """A rectangle of the other image, of the image's own shape and `1 - lambda` of its area before it is cut off."""

    def __init__(self, alpha: float = 1.0) -> None:
        """Keeps the setting.

        Args:
            alpha: of the Beta distribution that lambda is drawn from; 1: every area is as likely.

        Raises:
            ValueError: `alpha` is not a finite number above 0.
        """
        self.alpha = checked(alpha)

    def __call__(self, inputs: Tensor, others: Tensor, seed: int) -> tuple[Tensor, float]:
        """Mixes a batch of images with another one.

        Args:
            inputs: [B, C, H, W].
            others: the same, each to be mixed into the image at its place.
            seed: what the rectangle follows from.

        Returns:
            The mixed batch, and the share of the pixels that are the images' own.

        Raises:
            ValueError: the inputs are not [B, C, H, W].
        """
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            shape = list(inputs.shape) if isinstance(inputs, Tensor) else f"tensors by the names {', '.join(inputs)}"
            raise ValueError(
                f"Expected images [B, C, H, W] to cut rectangles out of, but got {shape}: choose "
                "student/recipe/mix=mixup."
            )
        height, width = inputs.shape[2:]
        share, place = drawn(seed, self.alpha)
        side = math.sqrt(1 - share)
        top, bottom = _span(int(place.integers(height)), int(height * side), height)
        left, right = _span(int(place.integers(width)), int(width * side), width)
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(centre: int, length: int, whole: int) -> tuple[int, int]:
    """Where the rectangle begins and ends along one side of the image."""
    return max(centre - length // 2, 0), min(centre + length // 2, whole)
