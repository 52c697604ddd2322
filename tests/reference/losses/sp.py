"""Similarity-preserving distillation, naively. Source: Tung and Mori 2019 (arXiv:1907.09682), section 3.

`gather` has no effect on one process: a batch that is gathered from all processes is a batch.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import flatten, unit


def similarities(feature: Array) -> Array:
    """[B, C, *positions] to [B, B]: the inner products of the samples, each row of length 1."""
    rows = flatten(feature)
    return unit(rows @ rows.T, axis=1)


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    gather: bool = False,
) -> Any:
    """The sum over the pairs of ||G_t - G_s||_F^2 / B^2."""
    total: Any = 0.0
    for f_s, f_t in zip(student.features, teacher.features, strict=True):
        difference = similarities(f_t) - similarities(f_s)
        total = total + np.sum(difference * difference) / len(f_s) ** 2
    return total
