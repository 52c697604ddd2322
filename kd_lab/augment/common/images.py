"""What augmentations of images ask of their inputs."""

from torch import Tensor


def check_images(inputs: Tensor, to: str) -> None:
    """Raise a ValueError unless the inputs are images [B, C, H, W]; to: what was to be done with them."""
    if inputs.ndim != 4:
        raise ValueError(f"Expected images [B, C, H, W] to {to}, but got inputs of shape {list(inputs.shape)}.")
