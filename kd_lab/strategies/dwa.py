"""Dynamic weight average (DWA): a term that falls slower than the others gets more weight; a control, learns nothing.

Source: Liu, Johns and Davison 2019 (arXiv:1803.10704), equation 7: `w_i = K softmax_i(r_i / T)`, with r_i the mean of
l_i over the last epoch divided by that over the epoch before it, and 1 in the first two. T = 2.
"""

import torch
from torch import Tensor

from kd_lab.losses.common.checks import positive
from kd_lab.strategies.common.mean_terms import MeanTerms
from kd_lab.strategies.common.strategy import Training
from kd_lab.strategies.common.weighted import Factors, Weighing, Weighted
from kd_lab.types import Batch, LossTerms, Outputs, Step


class DWA(Weighing):
    """The weights of all terms follow from how fast each has fallen.

    Args:
        temperature: T; the larger, the more alike the weights.
        every: optimizer steps between two weights; None: an epoch.
        all_terms: see `Weighing`.

    Raises:
        ValueError: `temperature` is not above 0, or `every` is below 1.
    """

    def __init__(self, *, temperature: float = 2.0, every: int | None = None, all_terms: bool = True) -> None:
        super().__init__(all_terms=all_terms)
        if every is not None and every < 1:
            raise ValueError(f"Expected `every` to be >= 1, but got {every}.")
        self.temperature, self.every = positive("temperature", temperature), every

    def learns(self) -> str:
        """Weights."""
        return "the weights of the terms, from how fast their losses on the training part fall"

    def step(self, training: Training) -> Step:
        """As plain distillation, with other weights from epoch to epoch."""
        every = self.every or training.steps_per_epoch
        return Averaged(training, temperature=self.temperature, every=every, all_terms=self.all_terms)


class Averaged(Weighted):
    """The step of `DWA`."""

    def __init__(self, training: Training, *, temperature: float, every: int, all_terms: bool) -> None:
        super().__init__(training, all_terms=all_terms)
        self.temperature, self.every = temperature, every
        self.window = MeanTerms(len(self.weighed))
        self.means: Tensor
        self.register_buffer("means", torch.full((2, len(self.weighed)), torch.nan))
        self._closed = 0

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; at the end of a window its means become the last ones."""
        super().at_step(step, total_steps)
        if step != self._closed and step % self.every == 0:
            self.means.copy_(torch.stack([self.window.close(), self.means[0]]))
        self._closed = step

    def factors(self) -> Factors:
        """`K softmax(r / T)`, r the last mean by the one before it."""
        ratio = self.means[0] / self.means[1]
        ratio = torch.where(ratio.isfinite(), ratio, 1.0)
        return dict(zip(self.weighed, len(ratio) * (ratio / self.temperature).softmax(0), strict=True))

    def weigh(self, batch: Batch, own: Outputs, taught: Outputs | None) -> LossTerms:
        """The weighed terms, which are remembered."""
        terms = super().weigh(batch, own, taught)
        self.window.see(
            [terms.terms[name] for name in self.weighed], [n in terms.labelled for n in self.weighed], batch
        )
        return terms

    def own_buffers(self) -> list[str]:
        """The window of each process is its own, until it is closed over all."""
        return [*super().own_buffers(), "means", "window.sums", "window.counts"]
