"""AB: activation boundaries, on which side of its threshold each of the teacher's neurons is.

Matches the sign of every activation before its ReLU, not its size: the boundary between active and inactive is what
cuts the input space into regions. A student's neuron is pushed past the margin on the teacher's side, and left alone
beyond it. Source: Heo et al. 2019 (arXiv:1811.03233), section 3, the alternative loss with
connectors; factor 3 / 1000, mean over samples and sum over neurons as in the authors' code.

Helps as an initialisation: a first stage trains the student's body on this loss alone, then the labels take over and
the loss is gone. In CRD's benchmark (Tian et al. 2020) it does less than KD on all 13 pairs. Costs a 1x1 convolution
with BatchNorm where the channels differ, and the epochs of the first stage. Defaults: every stage but the stem, the
last with weight 1 and each one before it with half as much, margin 1, 30 epochs of first stage, weight 1, hard labels 1
(CRD's benchmark; the authors continue with KD, which is another term here).

Differs: stage_epochs=0 trains it together with the labels instead. As in the authors' code there is no connector where
the channels agree. A student's map of another resolution is average-pooled or interpolated to the teacher's, because
the mean of several of the teacher's neurons has no boundary of its own; CRD's code takes a strided convolution. The
student's BatchNorm is in training mode in the first stage, as in the authors' code; in CRD's it is not.

Legend: B batch, C channels.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.axes import same_axes
from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.connectors import connector
from kd_lab.losses.common.loss import Layers, Loss, Stage
from kd_lab.losses.common.maps import at_resolution
from kd_lab.losses.common.stages import stage_epochs as checked_epochs
from kd_lab.types import Batch, Outputs, Shape

SCALE = 3 / 1000
"""The authors' factor for CIFAR, where the sum over all neurons of a sample is large."""


class AB(Loss):
    """`3/1000 * sum_i 2^(i-L+1) * sum_neurons mean_b max(0, m - sign(f_t) * r(f_s))^2` for the pairs i = 0 .. L-1.

    sign is 1 above 0 and -1 elsewhere; r is the connector.

    Args:
        margin: m, how far beyond the boundary the student's neuron is pushed, in units of its activation.
        stage_epochs: of the first stage; 0 for none, then the loss is a term beside the labels.
        student_shapes: of the student's layers, channels first, or vectors.
        teacher_shapes: of the teacher's layers, with as many axes.

    Raises:
        ValueError: a setting is out of range, or the two layers of a pair have not as many axes.
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
        margin: float = 1.0,
        stage_epochs: int = 30,
    ) -> None:
        super().__init__()
        same_axes(student_shapes, teacher_shapes)
        self.margin = positive("margin", margin)
        self.stage_epochs = checked_epochs(stage_epochs)
        self.connectors = nn.ModuleList(
            connector(own, theirs[0]) if own[0] != theirs[0] else nn.Identity()
            for own, theirs in zip(student_shapes, teacher_shapes, strict=True)
        )

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        losses = []
        for connect, own, theirs in zip(self.connectors, student.features, teacher.features, strict=True):
            connected = connect(at_resolution(own, tuple(theirs.shape[2:])))
            with torch.no_grad():  # where the student is beyond the margin, it is to stay as it is: no gradient
                beyond = torch.where(theirs > 0, connected.clamp(min=self.margin), connected.clamp(max=-self.margin))
            losses.append(F.mse_loss(connected, beyond, reduction="sum") / len(own))
        count = len(losses)
        weighted = [loss * 2.0 ** (i - count + 1) for i, loss in enumerate(losses)]
        return torch.stack(weighted).sum() * SCALE

    def first_stage(self) -> Stage | None:
        """The student's body and the connectors learn the boundaries; nothing is left for the labels' training."""
        if self.stage_epochs == 0:
            return None
        return Stage(loss=self, epochs=self.stage_epochs, trains_student=True, only=True)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"margin={self.margin}, stage_epochs={self.stage_epochs}"
