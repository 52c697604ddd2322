"""Sparse KL: KD on the teacher's k most probable classes and one bucket for all others.

Matches the large probabilities one by one and the small ones as a sum. It is what can be said of a teacher whose
answers are stored or sent: k + 1 numbers a sample, not K. Source: Shen and Xing 2022 (arXiv:2112.01528) keep the k
largest probabilities of a teacher; that the others stay together as one bucket on both sides, and are not scaled away,
follows Arcee's DistillKit. The divergence is that of Hinton, Vinyals, Dean 2015 (arXiv:1503.02531).

Helps where K is so large that whole answers cannot be kept. It never exceeds KD's divergence and equals it from k = K
- 1 on; what the teacher knows beyond its k classes is lost, so with the teacher at hand `kd` is the better choice.
Costs a search for the k largest and a logsumexp of the others: on a CPU one and a half times KD. Defaults: T = 1, k =
5, weight 1, no hard labels.

Differs: nothing is renormalised, so the student is also told how much probability is elsewhere.

Legend: B batch, K classes, J = k + 1.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.probabilities import kl
from kd_lab.losses.common.sparse import number_kept, top_and_rest
from kd_lab.types import Batch, Outputs


class SparseKL(Loss):
    """`T^2 * mean_b sum_j p_t (log p_t - log p_s)` in nats, over the teacher's k best classes and the rest as one.

    Args:
        temperature: T, the softening of both distributions, without unit.
        k: how many classes of the teacher stand for themselves; K or more: all do.

    Raises:
        ValueError: `temperature` is not a finite number above 0, or `k` is no whole number of 1 or more.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[2.0, -1.0, 0.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SparseKL(k=1)(Outputs(student), Outputs(teacher), batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 1.0, k: int = 5) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.k = number_kept("k", k)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_s_BJ, log_t_BJ = top_and_rest(student.logits, teacher.logits, self.k, self.temperature)
        return kl(log_t_BJ, log_s_BJ) * self.temperature**2

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, k={self.k}"
