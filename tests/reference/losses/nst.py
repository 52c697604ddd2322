"""Neuron selectivity transfer, naively. Source: Huang and Wang 2017 (arXiv:1707.01219), section 4.

Each channel is one sample of a distribution over positions: its map as a vector of length 1. The loss is the squared
maximum mean discrepancy of the student's channels from the teacher's with the kernel k(a, b) = <a, b>^2.

Each of the three means is over all pairs of channels, a channel with itself included, and over the batch (RepDistiller,
distiller_zoo/NST.py). The term of the teacher alone is constant; it is part of the value here as in RepDistiller and in
the paper, so that equal features give 0. (The authors' code, TuSimple/neuron-selectivity-transfer, leaves it out.)
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import pool_to_smaller, unit


def mean_kernel(a: Array, b: Array) -> Any:
    """The mean over all channels i of a [C, L] and j of b [C', L] of <a_i, b_j>^2."""
    return np.mean((a @ b.T) ** 2)


def channels(feature: Array) -> Array:
    """[B, C, *positions] to [B, C, L], each channel of length 1."""
    return unit(feature.reshape(*feature.shape[:2], -1), axis=2)


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The sum over the pairs of mean_b [mean k(t, t) + mean k(s, s) - 2 mean k(s, t)]."""
    total: Any = 0.0
    for of_student, of_teacher in zip(student.features, teacher.features, strict=True):
        f_s, f_t = pool_to_smaller(of_student, of_teacher)
        per_sample = [
            mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(s, t)
            for s, t in zip(channels(f_s), channels(f_t), strict=True)
        ]
        total = total + np.mean(np.stack(per_sample))
    return total
