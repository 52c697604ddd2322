"""KD: the divergence between softened teacher and student, `T^2 * mean_b KL(p_t^T || p_s^T)`.

Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2 and equation 2. The paper writes a cross-entropy; we
write the KL divergence, as CRD and mdistiller do: the gradient is the same, and the value is 0 when the student equals
the teacher. T^2 keeps the size of the gradient when T changes, so that a weight keeps its meaning.

Legend: B batch, K classes.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lab.types import Batch, Outputs


class KD(nn.Module):
    """`T^2 * mean_b sum_k p_t (log p_t - log p_s)` in nats, with `p = softmax(logits / T)`.

    Args:
        temperature: T, the softening of both distributions, without unit. 1 leaves them as they are.

    Raises:
        ValueError: `temperature` is not a finite number above 0.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> KD(temperature=4.0)(Outputs(logits), Outputs(logits), batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    batch_relational: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 4.0) -> None:
        super().__init__()
        temperature = float(temperature)
        if not temperature > 0:  # Written so that NaN ends here too.
            raise ValueError(f"Expected `temperature` to be > 0, but got {temperature}.")
        if math.isinf(temperature):
            raise ValueError(f"Expected `temperature` to be finite, but got {temperature}.")
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """The loss of one batch; no gradient reaches the teacher.

        Args:
            student: logits [B, K].
            teacher: logits [B, K].
            batch: not used: every sample counts, labelled or not.

        Returns:
            Scalar in nats, mean over the samples; float32 for half-precision logits, with or without autocast.
        """
        log_p_s_BK = self._softened(student.logits)
        log_p_t_BK = self._softened(teacher.logits.detach())
        divergence = (log_p_t_BK.exp() * (log_p_t_BK - log_p_s_BK)).sum()
        return divergence * (self.temperature**2 / student.logits.shape[0])

    def _softened(self, logits_BK: Tensor) -> Tensor:
        # The cast comes before the division: a half-precision quotient would already be rounded.
        wide_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        return F.log_softmax(wide_BK / self.temperature, dim=-1)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}"
