"""Confidence penalty, naively. Source: Pereyra et al. 2017, arXiv:1701.06548: the term -H(p) of their objective.

L = mean_b sum_c p_s log p_s, minus the entropy of the student at T = 1; the paper's beta is the weight. No label is
needed, so every sample counts.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, softmax


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The mean over the batch of minus the entropy of the student."""
    p_s = softmax(student.logits)
    return np.mean(np.sum(p_s * np.log(p_s), axis=1))
