"""CWD: channel-wise distillation, where in the image each channel looks.

Matches, channel by channel, the softmax of the map over its positions: each channel of the teacher says where it finds
what it is after, and the student's channel of the same number is to find it there. Source: Shu et al. 2021
(arXiv:2011.13256), the Kullback-Leibler form, with temperature, T^2 and the mean over samples and channels of the
authors' code.

Helps where the answer is a map: it was published for semantic segmentation and object detection, on the map of the
classes' scores and on features. In classification it sees the last map, before the average over its positions. No
parameters; it costs two softmaxes over the map. Defaults: the last map, T = 4 and weight 3 (the authors' command for
the map of scores), hard labels 1.

Differs: the student's map is average-pooled on the axes where it is larger than the teacher's, and interpolated where
it is smaller; the authors' two maps have one resolution. The channels must be as many, because they are compared one
by one; the paper puts a 1x1 convolution onto the student where they are not.

Legend: B batch, C channels, S positions.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.channels import with_equal_channels
from kd_lab.losses.common.checks import one_pair, positive, with_several_positions
from kd_lab.losses.common.loss import Layers, Loss
from kd_lab.losses.common.maps import at_resolution
from kd_lab.types import Batch, Outputs, Shape


class CWD(Loss):
    """`T^2 * mean_{b,c} KL(p_t || p_s)` in nats, p the softmax over the positions of a channel's map divided by T.

    Args:
        temperature: T, the softening of both distributions, in the unit of the activations.
        student_shapes: of the student's layer, channels first.
        teacher_shapes: of the teacher's layer, with as many axes and channels.

    Raises:
        ValueError: `temperature` is not a finite number above 0, there is more than one pair of layers, a layer has no
            positions or a single one, or the two have not as many axes or channels.
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    layers: ClassVar[Layers | None] = "last"
    maps: ClassVar[bool] = True
    places: ClassVar[bool] = True

    def __init__(
        self, *, student_shapes: tuple[Shape, ...], teacher_shapes: tuple[Shape, ...], temperature: float = 4.0
    ) -> None:
        super().__init__()
        one_pair(student_shapes, teacher_shapes)
        with_several_positions(student_shapes, teacher_shapes)
        with_equal_channels(student_shapes, teacher_shapes)
        self.temperature = positive("temperature", temperature)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        theirs = teacher.features[0]
        own = at_resolution(student.features[0], tuple(theirs.shape[2:]))
        log_p_s_BCS, log_p_t_BCS = self._log_places(own), self._log_places(theirs)
        divergences = F.kl_div(log_p_s_BCS, log_p_t_BCS, reduction="sum", log_target=True)
        return divergences * (self.temperature**2 / (theirs.shape[0] * theirs.shape[1]))

    def _log_places(self, feature: Tensor) -> Tensor:
        return F.log_softmax(feature.flatten(2) / self.temperature, dim=2)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}"
