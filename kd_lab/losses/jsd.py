"""JSD: generalized Jensen-Shannon divergence, how well one can tell teacher and student apart.

Matches both networks to their mixture `m = beta p_t + (1 - beta) p_s`. It is bounded, by ln 2 at beta = 0.5: neither a
class that only the teacher believes in nor one that only the student does can make it large, as they make KL.
Source: Agarwal et al. 2024, GKD (arXiv:2306.13649), equation 1.

Helps where KL is ruled by a few very improbable classes, as with the large vocabularies it was proposed for; the
authors find the best beta to depend on the task. Not measured on our digits. Costs about twice KD.
Defaults: beta = 0.5, T = 1 (the 0.9 of TRL's GKD is a sampling temperature), weight 1, hard labels 0, no T^2, as
published.

The ends are set by definition: beta = 0 is KL(t || s) and beta = 1 is KL(s || t), as in the authors' family and in TRL.
They are no limits of the formula, which goes to 0 at both ends: near 0 it is `beta KL(t || s)`. So beta = 0 and
beta = 0.001 differ by a factor of 1000 in the size of the loss, and want weights that differ as much.

Differs: computed in log space, and a mean over the samples, where the paper has a mean over the tokens of a sequence.

Legend: B batch, K classes.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.checks import positive, within
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.mixtures import generalized_jsd
from kd_lab.losses.common.probabilities import log_softmax
from kd_lab.types import Batch, Outputs


class JSD(Loss):
    """`mean_b [beta KL(p_t || m) + (1 - beta) KL(p_s || m)]` in nats, with `p = softmax(logits / T)`.

    `symmetric` is declared for the default: only beta = 0.5 treats both networks alike.

    Args:
        temperature: T, the softening of both distributions, without unit. 1 leaves them as they are.
        beta: the teacher's share of the mixture, from 0 (KD at T = 1) to 1 (reverse KL).

    Raises:
        ValueError: `temperature` is not a finite number above 0, or `beta` is not from 0 to 1.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> JSD()(Outputs(student), Outputs(teacher), batch)  # nothing in common: ln 2
        tensor(0.6931)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True

    def __init__(self, *, temperature: float = 1.0, beta: float = 0.5) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.beta = within("beta", beta, 0, 1)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_p_s_BK = log_softmax(student.logits, self.temperature)
        log_p_t_BK = log_softmax(teacher.logits, self.temperature)
        return generalized_jsd(log_p_t_BK, log_p_s_BK, self.beta)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, beta={self.beta}"
