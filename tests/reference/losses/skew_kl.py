"""Skew KL, naively. Source: Ko et al. 2024 (DistiLLM), arXiv:2402.03898: KL(p_t || alpha p_t + (1 - alpha) p_s).

L = T^2 mean_b of it, both distributions at the temperature T; T^2 is ours (the paper has T = 1). The derivative flows
through the mixture. The authors' code leaves the entropy of the teacher out, a constant.
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
    alpha: float,
) -> Any:
    """T^2 times the mean over the batch of the KL from the teacher to the mixture."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    return temperature**2 * np.mean(kl(p_t, alpha * p_t + (1 - alpha) * p_s))
