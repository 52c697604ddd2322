"""Pieces that the convolutional networks for 32x32 images share.

Legend: B batch, C channels, H height, W width.
"""

from collections.abc import Callable

from torch import Tensor, nn


def conv(before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the map, or divides it by `stride`; no bias, because BatchNorm follows."""
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)


def shortcut(before: int, after: int, stride: int) -> nn.Sequential:
    """The way around a residual block: empty where no shape changes, else a 1x1 convolution (option B of He et al.)."""
    if stride == 1 and before == after:
        return nn.Sequential()
    return nn.Sequential(conv(before, after, 1, stride=stride), nn.BatchNorm2d(after))


def stage(
    block: Callable[[int, int, int], nn.Module], before: int, width: int, count: int, *, stride: int, expansion: int = 1
) -> nn.Sequential:
    """`count` blocks of one width, each built of the channels before it, its width and its stride.

    The first one takes the map from `before` channels and divides it by `stride`; each gives `expansion * width`.
    """
    after = expansion * width
    return nn.Sequential(block(before, width, stride), *(block(after, width, 1) for _ in range(count - 1)))


def average(maps: Tensor) -> Tensor:
    """Global average pooling: [B, C, H, W] to [B, C], whatever H and W are."""
    return maps.mean(dim=(2, 3))


def start_from_he(network: nn.Module) -> None:
    """He et al. 2015 (arXiv:1502.01852): N(0, 2 / fan_out) for convolutions, biases 0; BatchNorm is 1 and 0 already."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def start_small(head: nn.Linear) -> None:
    """N(0, 0.01^2) for a classifier's weights, its biases 0: as VGG and MobileNetV2 were published."""
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
