"""DIST: the correlation of the two networks' probabilities, along the classes of a sample and the samples of a class.

Matches relations in place of values: which classes the teacher prefers for a sample (inter-class, along the rows), and
which samples of the batch it finds most typical of a class (intra-class, along the columns). A Pearson correlation
does not see scale nor level, so the student need not be as sure as the teacher, which a small student cannot be.
Source: Huang et al. 2022 (arXiv:2205.10536), and their code.

Helps with teachers much stronger than the student: on ImageNet ResNet-18 learns 72.07 to 72.24 % from ResNet-34 to 152
where KD stays at 71.1 to 71.4. On digits (100 labels, 1097 unlabelled points, ten splits; T = 1, no hard labels) it was
the only loss whose gain over KD survived correction for the number of losses tried: +1.46 points, p = 1.7e-5. But
without hard labels it leaves the student miscalibrated (ECE 47 %), since nothing sets the scale of its probabilities:
keep the hard labels, or fit a temperature afterwards. Costs two to three times KD.
Defaults: T = 4, beta = gamma = 1, weight 2, hard labels 1 (CIFAR-100; for ImageNet T = 1).

The columns need a batch: of two samples each correlates by 1 or -1, 16 and more say something, and a batch of one has
no columns, where that term is gamma T^2 and teaches nothing. Under DDP `gather=true` makes one batch of all processes'.

Differs: none in the value. As published, 1e-8 is added to the product of the two lengths, so a class that neither
network ever finds probable (one of logit -inf above all) counts as uncorrelated, and the loss of two equal networks is
only nearly 0. Where a student gives all classes the same probability, only that 1e-8 is left to divide by, and the
gradient would be of the order 1e8: there we divide by the teacher's length alone.

Legend: B batch, K classes.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.losses.common.checks import not_negative, positive
from kd_lab.losses.common.gather import gathered
from kd_lab.losses.common.loss import Loss
from kd_lab.types import Batch, Outputs

SMALLEST = 1e-8
"""Added to the product of the lengths before it divides, as published."""


class DIST(Loss):
    """`T^2 [beta (1 - mean_b rho(p_s[b, :], p_t[b, :])) + gamma (1 - mean_k rho(p_s[:, k], p_t[:, k]))]`.

    rho: the Pearson correlation, from -1 to 1. p: softmax(logits / T).

    Args:
        temperature: T, the softening of both distributions, without unit.
        beta: weight of the correlations over the classes (rows).
        gamma: weight of the correlations over the samples (columns).
        gather: under DDP, correlate over the samples of all processes.

    Raises:
        ValueError: `temperature` is not a finite number above 0, or a weight is negative or not finite.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> batch = Batch(inputs=torch.zeros(2, 4), targets=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> abs(DIST()(Outputs(student), Outputs(teacher), batch)) < 1e-4  # the same order, nine times as sure
        tensor(True)
    """

    zero_at_equality: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True
    batch_relational: ClassVar[bool] = True

    def __init__(
        self, *, temperature: float = 4.0, beta: float = 1.0, gamma: float = 1.0, gather: bool = False
    ) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.beta = not_negative("beta", beta)
        self.gamma = not_negative("gamma", gamma)
        self.gather = gather

    def compute(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:  # noqa: ARG002
        """Every sample counts, labelled or not."""
        own_BK, theirs_BK = self._around_the_mean(student.logits), self._around_the_mean(teacher.logits)
        inter = 1 - _correlation(own_BK, theirs_BK, 1).mean()
        intra = 1 - _correlation(own_BK - own_BK.mean(dim=0), theirs_BK - theirs_BK.mean(dim=0), 0).mean()
        return (self.beta * inter + self.gamma * intra) * self.temperature**2

    def _around_the_mean(self, logits_BK: Tensor) -> Tensor:
        """Softened probabilities less their mean over the classes, which is 1 / K."""
        if self.gather:
            logits_BK = gathered(logits_BK)
        return F.softmax(logits_BK / self.temperature, dim=-1) - 1 / logits_BK.shape[-1]

    def extra_repr(self) -> str:
        """The settings, for `print(module)`."""
        return f"temperature={self.temperature}, beta={self.beta}, gamma={self.gamma}, gather={self.gather}"


def _correlation(own: Tensor, theirs: Tensor, dim: int) -> Tensor:
    """Pearson's, of numbers that have mean 0 along `dim`; 0 where either does not vary."""
    length_s, length_t = torch.linalg.vector_norm(own, dim=dim), torch.linalg.vector_norm(theirs, dim=dim)
    # Where `own` is 0, so is the numerator, whatever divides it; its slope would be 1e8 of the teacher's numbers.
    lengths: Tensor = length_t * length_s.masked_fill(length_s == 0, 1.0)
    return (own * theirs).sum(dim=dim) / (lengths + SMALLEST)
