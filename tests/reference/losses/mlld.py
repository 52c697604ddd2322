"""MLLD, naively: KD of each sample, of the pairs of samples and of the pairs of classes, on each view and at each T.

Source: Jin et al. 2023 (CVPR, "Multi-Level Logit Distillation"), the three levels of its equations, with the views, the
temperatures and the masks of Jin-Ying/Multi-Level-Logit-Distillation (KD_ours.py), but for its slips: here a mask
multiplies the terms before their mean or sum, and each level is taken on both views.

With the probabilities P [B, K] of one view at T, samples: T^2 mean_b KL(p_t || p_s); pairs of samples: the sum of
(P_t P_t^T - P_s P_s^T)^2, over B; pairs of classes: the sum of (P_t^T P_t - P_s^T P_s)^2, over K. A sample or a class
that the mask leaves out adds 0 to the mean, and its column adds 0 to the sum. Both masks are those of the plain view.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperatures: Sequence[float],
    gather: bool,
) -> Any:
    plain = softmax(teacher.logits)
    uncertain = at_most_median(plain.max(axis=1))  # [B]
    rare = at_most_median(plain.sum(axis=0))  # [K]
    views = [(student.logits, teacher.logits)]
    views += zip(student.views, teacher.views, strict=True)
    total: Any = 0.0
    for z_s, z_t in views:
        for temperature in temperatures:
            p_s, p_t = softmax(z_s, temperature), softmax(z_t, temperature)
            rows, classes = p_t.shape
            total = total + temperature**2 * np.mean(uncertain * kl(p_t, p_s))
            total = total + np.sum(uncertain * (p_t @ p_t.T - p_s @ p_s.T) ** 2) / rows
            total = total + np.sum(rare * (p_t.T @ p_t - p_s.T @ p_s) ** 2) / classes
    return total


def at_most_median(values: Array) -> Array:
    """1.0 where a value is not above the median (of an even number: the mean of the middle two), else 0.0."""
    return (values <= np.percentile(values, 50)).astype(np.float64)
