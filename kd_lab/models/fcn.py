"""A fully convolutional network for time series (FCN).

Source: Wang, Yan, Oates 2017 (arXiv:1611.06455), figure 1b. Kernels of even size see one step more of what follows, as
in the authors' code. The student of KD-4-TSC (Ay, Devanne, Weber, Forestier 2022) is `widths=[20, 40, 20]`.

Legend: B batch, C channels, T steps, K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.models.common.inputs import check_num_classes, check_positive, series_shape


class Block(nn.Module):
    """A convolution over the time, BatchNorm, ReLU; as many steps come out as went in."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.around = ((kernel - 1) // 2, kernel // 2)
        self.conv = nn.Conv1d(before, width, kernel)
        self.norm = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()

    def forward(self, series: Tensor) -> Tensor:
        """[B, before, T] to [B, width, T]."""
        out: Tensor = self.relu(self.norm(self.conv(F.pad(series, self.around))))
        return out


class FCN(nn.Module):
    """Convolutions over the time, the average over it, a linear classifier.

    With the defaults on one channel it has 264,704 parameters, and 129 for each class.

    Args:
        num_classes: K.
        input_shape: (C, T), T at will.
        widths: output channels of each convolution.
        kernels: steps that each of them sees.

    Raises:
        ValueError: no series, a size below 1, not as many kernels as widths.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        *,
        widths: Sequence[int] = (128, 256, 128),
        kernels: Sequence[int] = (8, 5, 3),
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        before, _ = series_shape(input_shape, "fcn")
        if not widths or len(widths) != len(kernels):
            raise ValueError(
                f"Expected as many `widths` as `kernels`, at least one, but got {list(widths)} and {list(kernels)}."
            )
        blocks = []
        for width, kernel in zip(widths, kernels, strict=True):
            check_positive(widths=width, kernels=kernel)
            blocks.append(Block(before, width, kernel))
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(before, num_classes)
        self.stage_ends = tuple(f"blocks.{place}" for place in range(len(blocks)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, T] to logits [B, K]."""
        logits_bk: Tensor = self.classifier(self.blocks(inputs).mean(2))
        return logits_bk
