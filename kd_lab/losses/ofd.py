"""OFD: the overhaul of feature distillation, what the teacher's next layer will see of its activations.

Matches the activations before the ReLU of each stage. Positive ones are matched as they are; of the negative ones the
ReLU will keep nothing, so the student has only to stay below the teacher's, and none has to go below the margin, which
is the mean of the channel's negative values. The margin follows from the BatchNorm before it: its output is close to
normal, with the bias as mean and the weight as deviation. Source: Heo et al. 2019 (arXiv:1904.01866), section 3:
margin ReLU, position before the ReLU, partial L2 distance.

Helps between networks of one family and of two: above KD on all six CIFAR-100 pairs whose numbers the KD++ repository
gives (74.95 against 73.33 on resnet32x4 to resnet8x4). Costs a 1x1 convolution with BatchNorm per stage. Defaults:
every stage but the stem, the last with weight 1 and each one before it with half as much, weight 0.001, hard labels 1.
The sum runs over all neurons of a sample, so the right weight falls with the size of the maps: mdistiller takes 0.0001
on ImageNet.

Differs: the teacher is in eval mode as everywhere here; the authors' code and mdistiller train with its BatchNorm in
training mode. Of two resolutions the larger map is average-pooled; mdistiller brings the teacher's to the student's.

Legend: B batch, C channels.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.axes import same_axes
from kd_lab.losses.common.connectors import connector
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_the_smaller
from kd_lab.types import Batch, Outputs, Shape

RARE = 1e-3
"""A channel whose values are negative less often than this has no mean of them worth the name."""


class OFD(Loss):
    """`sum_i 2^(i-L+1) * sum_neurons mean_b d(r(f_s), max(f_t, m))` for the pairs i = 0 .. L-1.

    d(s, t) is (s - t)^2, but 0 where s <= t <= 0; r is the connector, m the margin of the channel.

    Args:
        student_shapes: of the student's layers, channels first, or vectors.
        teacher_shapes: of the teacher's layers, with as many axes.
        teacher_norms: the BatchNorm before each of the teacher's layers.

    Raises:
        ValueError: the two layers of a pair have not as many axes, or there is no BatchNorm before one of the
            teacher's.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "stages"
    pre_activation: ClassVar[bool] = True

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        teacher_norms: tuple[nn.Module | None, ...],
    ) -> None:
        super().__init__()
        same_axes(student_shapes, teacher_shapes)
        pairs = list(zip(student_shapes, teacher_shapes, strict=True))
        self.connectors = nn.ModuleList(connector(own, theirs[0]) for own, theirs in pairs)
        for i, (shape, norm) in enumerate(zip(teacher_shapes, teacher_norms, strict=True)):
            if norm is None:
                raise ValueError(
                    f"Expected a BatchNorm before each of the teacher's layers, but there is none before layer "
                    f"{i + 1}, {list(shape)}."
                )
            self.register_buffer(f"margin_{i}", torch.zeros(shape[0], *[1] * (len(shape) - 1)))
        self._norms = tuple(norm for norm in teacher_norms if norm is not None)  # in a tuple: they are not parts of it
        self.read_teacher()

    def read_teacher(self) -> None:
        """The margins follow from the BatchNorms' weights."""
        for i, norm in enumerate(self._norms):
            margin = self.get_buffer(f"margin_{i}")
            margin.copy_(_margins(norm, len(margin)).reshape(margin.shape))

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses: list[Tensor] = []
        count = len(self.connectors)
        for i, (connect, own, theirs) in enumerate(
            zip(self.connectors, student.features, teacher.features, strict=True)
        ):
            smaller_s, smaller_t = at_the_smaller(own, theirs)
            connected = connect(smaller_s)
            with torch.no_grad():  # where the student is low enough, it is to stay as it is: no gradient
                target = torch.maximum(smaller_t, self.get_buffer(f"margin_{i}"))
                target = torch.where((connected > target) | (target > 0), target, connected)
            losses.append(F.mse_loss(connected, target, reduction="sum") / len(own) * 2.0 ** (i - count + 1))
        return torch.stack(losses).sum()


def _margins(norm: nn.Module, channels: int) -> Tensor:
    """E[x | x < 0] of N(bias, weight^2), per channel [C]; -3 deviations where negative values are rare."""
    mean_C, deviation_C = (_numbers(norm, name, channels) for name in ("bias", "weight"))
    # A weight of 0 makes a constant channel; the smallest deviation keeps the quotient defined.
    deviation_C = deviation_C.abs().clamp(min=1e-12)
    standard_C = mean_C / deviation_C
    negative_C = torch.special.ndtr(-standard_C)
    density_C = torch.exp(-standard_C.square() / 2) / math.sqrt(2 * math.pi)
    conditional_C = mean_C - deviation_C * density_C / negative_C
    margins_C = torch.where(negative_C > RARE, conditional_C, -3 * deviation_C)
    return margins_C.to(torch.get_default_dtype())


def _numbers(norm: nn.Module, name: str, channels: int) -> Tensor:
    """The bias or weight of a BatchNorm in float64; 0 and 1 where it has none."""
    found = getattr(norm, name, None)
    if found is None:
        return torch.full((channels,), float(name == "weight"), dtype=torch.float64)
    numbers: Tensor = found.detach().double()
    return numbers
