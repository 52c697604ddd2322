"""Soft labels: cross-entropy of the student with the teacher's probabilities as targets, at temperature 1.

Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2, at T = 1; the recipe of the article that this project
started from. The gradient is that of `KD(temperature=1.0)`; the value is larger by the teacher's entropy, so it is NOT
0 when the student equals the teacher.

Helps where the student sees unlabelled points, as `kd`; a teacher that is not sure of anything yet gives weak gradients
and a worse student than hard labels do. Costs two softmaxes a batch.
Defaults: weight 1, hard labels 0.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs


class SoftLabel(Loss):
    """`mean_b -sum_k p_t log p_s` in nats, with `p = softmax(logits)`.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2)
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SoftLabel()(Outputs(logits), Outputs(logits), batch)
        tensor(0.6931)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self) -> None:  # Without it the signature would be nn.Module's, which takes anything.
        super().__init__()

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        return F.cross_entropy(student.logits, F.softmax(teacher.logits, dim=-1))
