"""The flow of the solution procedure, naively. Source: Yim et al. 2017 (CVPR), equations 1 and 2.

As in RepDistiller (distiller_zoo/FSP.py) the mean over all entries of the matrices is taken where the paper has their
sum, the larger of two neighbouring maps is average-pooled, and each pair of neighbours counts the same.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import pool_to_smaller


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    stage_epochs: int,
) -> Any:
    """The sum over the neighbours of mean_{b, c, d} (G_s - G_t)^2. In which stage of training: no matter."""
    total: Any = 0.0
    for i in range(len(student.features) - 1):
        g_s = flow(student.features[i], student.features[i + 1])
        g_t = flow(teacher.features[i], teacher.features[i + 1])
        assert g_s.shape == g_t.shape
        total = total + np.mean((g_s - g_t) ** 2)
    return total


def flow(first: Array, second: Array) -> Array:
    """[B, C, *positions] and [B, D, *positions] to [B, C, D]: the mean over the positions of f_c times f_d."""
    a, b = pool_to_smaller(first, second)
    others = tuple(range(1, a.ndim - 1))
    matrix = np.zeros((len(a), a.shape[1], b.shape[1]), dtype=np.result_type(a, b))
    for c in range(a.shape[1]):
        for d in range(b.shape[1]):
            matrix[:, c, d] = np.mean(a[:, c] * b[:, d], axis=others)
    return matrix
