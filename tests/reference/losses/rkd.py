"""Relational knowledge distillation, naively. Source: Park et al. 2019 (arXiv:1904.05068), section 3.2.

Distances: of every two samples, over their mean mu. Angles: the cosine at the corner i of every three samples i, j, k.
Both are compared by the Huber loss with delta = 1, which is smooth L1 with beta = 1.

The paper sums over pairs and triplets of different samples. The authors' code (lenscloth/RKD, metric/loss.py), which
every benchmark follows, takes the mean over all B^2 pairs and all B^3 triplets, those with equal indices included: a
distance from a sample to itself is 0, and an angle with i = j or i = k has cosine 0, for student and teacher alike. The
B^2 - B angles with j = k have cosine 1 for both. Its mu is the mean of the positive distances, the derivative flows
through the student's mu, and a squared distance counts as at least 1e-12. We do the same. At least two samples.

`gather` has no effect on one process.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import flatten, pairwise_distances, smooth_l1, unit


def relative_distances(embeddings: Array) -> Array:
    """[B, D] to [B, B]: the distances over the mean of the positive ones."""
    distances = pairwise_distances(embeddings)
    mean: Any = distances[np.real(distances) > 0].mean()
    relative: Array = distances / mean
    return relative


def angles(embeddings: Array) -> Array:
    """[B, D] to [B, B, B]: the cosine between e_j - e_i and e_k - e_i, at [i, j, k]."""
    cosines = []
    for corner in embeddings:
        directions = unit(embeddings - corner, axis=1)
        cosines.append(directions @ directions.T)
    return np.stack(cosines)


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    gather: bool = False,
) -> Any:
    """The sum over the pairs of the two means, each with its weight."""
    total: Any = 0.0
    for of_student, of_teacher in zip(student.features, teacher.features, strict=True):
        e_s, e_t = flatten(of_student), flatten(of_teacher)
        by_distance = np.mean(smooth_l1(relative_distances(e_s), relative_distances(e_t)))
        by_angle = np.mean(smooth_l1(angles(e_s), angles(e_t)))
        total = total + distance_weight * by_distance + angle_weight * by_angle
    return total
