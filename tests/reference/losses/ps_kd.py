"""PS-KD, naively: cross-entropy with labels that are mixed with what the student said of each sample the last time.

Source: Kim et al. 2021 (arXiv:2006.12000), section 3, and lgcnsai/PS-KD-Pytorch for what is remembered: the label
itself until the student has said something, then its probabilities at T = 1. A sample without a label (ours) is left
out of the mean, which is 0 if there is no other, and starts with all classes alike.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, one_hot, softmax


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, alpha: float
) -> Any:
    """`state`: memory [N, K], a row for each sample of the dataset."""
    p = softmax(student.logits)
    labels = one_hot(targets, p.shape[1])
    values = []
    for b, target in enumerate(targets):
        if target >= 0:
            soft = (1 - alpha) * labels[b] + alpha * state["memory"][index[b]]
            values.append(-np.sum(soft * np.log(p[b])))
    return np.mean(values) if values else 0.0


def first_memory(targets: Integers, num_classes: int) -> Array:
    """[N, K], before the first epoch."""
    return np.where(targets[:, None] >= 0, one_hot(targets, num_classes), 1 / num_classes)


def next_memory(memory: Array, student: Outputs, index: Integers) -> Array:
    """What is remembered after a step."""
    after = memory.copy()
    after[index] = softmax(student.logits)
    return after
