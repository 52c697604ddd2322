"""SRD: simple-recipe distillation, a linear projector, batch normalisation and the logarithm of a high power.

Matches the vector that the classifier reads, feature by feature: after one linear layer of the student both are
normalised over the batch, and the fourth powers of their differences are summed before a logarithm is taken. That is a
soft maximum: the features that are furthest apart are seen most, and the gradient does not fade as all come closer.
Source: Miles and Mikolajczyk 2024 (arXiv:2303.11098), with the form and epsilon of the authors' code for ImageNet.

Helps, and was repeated by others: on ImageNet, ResNet-34 to ResNet-18, the paper's 71.63 became 71.92 in torchdistill,
against 71.37 for KD there. It costs one linear layer and two normalisations of vectors. Defaults: alpha = 4, weight 2,
hard labels 1. The authors add the divergence of KD with T = 1 and weight 1 there.

Differs: the sum over the batch in the logarithm is a mean, so the value does not follow the batch size: log B less than
in the code, with the same gradient. 1e-5 is added to it, as in the authors' code for transformers, so that two equal
vectors have a logarithm. A map is averaged over its positions first, as in their code for ImageNet. In training a batch
of one, which has no deviation, counts 0. Under DDP each process normalises its own batch.

Legend: B batch, D features of the teacher.
"""

from typing import ClassVar

from torch import Tensor, nn

from kd_lab.losses.common.checks import one_pair, positive
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.types import Batch, Outputs, Shape

EPSILON = 1e-5
"""Added in the logarithm."""


class SRD(Loss):
    """`log(mean_b sum_d |N(W f_s + b) - N(f_t)|^alpha + 1e-5)`, N a BatchNorm without parameters, of epsilon 1e-4.

    Args:
        alpha: the power, at least 1.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: `alpha` is not a finite number of 1 or more, or there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_normalized: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "embedding"

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], alpha: float = 4.0
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        self.alpha = positive("alpha", alpha)
        if self.alpha < 1:  # Its derivative at 0, where two features agree, is not finite.
            raise ValueError(f"Expected `alpha` to be >= 1, but got {self.alpha}.")
        self.projector = nn.Linear(own[0], theirs[0])
        self.student_norm = nn.BatchNorm1d(theirs[0], eps=1e-4, affine=False)
        self.teacher_norm = nn.BatchNorm1d(theirs[0], eps=1e-4, affine=False)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD: Tensor = self.projector(_averaged(student.features[0]))
        if self.training and len(own_BD) < 2:
            return own_BD.sum() * 0.0
        apart_BD = self.student_norm(own_BD) - self.teacher_norm(_averaged(teacher.features[0]))
        result: Tensor = (apart_BD.abs().pow(self.alpha).sum(dim=1).mean() + EPSILON).log()
        return result

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"alpha={self.alpha}"


def _averaged(feature: Tensor) -> Tensor:
    """[B, C, *positions] to [B, C]."""
    return feature if feature.dim() == 2 else feature.flatten(2).mean(dim=2)
