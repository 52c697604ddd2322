"""Reverse KL, naively. Source: Gu et al. 2024 (MiniLLM), arXiv:2306.08543, the objective KL(p_s || p_t).

L = T^2 mean_b sum_c p_s log(p_s / p_t), both at the temperature T; T^2 is ours, as in KD (the paper has T = 1).
"""

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
    temperature: float,
) -> Any:
    """T^2 times the mean over the batch of KL(p_s || p_t), both softened."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    return temperature**2 * np.mean(kl(p_s, p_t))
