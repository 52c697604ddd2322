"""TTM, naively. Source: Zheng and Yang 2024, arXiv:2402.11148, and the authors' zkxufo/TTM, distiller_zoo/ttm.py.

L = mean_b KL(q || p_s), q(c) = p_t(c)^gamma / sum_j p_t(j)^gamma. The student is at T = 1 and there is no T^2;
gamma = 1 / T.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, gamma: float
) -> Any:
    """The mean over the batch of the KL from the power-transformed teacher to the student."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    power = p_t**gamma
    q = power / power.sum(axis=1, keepdims=True)
    return np.mean(kl(q, p_s))
