"""Weights from uncertainty: each term has a variance of its own, learned with the network.

Source: Kendall, Gal and Cipolla 2018 (arXiv:1705.07115), equation 7 with `s = log sigma^2`, as their section 3.2
advises. `exp(-s) / 2` is what their regression terms are weighed by; a cross-entropy has twice that in their equation
10, which `s` makes up for. The least of `l / (2 exp s) + s / 2` over s is at `s = log l`: a term counts by its share.
"""

from dataclasses import replace

import torch
from torch import nn

from kd_lab.strategies.common.strategy import Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.types import Batch, LossTerms, Outputs, Step

LOWEST, HIGHEST = -5.0, 5.0
"""Of s: a term near 0 would drive its own weight without bound."""


class Uncertainty(Weighing):
    """`sum_i base_i * l_i / (2 exp s_i) + s_i / 2`, s trained by the student's optimizer.

    Args:
        start: s of every term at first.
        all_terms: see `Weighing`.

    Raises:
        ValueError: `start` is out of the range that s is kept in.
    """

    def __init__(self, *, start: float = -0.5, all_terms: bool = True) -> None:
        super().__init__(all_terms=all_terms)
        if not LOWEST <= start <= HIGHEST:
            raise ValueError(f"Expected `start` to be from {LOWEST:g} to {HIGHEST:g}, but got {start}.")
        self.start = float(start)

    def learns(self) -> str:
        """Weights."""
        return "the weights of the terms, with the network, from the training part"

    def step(self, training: Training) -> Step:
        """As plain distillation, with weights that are trained too."""
        return Uncertain(training, start=self.start, all_terms=self.all_terms)


class Uncertain(Weighted):
    """The step of `Uncertainty`."""

    def __init__(self, training: Training, *, start: float, all_terms: bool) -> None:
        super().__init__(training, all_terms=all_terms)
        self.log_variances = nn.Parameter(torch.full((len(self.weighed),), start))

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; what the optimizer moved out of its range comes back."""
        super().at_step(step, total_steps)
        with torch.no_grad():
            self.log_variances.clamp_(LOWEST, HIGHEST)

    def factors(self) -> Factors:
        """`exp(-s) / 2`."""
        return dict(zip(self.weighed, (-self.log_variances).exp() / 2, strict=True))

    def weigh(self, batch: Batch, own: Outputs, taught: Outputs | None) -> LossTerms:
        """The weighed terms and `s / 2` of each, once for all batches and processes of a step."""
        terms = super().weigh(batch, own, taught)
        share = 1.0 if batch.share is None else batch.share.soft
        return replace(terms, total=terms.total + share * self.log_variances.sum() / 2)
