"""PS-KD, naively. Source: Kim et al. 2021, arXiv:2006.12000: the target of a sample is (1 - alpha) times its label and
alpha times the probabilities that the network gave it one epoch earlier; the loss is the cross-entropy with that
target.

`state["memory"]` holds those probabilities, one row for each sample of the dataset, which `index` points into. Before
the first epoch a row is the label itself (as in the authors' code; even, ours, where there is no label). A sample
without a label is left out of the mean, which is 0 if there is no other.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, one_hot, softmax


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, alpha: float
) -> Any:
    """The mean cross-entropy of the labelled samples with their mixed targets."""
    p = softmax(student.logits)
    labels = one_hot(targets, p.shape[1])
    values = []
    for b, target in enumerate(targets):
        if target >= 0:
            mixed = (1 - alpha) * labels[b] + alpha * state["memory"][index[b]]
            values.append(-np.sum(mixed * np.log(p[b])))
    return np.mean(values) if values else 0.0


def first_memory(targets: Integers, num_classes: int) -> Array:
    """What is remembered before the first epoch, from the labels of the whole dataset."""
    memory = one_hot(targets, num_classes)
    memory[targets < 0] = 1 / num_classes
    return memory


def next_memory(memory: Array, student: Outputs, index: Integers) -> Array:
    """What is remembered after a step: the rows of the batch are what the network says now."""
    remembered = memory.copy()
    for b, row in enumerate(index):
        remembered[row] = softmax(student.logits)[b]
    return remembered
