"""Skew KL: the divergence of KD from a student that is lent a little of the teacher, `T^2 mean_b KL(p_t || m)`.

Matches what KD matches, but with `m = alpha p_t + (1 - alpha) p_s` in the student's place. No class of m is less
probable than alpha times the teacher's, so the divergence is at most -ln(alpha), where KD's has no bound as the
student rules out a class of the teacher's.
Source: Ko et al. 2024, DistiLLM (arXiv:2402.03898); the temperature is ours, with the T^2 of KD.

Helps language models, where the published gains are over KL and its reverse. Not measured on our digits. Costs up
to twice KD. Defaults: alpha = 0.1, T = 1, weight 1, hard labels 0: the divergence alone, as with language models.

Differs: computed in log space, where the authors take the logarithm of mixed probabilities.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.mixtures import skewed_kl
from kd_lab.losses.common.probabilities import log_softmax
from kd_lab.types import Batch, Outputs


class SkewKL(Loss):
    """`T^2 * mean_b KL(p_t || alpha p_t + (1 - alpha) p_s)` in nats, with `p = softmax(logits / T)`.

    Args:
        temperature: T, the softening of both distributions, without unit. 1 leaves them as they are.
        alpha: the teacher's share of the mixture. 0 is KD; at 1 nothing of the student would be left.

    Raises:
        ValueError: `temperature` is not a finite number above 0, or `alpha` is not from 0 to below 1.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SkewKL(alpha=0.1)(Outputs(student), Outputs(teacher), batch)  # nothing in common: ln 10
        tensor(2.3026)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 1.0, alpha: float = 0.1) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.alpha = float(alpha)
        if not 0 <= self.alpha < 1:
            raise ValueError(f"Expected `alpha` to be from 0 to below 1, but got {self.alpha}.")

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_p_s_BK = log_softmax(student.logits, self.temperature)
        log_p_t_BK = log_softmax(teacher.logits, self.temperature)
        return skewed_kl(log_p_t_BK, log_p_s_BK, self.alpha) * self.temperature**2

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, alpha={self.alpha}"
