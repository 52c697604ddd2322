"""DKD, naively. Source: Zhao et al. 2022, arXiv:2203.08679: alpha TCKD + beta NCKD, both times T^2.

TCKD is the KL of the two numbers (p(y), the sum of the other probabilities); NCKD is the KL of the softmax over the
classes other than y. Here the label's logit is left out; the authors subtract 1000 from it, which is the same. A
sample without a label takes the teacher's decision in its place (ours: the paper has labels everywhere).
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
    beta: float,
) -> Any:
    """T^2 times the mean over the batch of alpha TCKD + beta NCKD."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    values = []
    for b, target in enumerate(targets):
        y = target if target >= 0 else np.argmax(teacher.logits[b])
        others = np.arange(p_t.shape[1]) != y
        binary_s = np.array([p_s[b, y], np.sum(p_s[b, others])])
        binary_t = np.array([p_t[b, y], np.sum(p_t[b, others])])
        rest_s = softmax(student.logits[b, others], temperature, axis=0)
        rest_t = softmax(teacher.logits[b, others], temperature, axis=0)
        values.append(alpha * kl(binary_t, binary_s, axis=0) + beta * kl(rest_t, rest_s, axis=0))
    return temperature**2 * np.mean(values)
