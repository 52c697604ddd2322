"""Hard distillation, naively. Source: Touvron et al. 2021 (DeiT), arXiv:2012.12877, half of the hard objective.

L = mean_b -log p_s(c*), c* = argmax z_t: the teacher's decision is taken as the label. The other half, cross entropy
with the true label, is the hard-label term of the objective and not part of this one.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, softmax


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The mean over the batch of the cross entropy with the teacher's most probable class."""
    p_s = softmax(student.logits)
    decisions = np.argmax(teacher.logits, axis=1)
    return np.mean([-np.log(s[decision]) for s, decision in zip(p_s, decisions, strict=True)])
