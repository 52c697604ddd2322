"""Total variation distance on the teacher's k most probable classes and a rest, naively.

The k classes that the teacher finds most probable stand as they are; the other probabilities are added up into one more
number, on both sides alike (METHODS.md 1.1, the rest bucket). With k >= K nothing is added up: the full divergence.
L = mean_b 1/2 sum over the k + 1 numbers of |P_s - P_t| at T = 1.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute, softmax


def buckets(p: Array, kept: Integers) -> Array:
    """The kept probabilities, then the sum of all others where there are others."""
    others = np.delete(p, kept)
    return np.concatenate([p[kept], [np.sum(others)]]) if others.size else p[kept]


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, k: int
) -> Any:
    """The mean over the batch of half the sum of the absolute differences of the k + 1 numbers."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    values = []
    for s, t in zip(p_s, p_t, strict=True):
        kept = np.argsort(-t, kind="stable")[:k]
        values.append(np.sum(absolute(buckets(s, kept) - buckets(t, kept))) / 2)
    return np.mean(values)
