"""Probabilistic knowledge transfer, naively. Source: Passalis and Tefas 2018 (ECCV), section 3, with the cosine kernel.

p(j | i) is the similarity (cos + 1) / 2 of the samples i and j over the sum of i's similarities; the loss is the
divergence of the student's from the teacher's. As in the authors' code (passalis/probabilistic_kt, nn/pkt.py), i itself
is among the j (the paper leaves it out), the divergence is the mean, not the sum, over all B^2 pairs, and 1e-7 is
added to each norm and to both probabilities under the logarithm.

`gather` has no effect on one process.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import cosine_similarities, flatten

EPS = 1e-7


def probabilities(feature: Array) -> Array:
    """[B, C, *positions] to [B, B]: how near each sample is to each, every row of sum 1."""
    similarities = (cosine_similarities(flatten(feature), added=EPS) + 1) / 2
    rows: Array = similarities / similarities.sum(axis=1, keepdims=True)
    return rows


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    gather: bool = False,
) -> Any:
    """The sum over the pairs of mean_{i, j} p_t log((p_t + 1e-7) / (p_s + 1e-7))."""
    total: Any = 0.0
    for f_s, f_t in zip(student.features, teacher.features, strict=True):
        p_s, p_t = probabilities(f_s), probabilities(f_t)
        total = total + np.mean(p_t * np.log((p_t + EPS) / (p_s + EPS)))
    return total
