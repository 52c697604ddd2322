"""MGD: masked generative distillation, the teacher's whole map restored from a part of the student's.

Sets some channels of the student's last map to 0, at random for every sample, and lets two convolutions restore the
teacher's map from the rest: the student's channels must know of each other. Source: Yang et al. 2022
(arXiv:2205.01529), section 3; block, masked channels and weight as in the authors' code for classification.

Helps on ImageNet: the authors report 71.69 for ResNet-18 with a ResNet-34 (69.90 alone) and 72.49 for MobileNet with a
ResNet-50 (69.21 alone). Costs two 3x3 convolutions with the teacher's channels squared. Defaults: the last map, 0.15 of
the channels masked, weight 0.00007, hard labels 1. The squares are summed over all entries of a sample, so the right
weight depends on the size of the map: the default is that of 512 channels at 7 x 7.

Differs: for dense prediction the authors mask positions and not channels; here it is channels. A student's map of
another resolution is average-pooled or interpolated to the teacher's; the authors' code demands the same one. The masks
come from torch's own generator, so that the seed of a training fixes them.

Legend: B batch, C channels.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair, with_positions, within
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_resolution, conv1x1, conv3x3
from kd_lab.types import Batch, Outputs, Shape


class MGD(Loss):
    """`mean_b sum_{c,s} (G(M * a(f_s)) - f_t)^2`; M [B, C] is 0 with probability `mask_ratio`, else 1.

    a is a 1x1 convolution to the teacher's channels, where the student has others; G is a 3x3 convolution, ReLU, and
    another one.

    Args:
        mask_ratio: the share of the channels that is masked, from 0 to 1.
        student_shapes: of the student's map or sequence, channels first.
        teacher_shapes: of the teacher's, with as many axes.

    Raises:
        ValueError: `mask_ratio` is out of range, there is more than one pair, or a layer has no positions.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    draws: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "last"
    maps: ClassVar[bool] = True

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], mask_ratio: float = 0.15
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        with_positions(student_shapes, teacher_shapes)
        self.mask_ratio = within("mask_ratio", mask_ratio, 0.0, 1.0)
        channels = theirs[0]
        self.align = nn.Identity() if own[0] == channels else conv1x1(own, channels, bias=True)
        self.generation = nn.Sequential(
            conv3x3(theirs, channels, bias=True), nn.ReLU(), conv3x3(theirs, channels, bias=True)
        )

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own, theirs = student.features[0], teacher.features[0]
        aligned = self.align(at_resolution(own, tuple(theirs.shape[2:])))
        drawn = torch.rand(aligned.shape[:2], dtype=aligned.dtype, device=aligned.device)
        kept = (drawn >= self.mask_ratio).to(aligned.dtype).reshape(*drawn.shape, *[1] * (aligned.ndim - 2))
        return F.mse_loss(self.generation(aligned * kept), theirs, reduction="sum") / len(theirs)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"mask_ratio={self.mask_ratio}"
