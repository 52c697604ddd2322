"""A small CNN whose classifier reads the average of its last map, as a ResNet's does."""

from collections.abc import Sequence

from torch import Tensor, nn


class Pooled(nn.Module):
    """Two stages, 8x8 and 4x4 on the digits."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], *, channels: Sequence[int] = (12, 20)) -> None:
        super().__init__()
        first, second = channels
        self.one = nn.Sequential(nn.Conv2d(input_shape[0], first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(first, second, 3, 2, 1), nn.BatchNorm2d(second), nn.ReLU())
        self.head = nn.Linear(second, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.two(self.one(inputs)).mean((2, 3)))
