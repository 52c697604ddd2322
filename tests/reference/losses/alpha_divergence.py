"""Alpha divergence, naively. Source: Amari 1985; for distillation Wang et al. 2021 (AlphaNet), arXiv:2102.07954.

L = T^2 mean_b [ 1 - sum_c p_t^a p_s^(1-a) ] / (a (1 - a)), a = alpha. The limits are taken exactly: a = 1 is
KL(p_t || p_s), a = 0 is KL(p_s || p_t). AlphaNet clips (p_t / p_s)^a and takes the larger of two divergences; neither
is done here. T^2 is ours.
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
    """T^2 times the mean over the batch of the alpha divergence of the softened distributions."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    if alpha == 0:
        return temperature**2 * np.mean(kl(p_s, p_t))
    if alpha == 1:
        return temperature**2 * np.mean(kl(p_t, p_s))
    affinity = np.sum(np.exp(alpha * np.log(p_t) + (1 - alpha) * np.log(p_s)), axis=1)
    return temperature**2 * np.mean((1 - affinity) / (alpha * (1 - alpha)))
