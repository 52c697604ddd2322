"""Random weights of the terms at every step: the control of all that learns them.

Source: Lin et al. 2022 (arXiv:2111.10603), section 3.1: softmax of standard normal numbers, drawn anew at each step;
here times the number of terms, so that their mean is 1.
"""

import torch

from kd_lab.seeds import mixed
from kd_lab.strategies.common.strategy import Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.types import Step


class RandomWeights(Weighing):
    """`w = K softmax(N(0, 1))` at each step.

    Args:
        all_terms: see `Weighing`.
    """

    def step(self, training: Training) -> Step:
        """As plain distillation, with weights drawn by chance."""
        return Drawn(training, all_terms=self.all_terms)


class Drawn(Weighted):
    """The step of `RandomWeights`; what is drawn follows from the training's seed and the number of the step."""

    def __init__(self, training: Training, *, all_terms: bool) -> None:
        super().__init__(training, all_terms=all_terms)
        self.seed, self._step = training.seed, 0

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; other weights."""
        super().at_step(step, total_steps)
        self._step = step

    def factors(self) -> Factors:
        """Numbers whose mean is 1."""
        count, generator = len(self.weighed), torch.Generator().manual_seed(mixed(self.seed, self._step) >> 1)
        drawn = count * torch.randn(count, generator=generator).softmax(0)
        return dict(zip(self.weighed, drawn.tolist(), strict=True))
