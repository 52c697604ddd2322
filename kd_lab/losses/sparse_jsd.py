"""Sparse JSD: the generalized Jensen-Shannon divergence on the teacher's k most probable classes and the rest.

Matches the same k + 1 numbers as `sparse_kl`, by a divergence that is bounded (by the entropy of [beta, 1 - beta], ln
2 at most): a student that gives a class of the teacher almost nothing is not punished without limit. Source: Agarwal
et al. 2024 (arXiv:2306.13649), equation 1, on the k largest probabilities of Shen and Xing 2022 (arXiv:2112.01528)
with the rest in one bucket, as in Arcee's DistillKit.

Helps where K is so large that whole answers of the teacher cannot be kept; with the teacher at hand `jsd` says more.
Costs a search for the k largest and a logsumexp of the others: on a CPU one and a half times KD. Defaults: T = 1, beta
= 1/2, k = 5, weight 1, no hard labels.

Differs: nothing is renormalised. As in the source there is no T^2.

Legend: B batch, K classes, J = k + 1.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.checks import positive, within
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.mixtures import generalized_jsd
from kd_lab.losses.common.sparse import number_kept, top_and_rest
from kd_lab.types import Batch, Outputs


class SparseJSD(Loss):
    """`mean_b beta KL(p_t || m) + (1 - beta) KL(p_s || m)`, `m = beta p_t + (1 - beta) p_s`, of J numbers, in nats.

    Args:
        temperature: T, the softening of both distributions, without unit.
        beta: the teacher's share of the mixture m; exactly 0 is KL(p_t || p_s), exactly 1 is KL(p_s || p_t).
        k: how many classes of the teacher stand for themselves; K or more: all do.

    Raises:
        ValueError: `temperature` is not a finite number above 0, `beta` not from 0 to 1, or `k` no whole number of 1 or
            more.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[99.0, 0.0, 0.0]]), torch.tensor([[0.0, 99.0, 0.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SparseJSD(k=1)(Outputs(student), Outputs(teacher), batch)
        tensor(0.6931)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 1.0, beta: float = 0.5, k: int = 5) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.beta = within("beta", beta, 0, 1)
        self.k = number_kept("k", k)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_s_BJ, log_t_BJ = top_and_rest(student.logits, teacher.logits, self.k, self.temperature)
        return generalized_jsd(log_t_BJ, log_s_BJ, self.beta)

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, beta={self.beta}, k={self.k}"
