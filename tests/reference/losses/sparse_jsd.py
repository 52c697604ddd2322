"""Generalized JSD on the teacher's k most probable classes and a rest, naively.

The k classes that the teacher finds most probable stand as they are; the other probabilities are added up into one more
number, on both sides alike (METHODS.md 1.1, the rest bucket). With k >= K nothing is added up: the full divergence.
L = mean_b of the generalized Jensen-Shannon divergence (Agarwal et al. 2024, equation 1) of the k + 1 numbers at the
temperature, without T^2; beta = 0 is KL(P_t || P_s) and beta = 1 is KL(P_s || P_t), as in jsd.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def buckets(p: Array, kept: Integers) -> Array:
    """The kept probabilities, then the sum of all others where there are others."""
    others = np.delete(p, kept)
    return np.concatenate([p[kept], [np.sum(others)]]) if others.size else p[kept]


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float,
    beta: float,
    k: int,
) -> Any:
    """The mean over the batch of the generalized JSD of the k + 1 numbers."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    values = []
    for s, t in zip(p_s, p_t, strict=True):
        kept = np.argsort(-t, kind="stable")[:k]
        few_s, few_t = buckets(s, kept), buckets(t, kept)
        mixture = beta * few_t + (1 - beta) * few_s
        if beta == 0:
            values.append(kl(few_t, few_s, axis=0))
        elif beta == 1:
            values.append(kl(few_s, few_t, axis=0))
        else:
            values.append(beta * kl(few_t, mixture, axis=0) + (1 - beta) * kl(few_s, mixture, axis=0))
    return np.mean(values)
