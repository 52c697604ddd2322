"""SP: similarity-preserving KD, which samples of a batch activate a layer alike.

Matches the products of every sample's features with every other's, each row scaled to length 1. Channels and resolution
need not agree: what is compared is one number for each pair of samples. Source: Tung and Mori 2019 (arXiv:1907.09682),
section 3; layer and weight are those of CRD's benchmark (Tian et al. 2020).

Helps between families as much as within one: it ends above the student alone on all 13 pairs of CRD's benchmark, and
above KD on 2 of them. No parameters; it costs B^2 dot products of whole maps in each network. Defaults: the last map
(the last hidden vector, where a network has no maps), weight 3000, hard labels 1.

Differs: in no value from that code; where a sample's layer is 0, its gradient there is of the order 1e10, and here of
that of its products. A batch of one is like itself only, and counts 0. Under DDP `gather=true` compares
the samples of all processes, and sends whole maps; without it each process compares its own alone. These are fewer, so
the diagonal, where a sample meets itself, weighs more.

Legend: B batch, D features.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import one_pair
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.units import units
from kd_lab.types import Batch, Outputs, Shape


class SP(Loss):
    """`mean_{i,j} (G_s - G_t)^2`, G the products [B, B] of the flattened features, every row of length 1.

    Args:
        gather: under DDP, compare the samples of all processes.
        student_shapes: of the student's layer, any.
        teacher_shapes: of the teacher's layer, any.

    Raises:
        ValueError: there is more than one pair of layers.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    batch_relational: ClassVar[bool] = True
    layers: ClassVar[Layers | None] = "last"

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], gather: bool = False
    ) -> None:
        super().__init__()
        one_pair(student_shapes, teacher_shapes)
        self.gather = gather

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BD, theirs_BD = student.features[0].flatten(1), teacher.features[0].flatten(1)
        if self.gather:
            own_BD, theirs_BD = gathered(own_BD), gathered(theirs_BD)
        return F.mse_loss(_similarities(own_BD), _similarities(theirs_BD))


def _similarities(features_BD: Tensor) -> Tensor:
    return units(features_BD @ features_BD.T, 1)
