"""Soft labels: cross-entropy of the student with the teacher's probabilities as targets, at temperature 1.

Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2, at T = 1; the recipe of the article that this project
started from. The gradient is that of `KD(temperature=1.0)`; the value is larger by the teacher's entropy, so it is NOT
0 when the student equals the teacher.

Legend: B batch, K classes.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import Batch, Outputs


class SoftLabel(nn.Module):
    """`mean_b -sum_k p_t log p_s` in nats, with `p = softmax(logits)`.

    Example:
        >>> logits = torch.zeros(1, 2)
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SoftLabel()(Outputs(logits), Outputs(logits), batch)
        tensor(0.6931)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    batch_relational: ClassVar[bool] = False

    def __init__(self) -> None:  # Without it the signature would be nn.Module's, which takes anything.
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """The loss of one batch; no gradient reaches the teacher.

        Args:
            student: logits [B, K].
            teacher: logits [B, K].
            batch: not used: every sample counts, labelled or not.

        Returns:
            Scalar in nats, mean over the samples; float32 for half-precision logits, with or without autocast.
        """
        p_t_BK = F.softmax(_wide(teacher.logits.detach()), dim=-1)
        return F.cross_entropy(_wide(student.logits), p_t_BK)


def _wide(logits_BK: Tensor) -> Tensor:
    return logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
