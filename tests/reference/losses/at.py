"""Attention transfer, naively. Source: Zagoruyko and Komodakis 2017 (arXiv:1612.03928), equation 2, with p = 2.

The map is the mean over the channels of the squared feature, taken as one vector per sample and divided by its L2 norm.
The paper compares two maps by the norm of their difference; the authors' code (szagoruyko/attention-transfer, cifar.py)
and all benchmarks after it take the mean over the samples and positions of the squared difference, and so do we.
Where the resolutions differ it is the feature that is average-pooled, before the square (RepDistiller).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import flatten, pool_to_smaller, unit


def attention(feature: Array) -> Array:
    """[B, C, *positions] to [B, L]: the mean over c of f^2, of length 1."""
    return unit(flatten(np.mean(feature * feature, axis=1)), axis=1)


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The sum over the pairs of mean_{b, l} (Q_s - Q_t)^2."""
    total: Any = 0.0
    for of_student, of_teacher in zip(student.features, teacher.features, strict=True):
        f_s, f_t = pool_to_smaller(of_student, of_teacher)
        total = total + np.mean((attention(f_s) - attention(f_t)) ** 2)
    return total
