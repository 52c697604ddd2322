"""A student that answers through its teacher's classifier: what SimKD trains, and deploys.

Source: Chen et al. 2022 (SimKD, arXiv:2203.14001), figure 2: a projector brings the student's last map to the teacher's
channels, the teacher's pooling and classifier do the rest; both stay when the student is used, so both are counted.

Legend: B batch, C channels, K classes.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kd_lab.insight.taps import Tap, Taps
from kd_lab.models.common.deployed import Deployed
from kd_lab.norm import BatchNorm
from kd_lab.types import Shape


class Grafted(Deployed):
    """Student up to a layer, projector, global average pooling where there are positions, the teacher's classifier.

    The student's own classifier is taken out. The module `projector` says what is compared with the teacher's layer.

    Args:
        student: the network whose layers are used.
        num_classes: K.
        tap: where its features are taken, the fields of a `Tap`.
        own_head: the path of its own classifier.
        teacher_layer: the teacher's layer that the projector learns from, by its name there.
        student_shape: what the tap reads, channels first.
        teacher_shape: what the teacher's layer says.
        head_bias: whether the teacher's classifier has a bias.
        factor: the projector's inner width is the teacher's channels divided by it.
    """

    def __init__(
        self,
        student: nn.Module,
        num_classes: int,
        *,
        tap: Mapping[str, Any],
        own_head: str,
        teacher_layer: str,
        student_shape: Shape,
        teacher_shape: Shape,
        head_bias: bool,
        factor: float,
    ) -> None:
        super().__init__()
        grid = tap.get("grid")
        self.student = student
        student.set_submodule(own_head, nn.Identity())  # first: the tap may be on what goes into it
        self.taps = Taps(student, [Tap(**{**tap, "grid": None if grid is None else tuple(grid)})]).attach()
        self.compares = ("projector", teacher_layer)
        self.projector = Projector(tuple(student_shape), tuple(teacher_shape), factor=factor)
        self.head = nn.Linear(teacher_shape[0], num_classes, bias=head_bias).requires_grad_(False)

    def adopt(self, classifier: nn.Module) -> None:
        """Take over the teacher's classifier; it is never trained."""
        self.head.load_state_dict(classifier.state_dict())

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *input_shape] to logits [B, K]."""
        self.student(inputs)
        (feature,) = self.taps.take()
        projected = self.projector(feature)
        pooled_BC = projected.flatten(2).mean(dim=2) if projected.ndim > 2 else projected
        logits_BK: Tensor = self.head(pooled_BC)
        return logits_BK


class Projector(nn.Module):
    """1x1, 3x3, 1x1 convolutions with BatchNorm and ReLU from the student's channels to the teacher's.

    Vectors get linear layers. A student's map of higher resolution is average-pooled to the teacher's first, as in the
    authors' code; a smaller one stays as it is.

    Raises:
        ValueError: the two have not the same number of axes.
    """

    def __init__(self, student_shape: Shape, teacher_shape: Shape, *, factor: float) -> None:
        super().__init__()
        own = student_shape[1:]
        if len(student_shape) != len(teacher_shape):
            raise ValueError(
                "Expected the layer of the student to have as many axes as the teacher's, "
                f"but got {list(student_shape)} and {list(teacher_shape)}."
            )
        shared = tuple(map(min, own, teacher_shape[1:]))
        # 1x1 kernels on one position are linear layers; a vector is a sequence of one position.
        dimensions = max(len(shared), 1)
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        pool: Any = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dimensions - 1]
        inner, outer = max(round(teacher_shape[0] / factor), 1), teacher_shape[0]
        middle = 3 if shared else 1
        layers: list[nn.Module] = [pool(shared)] if own != shared else []
        for size_in, size_out, kernel in ((student_shape[0], inner, 1), (inner, inner, middle), (inner, outer, 1)):
            layers += [conv(size_in, size_out, kernel, padding=kernel // 2, bias=False), BatchNorm(size_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.is_vector = not shared

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C_student, *positions] to [B, C_teacher, *the smaller map's positions]."""
        out: Tensor = self.layers(feature.unsqueeze(2) if self.is_vector else feature)
        return out.squeeze(2) if self.is_vector else out
