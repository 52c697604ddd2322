"""Sparse TVD: the total variation distance on the teacher's k most probable classes and one bucket for all others.

Matches the same k + 1 numbers as `sparse_kl`, by the largest difference in probability that any set of them has; at
most 1, in probability and not in nats. Source: Wen et al. 2023 (arXiv:2307.15190) distil by this distance; on the k
largest probabilities of Shen and Xing 2022 (arXiv:2112.01528) with the rest in one bucket, as in Arcee's DistillKit.

Helps where K is so large that whole answers of the teacher cannot be kept; with the teacher at hand `tvd` says more.
The gradient vanishes where the student is certain of another class than the teacher, so a bad start is left slowly.
Costs a search for the k largest and a logsumexp of the others: on a CPU one and a half times KD. Defaults: k = 5,
weight 1, no hard labels.

Differs: nothing is renormalised.

Legend: B batch, K classes, J = k + 1.
"""

from typing import ClassVar

from torch import Tensor

from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.sparse import number_kept, top_and_rest
from kd_lab.types import Batch, Outputs


class SparseTVD(Loss):
    """`mean_b 1/2 sum_j |p_s - p_t|` over the teacher's k best classes and the rest as one.

    Args:
        k: how many classes of the teacher stand for themselves; K or more: all do.

    Raises:
        ValueError: `k` is no whole number of 1 or more.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[2.0, -1.0, 0.0]])
        >>> batch = Batch(inputs=torch.zeros(1, 4), targets=torch.tensor([0]), index=torch.tensor([0]))
        >>> SparseTVD(k=1)(Outputs(student), Outputs(teacher), batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def __init__(self, *, k: int = 5) -> None:
        super().__init__()
        self.k = number_kept("k", k)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        log_s_BJ, log_t_BJ = top_and_rest(student.logits, teacher.logits, self.k)
        return (log_s_BJ.exp() - log_t_BJ.exp()).abs().sum(dim=1).mean() / 2

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"k={self.k}"
