"""Reverse KL: the divergence of KD with the two networks changed over, `T^2 * mean_b KL(p_s^T || p_t^T)`.

Matches from the student's side: each class counts as much as the student believes in it. Where the student cannot have
everything, it drops classes that the teacher knows rather than believe in one that the teacher excludes; KD does the
opposite. Source: Gu et al. 2024, MiniLLM (arXiv:2306.08543), equation 1, where it is taken over sampled sequences;
the temperature is ours, with the T^2 of KD.

Helps generation most, where mass on what the teacher would never say does harm. On digits (100 labels, 1097 unlabelled
points, ten splits) it gained 4.1 points over the student alone, as KD did (4.1 to 4.2), with the lower calibration
error of the two (2.3 % against 3.4 to 3.7 %). Costs what KD costs.
Defaults: T = 1, weight 1, hard labels 0: the divergence alone, as with language models.

Differs: MiniLLM samples from the student and follows a policy gradient; a classifier's few classes are summed exactly.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.probabilities import kl, log_softmax
from kd_lab.types import Batch, Outputs


class ReverseKL(Loss):
    """`T^2 * mean_b sum_k p_s (log p_s - log p_t)` in nats, with `p = softmax(logits / T)`.

    Args:
        temperature: T, the softening of both distributions, without unit. 1 leaves them as they are.

    Raises:
        ValueError: `temperature` is not a finite number above 0.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> ReverseKL()(Outputs(logits), Outputs(logits), batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_p_s_BK = log_softmax(student.logits, self.temperature)
        log_p_t_BK = log_softmax(teacher.logits, self.temperature)
        return kl(log_p_s_BK, log_p_t_BK) * self.temperature**2

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}"
