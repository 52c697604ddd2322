"""NKD, naively. Source: Yang et al. 2023, arXiv:2303.13005, and the authors' yzd-v/cls_KD, losses/nkd.py.

L = mean_b [ -p_t(y) log p_s(y) - gamma T^2 sum_{c != y} q_t(c) log q_s(c) ]. The first term is at T = 1 and without
T^2; q is the softmax at T over the classes other than y. Both terms are cross entropies, so L is not 0 where student
equals teacher. A sample without a label takes the teacher's decision in its place (ours: the paper has labels
everywhere).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, softmax


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float,
    gamma: float,
) -> Any:
    """The mean over the batch of the target term plus gamma T^2 times the non-target term."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    values = []
    for b, target in enumerate(targets):
        y = target if target >= 0 else np.argmax(teacher.logits[b])
        others = np.arange(p_t.shape[1]) != y
        q_s = softmax(student.logits[b, others], temperature, axis=0)
        q_t = softmax(teacher.logits[b, others], temperature, axis=0)
        of_target = -p_t[b, y] * np.log(p_s[b, y])
        of_others = -np.sum(q_t * np.log(q_s))
        values.append(of_target + gamma * temperature**2 * of_others)
    return np.mean(values)
