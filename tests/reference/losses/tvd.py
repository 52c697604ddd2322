"""Total variation distance, naively. Source: Wen et al. 2023 (f-distill), arXiv:2307.15190.

L = mean_b 1/2 sum_c |p_s - p_t| at T = 1.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute, softmax


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The mean over the batch of half the sum of the absolute differences."""
    p_s, p_t = softmax(student.logits), softmax(teacher.logits)
    return np.mean(np.sum(absolute(p_s - p_t), axis=1) / 2)
