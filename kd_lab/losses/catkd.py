"""CAT-KD: class attention transfer, where in the image each class is seen.

Matches the class activation maps: the classifier's weights, applied at every position of the map whose average it
reads, give a map of each class, and their means are the logits without the bias. The maps of both networks are pooled
to a few positions and each is scaled to length 1. The student's classifier learns from this too, through its weights.
Source: Guo et al. 2023 (arXiv:2304.12777), section 3; maps of the classes from Zhou et al. 2016 (arXiv:1512.04150).

Helps to see what is learned, a place for each class. The weight is delicate: the authors' lies between 0.7 and 600 on
CIFAR-100, and they ask that it be tuned to bring the weighted term to 1 to 50 after the first epoch. Costs two
products of the classifier with four vectors a sample; no parameters. Defaults: maps of 2 x 2, normalised, weight 15
(the authors' for VGG-13 to MobileNetV2), hard labels 1. Between networks of one family the authors do not normalise:
normalize=false with the same weight is theirs for resnet32x4 to resnet8x4.

Differs: the authors put a 1x1 convolution without bias before the average, which is the same classifier; here the
networks stay as they are, and the bias, the same at every position, is left out. Pooling comes before the weights, not
after: both are linear, and there is less to multiply. Two maps that do not reach the resolution keep the smaller one.
A class's map that is 0 everywhere is divided by 1: by the 1e-12 of the authors' code, its gradient is of the order 1e9.

Legend: B batch, C channels, K classes, S positions.
"""

import math
from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair, with_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_resolution
from kd_lab.losses.common.units import units
from kd_lab.types import Batch, Outputs, Shape


class CATKD(Loss):
    """`mean_{b,k,s} (u(A_s) - u(A_t))^2`, A [K, S] = W f of the pooled map f [C, S], u the scaling to length 1 over S.

    Args:
        resolution: positions along each axis after pooling.
        normalize: scale each class's map to length 1; false compares them as they are.
        student_shapes: of the map that the student's classifier reads the average of, channels first.
        teacher_shapes: of the teacher's, with as many axes.
        student_head: the student's classifier, whose weights get a gradient.
        teacher_head: the teacher's.

    Raises:
        ValueError: `resolution` is no whole number above 0, there is more than one pair, a layer has no positions, or
            one position alone is to be normalised, which leaves nothing but its sign.
    """

    zero_at_equality: ClassVar[bool] = False  # two classifiers may read the same map
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False  # it holds the two classifiers
    layers: ClassVar[Layers | None] = "pooled"
    maps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        student_head: nn.Module,
        teacher_head: nn.Module,
        resolution: int = 2,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        with_positions(student_shapes, teacher_shapes)
        if resolution != int(resolution) or resolution < 1:
            raise ValueError(f"Expected `resolution` to be a whole number >= 1, but got {resolution}.")
        self.resolution, self.normalize = int(resolution), normalize
        self.positions = tuple(min(s, t, self.resolution) for s, t in zip(own[1:], theirs[1:], strict=True))
        if normalize and math.prod(self.positions) == 1:
            raise ValueError(
                f"Expected maps of more than one position where they are normalised, but got {list(own)} and "
                f"{list(theirs)} at `resolution` {resolution}; `normalize=false` compares them as they are."
            )
        self._heads = (student_head, teacher_head)  # in a tuple: they are not parts of the loss

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own, theirs = self._heads
        maps_s = self._maps(student.features[0], cast("Tensor", own.weight))
        return F.mse_loss(maps_s, self._maps(teacher.features[0], cast("Tensor", theirs.weight).detach()))

    def _maps(self, feature: Tensor, weight_KC: Tensor) -> Tensor:
        """[B, C, *positions] to [B, K, S]."""
        pooled_BCS = at_resolution(feature, self.positions).flatten(2)
        maps_BKS = weight_KC.to(pooled_BCS) @ pooled_BCS
        return units(maps_BKS, 2) if self.normalize else maps_BKS

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"resolution={self.resolution}, normalize={self.normalize}"
