"""Mixup: every sample is a weighted mean of itself and another one, and so is its loss.

Source: Zhang et al. 2018 (arXiv:1710.09412), with one weight for all samples of a step, as in the authors' code. With
alpha 1 the weight is uniform, from one sample to the other: what function matching teaches on (Beyer et al. 2022,
arXiv:2106.05237). They take the larger of the weight and its rest, which gives the same pairs in another order.

Legend: B batch.
"""

import torch
from torch import Tensor

from kd_lab.inputs import Inputs
from kd_lab.mixing.common.shares import checked, drawn


class Mixup:
    """`lambda * sample + (1 - lambda) * other`, lambda drawn from Beta(alpha, alpha)."""

    def __init__(self, alpha: float = 1.0) -> None:
        """Keeps the setting.

        Args:
            alpha: of the Beta distribution; 1: every lambda is as likely, towards 0: one of the two samples alone.

        Raises:
            ValueError: `alpha` is not a finite number above 0.
        """
        self.alpha = checked(alpha)

    def __call__(self, inputs: Inputs, others: Inputs, seed: int) -> tuple[Inputs, float]:
        """Mixes a batch with another one.

        Args:
            inputs: [B, ...] floats, or such by names.
            others: the same, each to be mixed into the sample at its place.
            seed: what lambda follows from.

        Returns:
            The mixed batch, and lambda.

        Raises:
            ValueError: the inputs are no floats.
        """
        share, _ = drawn(seed, self.alpha)
        if isinstance(inputs, Tensor) or isinstance(others, Tensor):
            assert isinstance(inputs, Tensor)
            assert isinstance(others, Tensor)
            return _mean(inputs, others, share), share
        return {name: _mean(one, others[name], share) for name, one in inputs.items()}, share


def _mean(inputs: Tensor, others: Tensor, share: float) -> Tensor:
    if not inputs.is_floating_point():
        raise ValueError(
            f"Expected inputs of floats to mix, but got {str(inputs.dtype).removeprefix('torch.')}: a mean of such "
            "samples is no sample; choose student/recipe/mix=none."
        )
    return torch.lerp(others, inputs, share)
