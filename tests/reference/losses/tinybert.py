"""TinyBERT, naively: Jiao et al. 2020 (arXiv:1909.10351), equations 7 and 8, sample by sample, head by head."""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs


def scores(query: Array, key: Array, heads: int) -> list[Array]:
    """[C, L] each to `heads` times [L, L]: Q K^T / sqrt(D), no softmax."""
    pairs = zip(np.split(query.T, heads, axis=1), np.split(key.T, heads, axis=1), strict=True)
    return [q @ k.T / np.sqrt(q.shape[1]) for q, k in pairs]


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    heads: int = 2,
) -> Any:
    """The sum over the blocks of both means; `state`: projectors.I.weight [C_t, C_s, 1]."""
    total: Any = 0.0
    for block in range(len(student.features) // 3):
        own, theirs = student.features[3 * block : 3 * block + 3], teacher.features[3 * block : 3 * block + 3]
        weight = state[f"projectors.{block}.weight"][:, :, 0]
        for row in range(len(own[0])):
            a_s, a_t = scores(own[0][row], own[1][row], heads), scores(theirs[0][row], theirs[1][row], heads)
            attention = np.mean(np.array([np.mean((s - t) ** 2) for s, t in zip(a_s, a_t, strict=True)]))
            hidden = np.mean((weight @ own[2][row] - theirs[2][row]) ** 2)
            total = total + (attention + hidden) / len(own[0])
    return total
