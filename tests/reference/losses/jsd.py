"""Generalized Jensen-Shannon divergence, naively. Source: Agarwal et al. 2024 (GKD), arXiv:2306.13649, equation 1.

L = mean_b [ beta KL(p_t || m) + (1 - beta) KL(p_s || m) ], m = beta p_t + (1 - beta) p_s, at the temperature, without
T^2. At the two ends the formula is 0. There L stands for what it tends to after division by beta or by 1 - beta:
beta = 0 is KL(p_t || p_s) and beta = 1 is KL(p_s || p_t), as in TRL's generalized_jsd_loss.
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
    beta: float,
) -> Any:
    """The mean over the batch of the generalized JSD of the softened distributions."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    if beta == 0:
        return np.mean(kl(p_t, p_s))
    if beta == 1:
        return np.mean(kl(p_s, p_t))
    mixture = beta * p_t + (1 - beta) * p_s
    return np.mean(beta * kl(p_t, mixture) + (1 - beta) * kl(p_s, mixture))
