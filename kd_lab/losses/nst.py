"""NST: neuron selectivity transfer, where in the image each channel responds, as a set of patterns.

Matches, stage by stage, the distribution of the channels' normalised maps: the squared maximum mean discrepancy (MMD)
with the kernel `<a, b>^2`. It is a distance between two sets, so channels need not agree in number or order. Source:
Huang and Wang 2017 (arXiv:1707.01219), the polynomial kernel with d = 2 and c = 0; stages and weight are those of CRD's
benchmark (Tian et al. 2020), whose means over all pairs we keep.

Helps on CNNs of one family; between families it can hurt: in CRD's benchmark vgg13 to MobileNetV2 ends 6 points below
the student alone. No parameters; it costs the products of all pairs of channels of a stage, or of all pairs of
positions, whichever are fewer. Defaults: every stage but the stem, weight 50, hard labels 1.

Differs: of two resolutions the larger is average-pooled, axis by axis; CRD's code looks at the height alone. With
`G = sum_c a_c a_c^T / C` [S, S] the discrepancy is `||G_s - G_t||^2`, the same number as that of the three means over
channel pairs; this form is used where a map has no more positions than channels, because it is the smaller then.

Legend: B batch, C channels, S positions.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import with_several_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_the_smaller
from kd_lab.types import Batch, Outputs, Shape


class NST(Loss):
    """`sum_pairs mean_b [mean k(t, t) + mean k(s, s) - 2 mean k(s, t)]`, `k(a, b) = <a, b>^2`, over all pairs of
    channels.

    s, t: the channels' maps [S], each of length 1 per sample.

    Args:
        student_shapes: of the student's layers, channels first.
        teacher_shapes: of the teacher's layers, with as many axes.

    Raises:
        ValueError: a layer has no positions or a single one, or the two of a pair have not as many axes.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "stages"
    maps: ClassVar[bool] = True
    places: ClassVar[bool] = True

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        with_several_positions(student_shapes, teacher_shapes)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses = []
        for own, theirs in zip(student.features, teacher.features, strict=True):
            smaller_s, smaller_t = at_the_smaller(own, theirs)
            losses.append(_discrepancy(smaller_s.flatten(2), smaller_t.flatten(2)))
        return torch.stack(losses).sum()


def _discrepancy(own_BCS: Tensor, theirs_BCS: Tensor) -> Tensor:
    if own_BCS.shape[2] <= max(own_BCS.shape[1], theirs_BCS.shape[1]):
        return (_gram(own_BCS) - _gram(theirs_BCS)).square().sum(dim=(1, 2)).mean()
    # Products of the maps as they are, divided by the lengths after: no normalised map is kept for the gradient.
    students, teachers = own_BCS @ own_BCS.mT, theirs_BCS @ theirs_BCS.mT
    across = own_BCS @ theirs_BCS.mT
    lengths_s, lengths_t = _lengths(students), _lengths(teachers)
    among_students, among_teachers = _kernel(students, lengths_s, lengths_s), _kernel(teachers, lengths_t, lengths_t)
    return among_teachers + among_students - 2 * _kernel(across, lengths_s, lengths_t)


def _gram(maps_BCS: Tensor) -> Tensor:
    patterns_BCS = F.normalize(maps_BCS, dim=2)
    return patterns_BCS.mT @ patterns_BCS / maps_BCS.shape[1]


def _lengths(products_BCC: Tensor) -> Tensor:
    return products_BCC.diagonal(dim1=1, dim2=2).clamp(min=1e-24).sqrt()


def _kernel(products: Tensor, lengths_BC: Tensor, others_BC: Tensor) -> Tensor:
    """The mean of the squared cosines over the samples and all pairs of channels."""
    return (products / (lengths_BC[:, :, None] * others_BC[:, None, :])).square().mean()
