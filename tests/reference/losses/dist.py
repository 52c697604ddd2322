"""DIST, naively. Source: Huang et al. 2022, arXiv:2205.10536.

L = T^2 [ beta (1 - mean_b rho(row b)) + gamma (1 - mean_c rho(column c)) ], rho the Pearson correlation of the
student's with the teacher's probabilities at T: a row is one sample over the classes, a column one class over the
samples. 1e-8 is added to the product of the norms, as in the authors' dist_kd.py, so the rho of a constant column is
0 and not undefined.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, norm, softmax


def correlation(x: Array, y: Array) -> Any:
    """Pearson's, with 1e-8 added to the product of the two norms."""
    x, y = x - np.mean(x), y - np.mean(y)
    return np.sum(x * y) / (norm(x, axis=0) * norm(y, axis=0) + 1e-8)


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float,
    beta: float,
    gamma: float,
    gather: bool = False,
) -> Any:
    """T^2 times the two relations, weighted; `gather` changes nothing in one process."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    samples, classes = p_t.shape
    between_classes = 1 - np.mean([correlation(p_s[b], p_t[b]) for b in range(samples)])
    within_classes = 1 - np.mean([correlation(p_s[:, c], p_t[:, c]) for c in range(classes)])
    return temperature**2 * (beta * between_classes + gamma * within_classes)
