"""Label smoothing, naively. Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.

L = mean over the labelled samples of -sum_c y_c log p_s(c), y = (1 - epsilon) onehot + epsilon / K; 0 if there is none.
The code of Yuan et al. 2020 spreads epsilon over the K - 1 other classes instead; this is Szegedy's form.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, one_hot, softmax


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, epsilon: float
) -> Any:
    """The mean over the labelled samples of the cross entropy with the smoothed label."""
    p_s = softmax(student.logits)
    classes = p_s.shape[1]
    smoothed = (1 - epsilon) * one_hot(targets, classes) + epsilon / classes
    values = [-np.sum(smoothed[b] * np.log(p_s[b])) for b, target in enumerate(targets) if target >= 0]
    return np.mean(values) if values else 0.0
