"""ReviewKD: each stage of the teacher is learned from all stages of the student that come after it too.

Matches every stage, through a review: from the last stage to the first, what the deeper stages know is handed down and
fused with the next one (ABF, attention-based fusion: two maps between 0 and 1 say where to listen to which), and the
result is compared with the teacher's stage at several scales (HCL, hierarchical context loss), so that both the layout
and the detail count. Source: Chen et al. 2021 (CVPR, arXiv:2104.09044), ABF and HCL as in the authors' code.

Helps on CNNs: 75.63 on CIFAR-100 (resnet32x4 to resnet8x4) where KD has 73.33, and 71.61 on ImageNet
(ResNet-34 to ResNet-18), found again by torchdistill (71.64). The best weight differs by pair, from 0.6 to 30. Its
convolutions cost more than those of any other classic: a 3x3 one at the resolution of every stage. They are not
deployed. Defaults: at most 512 inner channels, weight 5, hard labels 1, and a linear warm-up of the weight over the
first twelfth of the training (20 of 240 epochs; the authors step once an epoch).

Differs: the first level of the review is what the classifier reads, an average of the last map. It is taken from the
last stage itself, its negative numbers set to 0: for a network that ends in a ReLU and an average this is that vector.
Stages of both networks are heard before the activation that closes them. The authors hear the teacher so, and the
student after it; mdistiller hears both so for ResNet-34 to ResNet-18. Maps that are not square and sequences are
pooled on each axis down to 4, 2 and 1 where it is longer. Each channel with one value only is normalised by the
running statistics.

Legend: B batch, C channels, M inner channels.
"""

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import with_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_resolution, conv1x1, conv3x3
from kd_lab.norm import BatchNorm
from kd_lab.types import Batch, Outputs, Shape

MOST_CHANNELS = 512
SCALES = (4, 2, 1)


class Review(Loss):
    """`sum_levels HCL(fused_s, f_t)`, over the stages and, last, the average of the last one.

    `HCL(a, b) = [mean (a - b)^2 + sum_i 2^-i mean (pool_i(a) - pool_i(b))^2] / (1 + sum_i 2^-i)`, i = 1, 2, 3 for
    average pooling to at most 4, 2, 1 positions on each axis, as far as it changes anything (the weights follow: 1/2
    for the first that does).

    Args:
        student_shapes: of the student's stages, shallow to deep, channels first.
        teacher_shapes: of the teacher's stages.

    Raises:
        ValueError: there is no stage, one has no positions, or not all have as many axes.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True
    pre_activation: ClassVar[bool] = True

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        with_positions(student_shapes, teacher_shapes)
        axes = sorted({len(shape) - 1 for shape in student_shapes})
        if len(axes) > 1:
            raise ValueError(f"Expected all stages to have as many axes of positions, but got {axes}.")
        point = (1,) * axes[0]
        own = [*student_shapes, (student_shapes[-1][0], *point)]
        theirs = [*teacher_shapes, (teacher_shapes[-1][0], *point)]
        inner = min(MOST_CHANNELS, student_shapes[-1][0])
        fused = [True] * len(student_shapes) + [False]
        self.fusions = nn.ModuleList(_Fusion(s, inner, t, fused=f) for s, t, f in zip(own, theirs, fused, strict=True))

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own, theirs = _with_average(student.features), _with_average(teacher.features)
        handed_down: Tensor | None = None
        losses = []
        for fusion, feature, taught in zip(reversed(self.fusions), reversed(own), reversed(theirs), strict=True):
            said, handed_down = fusion(feature, handed_down)
            losses.append(_hierarchical(said - taught))
        return torch.stack(losses).sum()


class _Fusion(nn.Module):
    """ABF: 1x1 convolution, fusion with what was handed down, the teacher's resolution, 3x3 convolution."""

    def __init__(self, own: Shape, inner: int, theirs: Shape, *, fused: bool) -> None:
        super().__init__()
        self.positions = theirs[1:]
        self.reduce = nn.Sequential(conv1x1(own, inner), BatchNorm(inner))
        self.attend = conv1x1((2 * inner, *own[1:]), 2, bias=True) if fused else None
        self.expand = nn.Sequential(conv3x3((inner, *theirs[1:]), theirs[0]), BatchNorm(theirs[0]))
        for part in (self.reduce, self.expand):
            nn.init.kaiming_uniform_(part[0].weight, a=1)  # type: ignore[arg-type]

    def forward(self, feature: Tensor, handed_down: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's stage [B, C, *positions], and what is handed down [B, M, *positions]."""
        fused = self.reduce(feature)
        if self.attend is not None and handed_down is not None:
            shares = self._shares(self.attend, fused, handed_down)
            fused = fused * shares[:, :1] + _nearest(handed_down, fused.shape[2:]) * shares[:, 1:]
        fused = _nearest(fused, self.positions)
        return self.expand(fused), fused

    @staticmethod
    def _shares(attend: nn.Module, fused: Tensor, handed_down: Tensor) -> Tensor:
        """Two maps in (0, 1): what `attend` says of both features, one above the other, at the resolution of `fused`.

        It looks at one position at a time, so its second half may look at what was handed down before that is enlarged:
        less work, and neither is copied.
        """
        weight, bias = cast("Tensor", attend.weight), cast("Tensor", attend.bias)
        of_fused, of_handed = weight.flatten(1).chunk(2, dim=1)
        own = torch.einsum("om,bm...->bo...", of_fused, fused)
        deeper = torch.einsum("om,bm...->bo...", of_handed, handed_down)
        return (own + _nearest(deeper, own.shape[2:]) + bias.reshape(-1, *[1] * (own.ndim - 2))).sigmoid()


def _nearest(feature: Tensor, positions: Shape) -> Tensor:
    if tuple(feature.shape[2:]) == tuple(positions):
        return feature
    return F.interpolate(feature, tuple(positions), mode="nearest")


def _with_average(stages: tuple[Tensor, ...]) -> list[Tensor]:
    return [*stages, stages[-1].relu().mean(dim=tuple(range(2, stages[-1].ndim)), keepdim=True)]


def _hierarchical(difference: Tensor) -> Tensor:
    """HCL of two features: pooling is linear, so their difference is all that is needed."""
    positions = tuple(difference.shape[2:])
    loss, share, shares = difference.square().mean(), 1.0, 1.0
    for scale in SCALES:
        smaller = tuple(min(scale, size) for size in positions)
        if smaller != positions:
            share /= 2
            shares += share
            loss = loss + share * at_resolution(difference, smaller).square().mean()
    return loss / shares
