"""Multi-level logit distillation, naively. Source: Jin et al. 2023 (CVPR): alignment of instances, of the batch's
matrix and of the classes' matrix, summed over several temperatures; the masks and the two views are those of the
authors' code.

At each temperature T, with the probabilities p [B, K] of one view: instances: T^2 mean_b KL(p_t || p_s);  batch: sum
(p_t p_t^T - p_s p_s^T)^2 / B;  classes: sum (p_t^T p_t - p_s^T p_s)^2 / K.

Only half of the samples count (those whose confidence, the teacher's largest probability on the plain view at T = 1,
is at most its 50th percentile) and half of the classes (those whose probability, summed over the batch, is at most its
50th percentile): a sample that does not count adds 0 to the mean, and its column of the matrix, or the class's, adds
nothing. `gather` has no effect on one process.
"""

from collections.abc import Sequence
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
    temperatures: Sequence[float],
    gather: bool = False,
) -> Any:
    """The sum over the views and the temperatures of the three terms."""
    plain = softmax(teacher.logits)
    confidence, of_class = plain.max(axis=1), plain.sum(axis=0)
    samples = confidence <= np.percentile(confidence, 50)
    classes = of_class <= np.percentile(of_class, 50)
    views = [(student.logits, teacher.logits)]
    if student.strong_logits is not None:
        assert teacher.strong_logits is not None
        views.append((student.strong_logits, teacher.strong_logits))
    total: Any = 0.0
    for own, theirs in views:
        for temperature in temperatures:
            p_s, p_t = softmax(own, temperature), softmax(theirs, temperature)
            divergences = kl(p_t, p_s)
            for b in range(len(p_s)):
                if samples[b]:
                    total = total + temperature**2 * divergences[b] / len(p_s)
            total = total + squares(p_t @ p_t.T - p_s @ p_s.T, samples)
            total = total + squares(p_t.T @ p_t - p_s.T @ p_s, classes)
    return total


def squares(difference: Array, counts: Array) -> Any:
    """The sum of the squared entries in the columns that count, over the number of columns."""
    columns = difference[:, counts]
    return np.sum(columns * columns) / len(counts)
