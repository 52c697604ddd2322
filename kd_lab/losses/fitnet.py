"""FitNets: a hint, one layer of the teacher that one of the student learns to predict.

Matches the activations themselves, through a regressor that brings the student's channels and resolution to the
teacher's. Source: Romero et al. 2015 (arXiv:1412.6550), equation 3; regressor and weight are those of CRD's benchmark
(Tian et al. 2020), which trains hint and labels together where the paper trains the hint first.

Helps thin, deep students start; in CRD's benchmark it does less than KD. Costs one convolution on one layer. Defaults:
the middle stage, weight 100, hard labels 1.

Differs: one stage, as every benchmark does. Where the student's resolution is neither the teacher's, nor half nor twice
it, the map is average-pooled or interpolated to it, and a 1x1 convolution follows; CRD's code takes a kernel as large
as the difference, or fails.

Legend: B batch, C channels.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_resolution, conv1x1, conv3x3, conv_transpose4x4
from kd_lab.norm import BatchNorm
from kd_lab.types import Batch, Outputs, Shape


class FitNet(Loss):
    """`mean (r(f_s) - f_t)^2`; r is a convolution, BatchNorm and ReLU, or a linear layer for vectors.

    Args:
        student_shapes: of the student's layer, channels first.
        teacher_shapes: of the teacher's layer, with as many axes.

    Raises:
        ValueError: there is more than one pair, or the two have not as many axes.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "hint"

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        if len(own) != len(theirs):
            raise ValueError(f"Expected two layers with as many axes, but got {list(own)} and {list(theirs)}.")
        self.resized, convolution = _convolution(own, theirs)
        self.regressor = convolution if len(own) == 1 else nn.Sequential(convolution, BatchNorm(theirs[0]), nn.ReLU())

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own, theirs = student.features[0], teacher.features[0]
        if self.resized:
            own = at_resolution(own, tuple(theirs.shape[2:]))
        return F.mse_loss(self.regressor(own), theirs)


def _convolution(own: Shape, theirs: Shape) -> tuple[bool, nn.Module]:
    """From the student's layer to the teacher's, and whether the map must be brought to its resolution first."""
    channels, now, wanted = theirs[0], own[1:], theirs[1:]
    if now and all(n == 2 * w for n, w in zip(now, wanted, strict=True)):
        return False, conv3x3(own, channels, stride=2, bias=True)
    if now and all(2 * n == w for n, w in zip(now, wanted, strict=True)):
        return False, conv_transpose4x4(own, channels)
    return now != wanted, conv1x1(own, channels, bias=True)
