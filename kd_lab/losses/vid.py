"""VID: variational information distillation, how surely the teacher's layer is known from the student's.

Maximises a bound of the mutual information between a layer of the teacher and one of the student: the log-likelihood of
the teacher's activations under a normal distribution whose mean is predicted from the student's, and whose variance is
learned for each channel. A channel that the student cannot predict gets a large variance and costs little.
Source: Ahn et al. 2019 (arXiv:1904.05835), section 2, the normal distribution with one variance per channel; the three
convolutions of the mean and the initial variance 5 are those of the authors' code, as CRD's benchmark (Tian et al.
2020) has it.

Helps where student and teacher are of different kinds, if at all: in CRD's benchmark it does less than KD on 12 of 13
pairs, and more on ResNet50 to MobileNetV2 (67.57 against 67.35). Costs three 1x1 convolutions per stage, two of them
with the teacher's channels squared. Defaults: every stage but the stem, weight 1, hard labels 1.

Differs: the variance is trained, as in the paper; mdistiller keeps it out of the optimizer by mistake. Of two
resolutions the larger is average-pooled, axis by axis. Vectors are predicted by linear layers. The constant
log(2 pi) / 2 is left out, so the loss is below 0 where the variances are small.

Legend: B batch, C channels.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.axes import same_axes
from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_the_smaller, conv1x1
from kd_lab.types import Batch, Outputs, Shape

SMALLEST_VARIANCE = 1e-5
"""Added to every variance, as in the authors' code."""


class VID(Loss):
    """`sum_pairs mean_{b,c,s} [(m(f_s) - f_t)^2 / v_c + log v_c] / 2` in nats, `v = log(1 + e^a) + 1e-5`.

    m is three 1x1 convolutions without bias, with ReLU between them (`means`); a is one number per channel of the
    teacher (`raw_variances`).

    Args:
        initial_variance: v of every channel at the start.
        student_shapes: of the student's layers, channels first, or vectors.
        teacher_shapes: of the teacher's layers, with as many axes.

    Raises:
        ValueError: `initial_variance` is not above 1e-5, or the two layers of a pair have not as many axes.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "stages"
    learns: ClassVar[str] = "VID's variances, with the network, from the training part"

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        initial_variance: float = 5.0,
    ) -> None:
        super().__init__()
        same_axes(student_shapes, teacher_shapes)
        self.initial_variance = positive("initial_variance", initial_variance)
        above = self.initial_variance - SMALLEST_VARIANCE
        if above <= 0:
            raise ValueError(f"Expected `initial_variance` to be > {SMALLEST_VARIANCE}, but got {initial_variance}.")
        raw = above + math.log(-math.expm1(-above))  # log(e^above - 1), for large numbers too
        pairs = list(zip(student_shapes, teacher_shapes, strict=True))
        self.means = nn.ModuleList(_mean(own, theirs[0]) for own, theirs in pairs)
        self.raw_variances = nn.ParameterList(torch.full((theirs[0],), raw) for _, theirs in pairs)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses = []
        pairs = zip(student.features, teacher.features, self.means, self.raw_variances, strict=True)
        for own, theirs, mean, raw_C in pairs:
            smaller_s, smaller_t = at_the_smaller(own, theirs)
            squares = (mean(smaller_s) - smaller_t).square()
            squares_C = squares.mean(dim=[axis for axis in range(squares.ndim) if axis != 1])
            variance_C = F.softplus(raw_C) + SMALLEST_VARIANCE
            losses.append((squares_C / variance_C + variance_C.log()).mean() / 2)
        return torch.stack(losses).sum()

    def readings(self) -> dict[str, float]:
        """The variance of the last pair, averaged over its channels: how much of it stays unexplained."""
        with torch.no_grad():
            return {"last_variance": float(F.softplus(self.raw_variances[-1]).mean() + SMALLEST_VARIANCE)}

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"initial_variance={self.initial_variance}"


def _mean(own: Shape, channels: int) -> nn.Sequential:
    wide = (channels, *own[1:])
    return nn.Sequential(conv1x1(own, channels), nn.ReLU(), conv1x1(wide, channels), nn.ReLU(), conv1x1(wide, channels))
