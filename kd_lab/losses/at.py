"""AT: attention transfer, where in the image the network is active.

Matches, stage by stage, the map of squared activations averaged over the channels and scaled to length 1: where, not
what, so channels need not agree. Source: Zagoruyko and Komodakis 2017 (arXiv:1612.03928), equation 2 with p = 2; the
mean of squared differences and the weight are those of CRD's benchmark (Tian et al. 2020).

Helps a little on CNNs of one family; between families (VGG to MobileNet) it hurt in CRD's benchmark. No parameters;
costs one pass over the maps. Defaults: every stage but the stem, weight 1000 (the authors' beta / 2 with the mean in
place of the norm), hard labels 1.

Differs: of two resolutions the larger is average-pooled, axis by axis; CRD's code looks at the height alone.

Legend: B batch, C channels, S positions.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.inputs import mask_of
from kd_lab.losses.common.checks import with_several_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_the_smaller
from kd_lab.losses.common.tokens import counted, mean_over
from kd_lab.types import Batch, Outputs, Shape


class AT(Loss):
    """`sum_pairs mean_{b,s} (Q_s - Q_t)^2`, Q the squared activations [B, S] averaged over C, of length 1 per sample.

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
    tokens: ClassVar[bool] = True

    def __init__(self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        with_several_positions(student_shapes, teacher_shapes)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Every sample counts, labelled or not."""
        losses = []
        for own, theirs in zip(student.features, teacher.features, strict=True):
            smaller_s, smaller_t = at_the_smaller(own, theirs)
            losses.append(_apart(smaller_s, smaller_t, batch))
        return torch.stack(losses).sum()


def _apart(own: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
    """Of texts the padding is active in neither network, and no position that counts."""
    if mask_of(batch.inputs) is None:
        return (_attention(own) - _attention(theirs)).square().mean()
    counted_BL = counted(batch, own)
    kept_s, kept_t = (one.masked_fill(counted_BL[:, None] == 0, 0.0) for one in (own, theirs))
    return mean_over((_attention(kept_s) - _attention(kept_t)).square(), counted_BL)


def _attention(feature: Tensor) -> Tensor:
    flat_BCS = feature.flatten(2)
    # The mean of squares without a tensor of squares: three times as fast on a CPU as square().mean().
    return F.normalize(torch.linalg.vecdot(flat_BCS, flat_BCS, dim=1) / flat_BCS.shape[1], dim=1)
