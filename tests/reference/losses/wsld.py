"""WSLD, naively. Source: Zhou et al. 2021, arXiv:2102.00650, and the authors' knowledge_distiller.py.

L = T^2 mean_b w_b (-sum_c p_t log p_s), both at the temperature T; w_b = 1 - exp(-CE_s / (CE_t + 1e-7)), the two cross
entropies with the label at T = 1. No derivative flows through w_b. The paper's alpha is the weight of the term.
A sample without a label takes the teacher's decision in its place (ours: the paper has labels everywhere).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, softmax


def cross_entropy(logits: Array, y: int) -> Any:
    """-log p(y) = log(1 + sum_{c != y} exp(z_c - z_y)): a value near 0 keeps its digits, and w_b divides by it."""
    return np.log1p(np.sum(np.exp(np.delete(logits, y) - logits[y])))


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float,
) -> Any:
    """T^2 times the weighted mean over the batch of the softened cross entropy."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    detached = np.real(student.logits)
    values = []
    for b, target in enumerate(targets):
        y = target if target >= 0 else np.argmax(teacher.logits[b])
        ratio = cross_entropy(detached[b], int(y)) / (cross_entropy(teacher.logits[b], int(y)) + 1e-7)
        weight = 1 - np.exp(-ratio)
        values.append(weight * -np.sum(p_t[b] * np.log(p_s[b])))
    return temperature**2 * np.mean(values)
