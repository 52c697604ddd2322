"""Cross entropy with the teacher's probabilities, naively. Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531.

L = -mean_b sum_c p_t log p_s at T = 1: KL(p_t || p_s) plus the entropy of the teacher, so the gradient is that of KD.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, softmax


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The mean over the batch of -sum_c p_t log p_s."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    return np.mean([-np.sum(t * np.log(s)) for s, t in zip(p_s, p_t, strict=True)])
