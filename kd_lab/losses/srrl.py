"""SRRL: the student's vector must mean to the teacher's classifier what the teacher's own vector means.

Matches what the classifier reads, through a connector: the vectors themselves, and the logits that the teacher's frozen
classifier makes of the student's vector with the teacher's logits. The second part knows which differences between
vectors matter for the classes, and which do not. Source: Yang et al. 2021 (ICLR, "Knowledge distillation via softmax
regression representation learning"), the losses L_FM and L_SR, with the connector of the authors' code.

Helps more than KD where the two networks differ: ResNet-50 to MobileNet on ImageNet 72.49 against 70.50, ResNet-34 to
ResNet-18 71.73 against 70.66. Costs one 1x1 convolution on the last map, and once the classifier. Defaults: alpha 1,
beta 1, weight 1, hard labels 1, as in the authors' code for ImageNet; cls_KD takes beta 5 on CIFAR-100.

Differs: as in the authors' code, the two maps are compared after averaging over the positions, which is what the
classifier reads, so that resolutions need not agree. Where one of the
networks has no map whose average its classifier reads, the vectors are compared and the connector is a linear layer.
The connector ends in a ReLU, as published, so it cannot follow a vector with negative numbers (of a transformer, or an
RNN).

Legend: B batch, C channels, K classes.
"""

from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import not_negative, one_pair
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import conv1x1
from kd_lab.norm import BatchNorm
from kd_lab.types import Batch, Outputs, Shape


class SRRL(Loss):
    """`alpha * mean (h_s - h_t)^2 + beta * mean (W_t h_s + b_t - z_t)^2`.

    h_t is the teacher's layer and h_s the connector of the student's (1x1 convolution, BatchNorm, ReLU), both averaged
    over the positions; W_t and b_t are the teacher's classifier. Means over samples and channels, or classes.

    Args:
        alpha: weight of the vectors.
        beta: weight of the logits.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.
        teacher_head: the teacher's classifier, a linear layer; it is not trained and not part of the loss's state.

    Raises:
        ValueError: a setting is negative, there is more than one pair, or the classifier does not read the layer.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    symmetric: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "pooled"

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        teacher_head: nn.Module,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        read = cast("Tensor", teacher_head.weight).shape[1]
        if theirs[0] != read:
            raise ValueError(
                f"Expected the layer of the teacher to have the {read} channels that its classifier reads, "
                f"but got {list(theirs)}."
            )
        self.alpha = not_negative("alpha", alpha)
        self.beta = not_negative("beta", beta)
        convolution = conv1x1(own, theirs[0])
        nn.init.kaiming_normal_(cast("Tensor", convolution.weight), mode="fan_out", nonlinearity="relu")
        self.connector = nn.Sequential(convolution, BatchNorm(theirs[0]), nn.ReLU())
        self._head = (teacher_head,)  # in a tuple, so that it is no part of this module

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BC, theirs_BC = _averaged(self.connector(student.features[0])), _averaged(teacher.features[0])
        return self.alpha * F.mse_loss(own_BC, theirs_BC) + self.beta * F.mse_loss(self._read(own_BC), teacher.logits)

    def _read(self, vectors_BC: Tensor) -> Tensor:
        """What the teacher's classifier says of them, in their precision and on their device."""
        (head,) = self._head
        weight, bias = cast("Tensor", head.weight), cast("Tensor | None", head.bias)
        return F.linear(
            vectors_BC, weight.detach().to(vectors_BC), None if bias is None else bias.detach().to(vectors_BC)
        )

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"alpha={self.alpha}, beta={self.beta}"


def _averaged(feature: Tensor) -> Tensor:
    return feature.flatten(2).mean(dim=2) if feature.ndim > 2 else feature
