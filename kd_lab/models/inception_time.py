"""The network of InceptionTime: convolutions of three lengths side by side, again and again, with ways around them.

Source: Ismail Fawaz et al. 2020 (arXiv:1909.04939), figures 1 and 2. What they call InceptionTime are five of these
that answer together: `ensemble` with this as its member.

Legend: B batch, C channels, T steps, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.models.common.inputs import check_num_classes, check_positive, series_shape

RESIDUAL = 3
"""A way leads around so many modules."""


def _conv(before: int, width: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(before, width, kernel, bias=False)


class Module(nn.Module):
    """Three convolutions behind a bottleneck, and one behind a max pooling, joined; then BatchNorm and ReLU."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        # One channel cannot be narrowed: there is no bottleneck, as in the authors' code.
        self.bottleneck = _conv(before, width, 1) if before > 1 else None
        inside = width if before > 1 else 1
        sizes = [kernel // 2**place for place in range(3)]
        self.paddings = [((size - 1) // 2, size // 2) for size in sizes]
        self.convs = nn.ModuleList(_conv(inside, width, size) for size in sizes)
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)
        self.pooled = _conv(before, width, 1)
        self.norm = nn.BatchNorm1d(4 * width)
        self.relu = nn.ReLU()

    def forward(self, series: Tensor) -> Tensor:
        """[B, before, T] to [B, 4 * width, T]."""
        narrow = series if self.bottleneck is None else self.bottleneck(series)
        found = [conv(F.pad(narrow, around)) for conv, around in zip(self.convs, self.paddings, strict=True)]
        out: Tensor = self.relu(self.norm(torch.cat([*found, self.pooled(self.pool(series))], dim=1)))
        return out


class Block(nn.Module):
    """Modules one after the other; around three of them leads a 1x1 convolution with BatchNorm."""

    def __init__(self, before: int, width: int, kernel: int, count: int) -> None:
        super().__init__()
        after = 4 * width
        self.parts = nn.Sequential(*(Module(after if place else before, width, kernel) for place in range(count)))
        around = count == RESIDUAL
        self.around = nn.Sequential(_conv(before, after, 1), nn.BatchNorm1d(after)) if around else None
        self.relu = nn.ReLU()

    def forward(self, series: Tensor) -> Tensor:
        """[B, before, T] to [B, 4 * width, T]."""
        found: Tensor = self.parts(series)
        return found if self.around is None else self.relu(found + self.around(series))


class InceptionTime(nn.Module):
    """Inception modules, the average over the time, a linear classifier.

    With the defaults on one channel it has 420,192 parameters, and 129 for each class.

    Args:
        num_classes: K.
        input_shape: (C, T), T at will.
        depth: modules; around every three leads a way.
        width: output channels of each convolution; a module has four times so many.
        kernel: steps that the longest convolution sees; the others see a half and a quarter.

    Raises:
        ValueError: no series, a size below 1, a kernel below 4.
    """

    def __init__(
        self, num_classes: int, input_shape: tuple[int, ...], *, depth: int = 6, width: int = 32, kernel: int = 40
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        before, _ = series_shape(input_shape, "inception_time")
        check_positive(depth=depth, width=width)
        if kernel < 4:
            raise ValueError(f"Expected `kernel` to be at least 4, a quarter of it is one too, but got {kernel}.")
        counts = [min(RESIDUAL, depth - start) for start in range(0, depth, RESIDUAL)]
        blocks = [Block(4 * width if place else before, width, kernel, count) for place, count in enumerate(counts)]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(4 * width, num_classes)
        self.stage_ends = tuple(f"blocks.{place}" for place in range(len(blocks)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, T] to logits [B, K]."""
        logits_bk: Tensor = self.classifier(self.blocks(inputs).mean(2))
        return logits_bk
