"""Dynamic KD: the teacher counts where the student is unsure.

Source: Li et al. 2021 (arXiv:2109.11295), section 5, weights by uncertainty: `H(p_s) / log K` of each sample on its
soft loss, p_s at temperature 1 and without a gradient. Differs: the hard labels keep their weight.

Legend: B batch, K classes.
"""

import torch
from torch import Tensor

from kd_lab.strategies.common.samples import check_samples, entropy, weighed
from kd_lab.strategies.common.strategy import Parties, Strategy, Taught, Training
from kd_lab.types import Batch, LossTerms, Step


class DynamicKD(Strategy):
    """`hard_weight * CE + sum_i weight_i * mean_b (H(p_s) / log K) loss_i`."""

    def check(self, parties: Parties) -> None:
        """The losses are means over samples.

        Raises:
            ValueError: one is not.
        """
        check_samples(parties, "_target_")

    def step(self, training: Training) -> Step:
        """As plain distillation, with a weight for each sample."""
        return Unsure(training)


class Unsure(Taught):
    """The step of `DynamicKD`."""

    _mean: Tensor | None = None

    def forward(self, batch: Batch) -> LossTerms:
        """All terms by name, before any weight."""
        assert self.teacher is not None, "a loss asks one"
        taught, own = self.teacher(batch), self.answers(batch)
        with torch.no_grad():
            weights_B = entropy(own.logits)
            self._mean = weights_B.mean()
        return weighed(self.objective, own, taught, batch, weights_B, with_hard=False)

    def readings(self) -> dict[str, float]:
        """The mean weight of the last batch."""
        return super().readings() | ({} if self._mean is None else {"sample_weight": float(self._mean)})
