"""Alpha-divergence: a family that leads from reverse KL to KL without a jump.

Matches probabilities, and alpha says which mistake is the dearer: near 1 (KL, as KD) a class that the teacher believes
in and the student does not; near 0 (reverse KL) a class that only the student believes in. At 0.5 both weigh the same:
4 times the squared Hellinger distance, which is at most 4.
Source: Amari's divergence as Wang et al. 2021 use it, AlphaNet (arXiv:2102.07954); the T^2 is ours, as in KD.

Helps where KL makes the student too vague or its reverse makes it too sure, and one wants a point between; AlphaNet
gains on ImageNet with it for the subnetworks of a supernet. Not measured on our digits, where the two ends did the same
(4.1 and 4.2 points over the student alone). Costs about twice KD.
Defaults: alpha = 0.5, T = 1, weight 1, hard labels 0: the divergence alone.

Differs: AlphaNet takes the larger of the divergences at two alphas for each sample, and clips powers of ratios of
probabilities; here it is one alpha in [0, 1], where nothing needs clipping. The ends are the two KLs, and the values
near them go there to the last digit.

Legend: B batch, K classes.
"""

from typing import ClassVar

import torch
from torch import Tensor

from kd_lab.losses.common.checks import positive, within
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.probabilities import kl, log_softmax
from kd_lab.types import Batch, Outputs

MOST = 80.0
"""exp(80) still fits float32. A larger exponent stands beside a probability below exp(-160): nothing is lost."""

SMALLEST = 1e-20
"""Below it the difference from KL is beyond any float's digits, and the share itself would vanish in float32."""


class AlphaDivergence(Loss):
    """`T^2 * mean_b [1 - sum_k p_t^alpha p_s^(1 - alpha)] / (alpha (1 - alpha))`, with `p = softmax(logits / T)`.

    In nats at the ends: alpha = 1 is KL(t || s), alpha = 0 is KL(s || t). `symmetric` is declared for the default:
    only alpha = 0.5 treats both networks alike.

    Args:
        temperature: T, the softening of both distributions, without unit. 1 leaves them as they are.
        alpha: the power of the teacher's probabilities, from 0 to 1.

    Raises:
        ValueError: `temperature` is not a finite number above 0, or `alpha` is not from 0 to 1.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> AlphaDivergence()(Outputs(student), Outputs(teacher), batch)  # nothing in common
        tensor(4.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True

    def __init__(self, *, temperature: float = 1.0, alpha: float = 0.5) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.alpha = within("alpha", alpha, 0, 1)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_p_s_BK = log_softmax(student.logits, self.temperature)
        log_p_t_BK = log_softmax(teacher.logits, self.temperature)
        if self.alpha <= 0.5:
            divergence = _divergence(log_p_s_BK, log_p_t_BK, self.alpha)
        else:
            divergence = _divergence(log_p_t_BK, log_p_s_BK, 1 - self.alpha)
        return divergence * self.temperature**2

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, alpha={self.alpha}"


def _divergence(log_p_BK: Tensor, log_q_BK: Tensor, share: float) -> Tensor:
    """mean_b [1 - sum_k p^(1 - share) q^share] / (share (1 - share)), share at most 1/2; at 0 it is KL(p || q).

    p sums to 1, so the numerator is -sum_k p expm1(share (log q - log p)): it is of the size of the share, as the
    denominator, and no digits are lost near 0.
    """
    if share < SMALLEST:
        return kl(log_p_BK, log_q_BK)
    exponent_BK = (share * (log_q_BK - log_p_BK)).clamp(max=MOST)
    return -(log_p_BK.exp() * torch.expm1(exponent_BK)).sum() / (share * (1 - share) * len(log_p_BK))
