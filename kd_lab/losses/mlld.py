"""MLLD: multi-level logit distillation, of samples, of pairs of samples and of pairs of classes, on two views.

Matches the probabilities of each sample (as `kd`), how alike any two samples of a batch are answered, and which
classes are confused over the batch; at five temperatures; on the plain view and on a strongly augmented one. Of each
kind only the less certain half counts. Source: Jin et al. 2023 (Multi-Level Logit Distillation, CVPR), with masks,
temperatures and views of the authors' code.

Helps by the second view and by its temperatures at once: 77.08 on CIFAR-100 for ResNet-32x4 to 8x4, where KD has 73.33,
but with stronger augmentation and, by the published settings of some pairs, more epochs, so not on equal terms. Costs a
second pass of both networks, and for each of five temperatures on each of two views a matrix [B, B] and one [K, K],
whose time grows with B K^2. Defaults: T = 2, 3, 4, 5, 6; RandAugment with 2 operations of magnitude 10; weight 0.9,
hard labels 0.1.

Differs: the authors' code multiplies the mask into a mean that is taken already (which halves it), computes the strong
view's divergence from the plain logits at T = 2 and T = 6 and without a mask, and leaves the strong view's relations
out after computing them. Here every term is on both views, and a mask decides which samples, and which columns of a
matrix, count. Their hard labels are learned on both views, ours on the plain one. Under DDP `gather=true` relates the
samples of all processes; without it each relates its own. A class of logit -inf is one of the K all the same: it is
among the less certain half.

Legend: B batch, K classes; X, Y rows and columns of probabilities, B and K or K and B.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import positive
from kd_lab.losses.common.gather import gathered_outputs
from kd_lab.losses.common.loss import Loss
from kd_lab.losses.common.probabilities import log_softmax
from kd_lab.types import Augment, Batch, Outputs


class MLLD(Loss):
    """`sum_views sum_T T^2 mean_b m_b KL_b + 1/B sum_ij m_j (G_t - G_s)_ij^2 + 1/K sum_kl n_l (M_t - M_s)_kl^2`.

    KL_b: of the student from the teacher, in nats. `G = P P^T` [B, B] and `M = P^T P` [K, K], P the probabilities at
    T. m: 1 for the samples whose largest probability, by the teacher at T = 1 on the plain view, is not above the
    median of the batch, else 0. n: 1 for the classes whose probability, added over the same, is not above their
    median, else 0.

    Args:
        strong: makes the second view; None: there is none, and the loss is that of the plain view.
        temperatures: each T, without unit.
        gather: under DDP, relate the samples of all processes.

    Raises:
        ValueError: there is no temperature, or one is not a finite number above 0.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> batch = Batch(inputs=torch.zeros(2, 4), targets=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> MLLD()(Outputs(logits), Outputs(logits), batch)
        tensor(0.)
    """

    zero_at_equality: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False
    batch_relational: ClassVar[bool] = True

    def __init__(
        self,
        *,
        strong: Augment | None = None,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.strong = strong
        self.temperatures = tuple(positive("temperatures", t) for t in temperatures)
        if not self.temperatures:
            raise ValueError("Expected `temperatures` to hold at least one number, but got none.")
        self.gather = gather

    def views(self) -> Sequence[Augment]:
        """The strong one."""
        return () if self.strong is None else (self.strong,)

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not, if the teacher is not too sure of it."""
        if self.gather:
            student, teacher = gathered_outputs(student), gathered_outputs(teacher)
        certain_BK = F.softmax(teacher.logits, dim=1)
        samples_B, classes_K = _lower_half(certain_BK.amax(dim=1)), _lower_half(certain_BK.sum(dim=0))
        views = [(student.logits, teacher.logits), *zip(student.views, teacher.views, strict=True)]
        levels = [
            _levels(own_BK, theirs_BK, t, samples_B, classes_K)
            for own_BK, theirs_BK in views
            for t in self.temperatures
        ]
        return torch.stack(levels).sum()

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperatures={self.temperatures}, gather={self.gather}"


def _lower_half(values: Tensor) -> Tensor:
    """1 where a value is not above the median, else 0. Of two middle values the lower serves as well as their mean."""
    return (values <= values.median()).to(values.dtype)


def _levels(own_BK: Tensor, theirs_BK: Tensor, temperature: float, samples_B: Tensor, classes_K: Tensor) -> Tensor:
    """The three terms of one view at one temperature."""
    log_s_BK, log_t_BK = log_softmax(own_BK, temperature), log_softmax(theirs_BK, temperature)
    s_BK, t_BK = log_s_BK.exp(), log_t_BK.exp()
    divergence_B = (t_BK * (log_t_BK - log_s_BK)).sum(dim=1)
    of_samples = (samples_B @ divergence_B) / len(divergence_B) * temperature**2
    return of_samples + _relations_apart(s_BK, t_BK, samples_B) + _relations_apart(s_BK.T, t_BK.T, classes_K)


def _relations_apart(s_XY: Tensor, t_XY: Tensor, counted_X: Tensor) -> Tensor:
    """The squared difference of the products of rows [X, X], added over the columns that count, over X."""
    apart_XX = t_XY @ t_XY.T - s_XY @ s_XY.T
    return (apart_XX.square().sum(dim=0) @ counted_X) / len(counted_X)
