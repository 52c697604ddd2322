"""MiniLMv2, naively: Wang et al. 2021 (arXiv:2012.15828), equations 5 to 7, relation by relation, head by head."""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def relation(vectors: Array) -> Array:
    """[L, D] to [L, L]: softmax of X X^T / sqrt(D), each row."""
    return softmax(vectors @ vectors.T / np.sqrt(vectors.shape[1]))


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    heads: int | None = None,
) -> Any:
    """The mean over relations, samples, heads and positions of KL(teacher || student)."""
    widths = [one.shape[1] for one in (*student.features, *teacher.features)]
    if heads is None:  # at most 48, and 8 numbers at least in each
        heads = max(n for n in range(1, 49) if n <= max(min(widths) // 8, 1) and all(w % n == 0 for w in widths))
    found = []
    for own, theirs in zip(student.features, teacher.features, strict=True):
        for x_s, x_t in zip(own, theirs, strict=True):
            for h_s, h_t in zip(np.split(x_s.T, heads, axis=1), np.split(x_t.T, heads, axis=1), strict=True):
                found.append(np.mean(kl(relation(h_t), relation(h_s))))
    return np.mean(np.array(found))
