"""DeepInversion: the inputs themselves are optimised against the teacher, in competition with the student.

Source: Yin et al. 2020 (arXiv:1912.08795): a picture is made from noise by minimising the cross-entropy of the teacher
with a class that was drawn, the distance of what its BatchNorm layers see from what they remember, total variation and
the L2 norm; where the student learns from it (adaptive), minus the Jensen-Shannon divergence between the two networks
at T = 3 (the authors' code) as well. Weights and rate: one_hot, statistics, adversarial and 0.1 those of Fang et al.
2021's DeepInversion on CIFAR-10; the rest by the authors' code: 2.5e-5 for the total variation of a batch of 256, 1e-5
(their ImageNet) for the L2 norm.

Differs: adversarial is the divergence of the paper. The authors' code, and Fang et al.'s `jsdiv` after it, has
KL(m || p) / 2 + KL(m || q) / 2 with probabilities cut to 0.01..0.99. Total variation is a mean over the samples, where
theirs is one norm of the whole batch: with 256 samples of one size, 16 times ours has their value and gradient; so is
its weight. No mirror: a digit or letter would be another. The best of a round is kept, where their code, which means
to, keeps the last.

Legend: N samples, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lab.inputs import call
from kd_lab.losses.common.mixtures import jensen_shannon
from kd_lab.strategies.common.free.bank import FromBank, Proposal, Round

WIDTH = 2.0
"""Half the range of a sample's values, in the unit that inputs are moved in: about what CIFAR-10 has, normalised."""
SHIFT = 8
"""A picture is moved by up to 1/8 of its side at every step, as by Fang et al."""
TEMPERATURE = 3.0
"""Of the competition."""


class DeepInversion(FromBank):
    """Inputs of their own, moved by Adam within the bounds of the data."""

    def begin(self, targets_N: Tensor) -> Round:
        """From noise of deviation 1, where the range of values is -2..2."""
        noise = torch.randn(len(targets_N), *self.shape, generator=self.random(2))
        moved = noise.to(self.device).requires_grad_()

        def propose(number: int) -> Proposal:
            with torch.no_grad():
                moved.clamp_(-WIDTH, WIDTH)
            shifted = self.scaled(self._shifted(moved, number))
            logits, statistics, _ = self.watched(shifted)
            parts = {
                "one_hot": F.cross_entropy(logits, targets_N),
                "statistics": statistics,
                "adversarial": competition(call(self.network, shifted), logits),
                "variation": variation(moved),
                "l2": moved.flatten(1).norm(dim=1).mean(),
            }
            return Proposal(self.scaled(moved), (), parts)

        return Round((torch.optim.Adam([moved], self.making.learning_rate, betas=(0.5, 0.99)),), propose)

    def scaled(self, moved: Tensor) -> Tensor:
        """From -2..2 to the values of a sample."""
        return self.low + (self.high - self.low) * (moved + WIDTH) / (2 * WIDTH)

    def _shifted(self, moved: Tensor, number: int) -> Tensor:
        """Pictures [N, C, H, W] moved alike, what leaves on one side comes in on the other."""
        if moved.ndim != 4:
            return moved
        most = [side // SHIFT for side in moved.shape[2:]]
        random = self.random(3, number)
        by = [int(torch.randint(-one, one + 1, (), generator=random)) for one in most]
        return moved.roll(by, dims=(2, 3))


def competition(student_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """Minus the Jensen-Shannon divergence at T = 3, a mean over the samples, nats."""
    own, theirs = ((one.float() / TEMPERATURE).log_softmax(dim=1) for one in (student_NK, teacher_NK))
    return -jensen_shannon(own, theirs, 0.5)


def variation(inputs: Tensor) -> Tensor:
    """Total variation of pictures [N, C, H, W]: of each, the norms of its differences in four directions, summed;
    a mean over the samples. 0 of anything else."""
    if inputs.ndim != 4:
        return inputs.new_zeros(())
    upper, lower, left, right = inputs[:, :, :-1], inputs[:, :, 1:], inputs[..., :-1], inputs[..., 1:]
    differences = (left - right, upper - lower, lower[..., :-1] - upper[..., 1:], upper[..., :-1] - lower[..., 1:])
    return torch.stack([one.flatten(1).norm(dim=1).mean() for one in differences]).sum()
