"""SimKD: the student keeps its body and answers through its teacher's classifier.

Matches the map (or vector) whose average the teacher's classifier reads, through a projector; nothing else is trained
for, and the projector and the teacher's classifier are deployed with the student, so its parameters and MACs count
them. Source: Chen et al. 2022 (arXiv:2203.14001), equations 3 and 4, projector as in the authors' code with factor 2.

Helps where the teacher is much better than the student: the published gains are the largest of the feature methods. It
costs the projector, for good. Defaults: factor 2, weight 1, no hard labels, as published.

The larger map of the two is average-pooled to the other's resolution, as in the authors' code: the student's before the
projector, the teacher's before it is compared.

Differs: where the teacher's classifier reads no average of a map (a hidden layer comes between), the vector that it
reads is matched, through linear layers.

Legend: B batch, C channels.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair, positive
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_the_smaller
from kd_lab.types import Batch, Outputs, Shape


class SimKD(Loss):
    """`mean (p(f_s) - f_t)^2`; the projector p is part of the network that is trained and deployed.

    Args:
        factor: the projector's inner width is the teacher's channels divided by it.
        student_shapes: of what the projector says.
        teacher_shapes: of the teacher's layer.

    Raises:
        ValueError: `factor` is not above 0, or there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "pooled"
    deploys: ClassVar[str | None] = "kd_lab.models.common.grafted.Grafted"

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], factor: float = 2.0
    ) -> None:
        super().__init__()
        one_pair(student_shapes, teacher_shapes)
        self.factor = positive("factor", factor)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        return F.mse_loss(*at_the_smaller(student.features[0], teacher.features[0]))
