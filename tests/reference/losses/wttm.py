"""WTTM, naively. Source: Zheng and Yang 2024, arXiv:2402.11148, and the authors' zkxufo/TTM, distiller_zoo/wttm.py.

L = mean_b u_b KL(q || p_s), u_b = sum_j p_t(j)^gamma, q(c) = p_t(c)^gamma / u_b. The mean divides by B, not by the
sum of u_b.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, gamma: float
) -> Any:
    """The mean over the batch of u_b times the KL from the power-transformed teacher to the student."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    values = []
    for s, t in zip(p_s, p_t, strict=True):
        u = np.sum(t**gamma)
        values.append(u * kl(t**gamma / u, s, axis=0))
    return np.mean(values)
