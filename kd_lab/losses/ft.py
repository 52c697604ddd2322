"""FT: factor transfer, the teacher's last map put in other words first, then learned in those.

A paraphraser, three convolutions that narrow the teacher's last map and three that restore it, is trained on the
teacher alone to lose as little as it can. What stands in its middle are the factors. A translator of the same form
makes factors of the student's map, and the two are compared after each is scaled to length 1.
Source: Kim, Park, Kwak 2018 (arXiv:1802.04977), section 3, with the L1 distance (p = 1).

Helps little by today's measure: in CRD's benchmark (Tian et al. 2020) it does less than KD on all 13 pairs, and
torchdistill reproduced 71.56 on ImageNet, against 71.37 of KD. Costs six 3x3 convolutions a step, three with the
teacher's channels, and a first stage with twelve. Defaults: the last map, rate 0.5, 30 epochs for the paraphraser,
weight 500, hard labels 1 (the authors' code for CIFAR-10; CRD's 200 belongs to the form below).

Differs: CRD's benchmark reduces the factors to one map, the mean of squares over the channels as AT does, before the
distance, and normalises the translator's layers over the batch; this is the paper's form, as in the authors' code,
whose numbers are smaller. The reconstruction is measured by squares, as in the paper; the authors' code
takes absolute values. The restoring layers are plain convolutions, which at stride 1 can do what transposed ones do.
Of two resolutions the larger factor is average-pooled.

Legend: B batch, C channels.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair, positive, with_positions, within
from kd_lab.losses.common.loss import Layers, Loss, Stage
from kd_lab.losses.common.maps import at_the_smaller, conv3x3
from kd_lab.losses.common.stages import stage_epochs as checked_epochs
from kd_lab.types import Batch, Outputs, Shape

SLOPE = 0.1
"""Of the leaky ReLU after each convolution, below 0."""


class FT(Loss):
    """`mean |u(T(f_s)) - u(P(f_t))|` over b and all entries; u scales a sample's factors to length 1.

    T is the translator. P is the first half of the paraphraser, trained before the student and never with it.

    Args:
        rate: factors per channel of the teacher.
        stage_epochs: of the paraphraser's training.
        student_shapes: of the student's map or sequence, channels first.
        teacher_shapes: of the teacher's, with as many axes.

    Raises:
        ValueError: a setting is out of range, there is more than one pair, or a layer has no positions.
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "last"
    maps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        student_shapes: tuple[Shape, ...],
        teacher_shapes: tuple[Shape, ...],
        rate: float = 0.5,
        stage_epochs: int = 30,
    ) -> None:
        super().__init__()
        own, theirs = one_pair(student_shapes, teacher_shapes)
        with_positions(student_shapes, teacher_shapes)
        self.rate = within("rate", positive("rate", rate), 0.0, 1.0)
        self.stage_epochs = checked_epochs(stage_epochs, least=1)
        factors = max(round(theirs[0] * self.rate), 1)
        self.translator = _three(own, own[0], factors, factors)
        self.paraphraser = Paraphraser(theirs, factors).requires_grad_(False)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        with torch.no_grad():
            factors_t = self.paraphraser.encoder(teacher.features[0])
        smaller_s, smaller_t = at_the_smaller(self.translator(student.features[0]), factors_t)
        return F.l1_loss(F.normalize(smaller_s.flatten(1), dim=1), F.normalize(smaller_t.flatten(1), dim=1))

    def first_stage(self) -> Stage:
        """The paraphraser learns to restore the teacher's map."""
        return Stage(Reconstruction(self.paraphraser), epochs=self.stage_epochs, trains_student=False, only=False)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"rate={self.rate}, stage_epochs={self.stage_epochs}"


class Paraphraser(nn.Module):
    """From a map of the teacher to its factors, and back.

    Args:
        shape: of the map, channels first.
        factors: channels in the middle.
    """

    def __init__(self, shape: Shape, factors: int) -> None:
        super().__init__()
        self.encoder = _three(shape, shape[0], factors, factors)
        self.decoder = _three((factors, *shape[1:]), factors, shape[0], shape[0])

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, *positions] to the same shape, restored from its factors."""
        restored: Tensor = self.decoder(self.encoder(feature))
        return restored


class Reconstruction(Loss):
    """`mean (P(f_t) - f_t)^2`, what the paraphraser is trained for. It looks at the teacher alone."""

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "last"

    def __init__(self, paraphraser: Paraphraser) -> None:
        super().__init__()
        self.paraphraser = paraphraser

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        return F.mse_loss(self.paraphraser(teacher.features[0]), teacher.features[0])


def _three(shape: Shape, *channels: int) -> nn.Sequential:
    """3x3 convolutions to each of these numbers of channels in turn, a leaky ReLU after each."""
    layers: list[nn.Module] = []
    now = shape[0]
    for size in channels:
        layers += [conv3x3((now, *shape[1:]), size, bias=True), nn.LeakyReLU(SLOPE)]
        now = size
    return nn.Sequential(*layers)
