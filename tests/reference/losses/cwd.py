"""Channel-wise distillation, naively. Source: Shu et al. 2021 (arXiv:2011.13256), section 3.

A channel becomes a distribution over positions. The paper divides by C; the authors' code (irfanICMLL/TorchDistiller,
utils/criterion.py) and MMRazor divide by B C, and so do we.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax
from tests.reference.layers import resized


def over_positions(feature: Array, temperature: float) -> Array:
    """[B, C, *positions] to [B, C, L], each row of sum 1."""
    return softmax(feature.reshape(*feature.shape[:2], -1), temperature, axis=2)


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float = 4.0,
) -> Any:
    """The sum over the pairs of tau^2 / (B C) sum_{b, c} KL(teacher's || student's)."""
    total: Any = 0.0
    for f_s, f_t in zip(student.features, teacher.features, strict=True):
        own = resized(f_s, f_t.shape[2:])
        divergence = kl(over_positions(f_t, temperature), over_positions(own, temperature), axis=2)
        total = total + temperature**2 * np.sum(divergence) / (f_s.shape[0] * f_s.shape[1])
    return total
