"""KL on the teacher's k most probable classes and a rest, naively.

The k classes that the teacher finds most probable stand as they are; the other probabilities are added up into one more
number, on both sides alike (METHODS.md 1.1, the rest bucket). With k >= K nothing is added up: the full divergence.
L = T^2 mean_b sum over the k + 1 numbers of P_t log(P_t / P_s), the probabilities at the temperature T.
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
    k: int,
) -> Any:
    """T^2 times the mean over the batch of the KL of the k + 1 numbers."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    values = []
    for s, t in zip(p_s, p_t, strict=True):
        kept = np.argsort(-t, kind="stable")[:k]
        values.append(kl(buckets(t, kept), buckets(s, kept), axis=0))
    return temperature**2 * np.mean(values)
