"""PKD: Pearson correlation distillation, the maps of both networks after each channel is standardised.

Matches, stage by stage, the activations of each channel with their mean taken off and divided by their deviation over
the batch and all positions: what remains is the pattern, not the magnitude, and the loss is `1 - r` but for a factor of
`(n - 1) / n`, with r the channel's Pearson correlation. Source: Cao et al. 2022 (arXiv:2207.02039), section 3, with
deviation, epsilon and resizing of the authors' code in MMRazor.

Helps where teacher and student differ in kind, so that their activations differ in size: it was published for pairs of
different object detectors. No parameters; it costs three passes over the maps. Defaults: every stage, weight 6
(MMRazor's for each level of a feature pyramid), hard labels 1.

Differs: a channel of the student that is constant has deviation 0, and no correlation; as published it is divided by
1e-6, and its gradient is of the order of 1e6 times that of the others. Here it is divided by 1 there: the value is the
same, and the gradient leads towards the teacher's pattern. Where the teacher's channel is constant, or a batch has one
value, the gradient is 0. A student's map of another size is resized bilinearly, as in the authors' code, if any of its
axes differs; the code looks at the height alone. Under DDP `gather=true` takes means and deviations over the maps of
all processes, and sends the maps; without it each process standardises its own.

Legend: B batch, C channels, S positions.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.channels import with_equal_channels
from kd_lab.losses.common.checks import with_positions
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.types import Batch, Outputs, Shape

_SMOOTH = {3: "linear", 4: "bilinear", 5: "trilinear"}

EPSILON = 1e-6
"""Added to every deviation, as published."""


class PKD(Loss):
    """`sum_pairs 1/2 mean (z_s - z_t)^2`, `z = (f - mean) / (std + 1e-6)` of each channel over batch and positions.

    std is divided by n - 1, n = B * S.

    Args:
        gather: under DDP, standardise over the samples of all processes.
        student_shapes: of the student's layers, channels first.
        teacher_shapes: of the teacher's layers, with as many axes and channels.

    Raises:
        ValueError: a layer has no positions, or the two of a pair have not as many axes or channels.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False  # the student is resized
    batch_relational: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], gather: bool = False
    ) -> None:
        super().__init__()
        with_positions(student_shapes, teacher_shapes)
        with_equal_channels(student_shapes, teacher_shapes)
        self.gather = gather

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses = []
        for own, theirs in zip(student.features, teacher.features, strict=True):
            resized = _resized(own, tuple(theirs.shape[2:]))
            pair = (gathered(resized), gathered(theirs)) if self.gather else (resized, theirs)
            losses.append(_uncorrelated(pair[0].flatten(2), pair[1].flatten(2)))
        return torch.stack(losses).sum()


def _resized(feature: Tensor, positions: Shape) -> Tensor:
    if tuple(feature.shape[2:]) == positions:
        return feature
    return F.interpolate(feature, positions, mode=_SMOOTH[feature.dim()], align_corners=False)


def _uncorrelated(own_BCS: Tensor, theirs_BCS: Tensor) -> Tensor:
    """`1/2 mean (z_s - z_t)^2` as `1/2 (mean z_s^2 + mean z_t^2) - mean z_s z_t`.

    The means of the first two are variances, and z_t has mean 0, so `mean z_s z_t = mean f_s z_t / std`: the student's
    map is not standardised entry by entry, which would keep two more of its size.
    """
    scale_s_C, variance_s_C, _ = _moments(own_BCS)
    scale_t_C, variance_t_C, mean_t_C = _moments(theirs_BCS)
    z_t_BCS = (theirs_BCS - mean_t_C) * scale_t_C
    together_C = scale_s_C * (own_BCS * z_t_BCS).mean(dim=(0, 2), keepdim=True)
    squares_C = scale_s_C.square() * variance_s_C + scale_t_C.square() * variance_t_C
    return (squares_C / 2 - together_C).mean()


def _moments(feature_BCS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each channel `1 / (std + 1e-6)`, the mean squared distance to the mean, and the mean: [1, C, 1]."""
    n = feature_BCS[:, 0].numel()
    variance_C, mean_C = torch.var_mean(feature_BCS, dim=(0, 2), correction=0, keepdim=True)
    # The square root has no derivative at 0; a variance below 1e-14 is lost beside epsilon anyway.
    std_C = (variance_C * (n / max(n - 1, 1))).clamp(min=1e-14).sqrt()
    # Of a constant channel z is 0, whatever divides it; divided by epsilon alone, its slope would be of the order 1e6.
    return 1 / (std_C + EPSILON).masked_fill(variance_C == 0, 1.0), variance_C, mean_C
