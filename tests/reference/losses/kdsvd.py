"""Distillation by singular value decomposition, naively. Source: Lee, Kim and Song 2018 (ECCV), section 3.

Each sample's feature is a matrix [positions, channels]. Of every stage: the first k right singular vectors of the
teacher (vectors over the channels), and for each of them that one of the student's first k + 3 which has the largest
absolute cosine with it, with the sign of that cosine. All are scaled by the teacher's first k singular values, which
are divided by their norm (so 1 for k = 1). Of every two neighbouring stages: exp(-(v_i - w_j)^2 / 8) for every entry
v_i of the later stage's vector and w_j of the earlier's; the loss is the squared distance of the student's from the
teacher's, summed over i, j and the k vectors, averaged over the batch, summed over the stages from the second on.

This is RepDistiller's distiller_zoo/KDSVD.py and the authors' NHWC code (sseung0703/SSKD_SVD), in which the columns are
channels; mdistiller's port reshapes NCHW to [C H, W], so that its columns are the positions of one axis. Student and
teacher need as many channels. The authors' code has sum / 2 times sqrt(k) in the place of sum / B.

The sign of a singular vector is free, and the loss depends on it: v_i - w_j changes where the vectors of one stage are
turned around. Public code leaves it to the library. Here the teacher's have a sum of at least 0; the student's follow.

The SVD is not analytic in NumPy, hence real input only, and the derivative by differences.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import unit

DERIVATIVE = "central"


def right_vectors(feature: Array, count: int) -> tuple[Array, Array]:
    """[C, *positions] to the first singular values [k] and right singular vectors [C, k], or as many as there are."""
    _, values, vectors = np.linalg.svd(feature.reshape(len(feature), -1).T, full_matrices=False)
    return values[:count], vectors[:count].T


def aligned(student: Array, teacher: Array) -> Array:
    """[C, k + 3] to [C, k]: for each of the teacher's vectors the nearest of the student's, turned the same way."""
    chosen = []
    for vector in teacher.T:
        cosines = student.T @ vector
        nearest = int(np.argmax(np.abs(cosines)))
        chosen.append(np.sign(cosines[nearest]) * student[:, nearest])
    return np.stack(chosen, axis=1)


def stage(f_s: Array, f_t: Array, k: int) -> tuple[Array, Array]:
    """The student's and the teacher's vectors of one sample's feature, both [C, k]."""
    values, of_teacher = right_vectors(f_t, k)
    of_teacher = of_teacher * np.where(of_teacher.sum(axis=0) < 0, -1.0, 1.0)
    _, of_student = right_vectors(f_s, k + 3)
    scale = unit(values, axis=0)
    return aligned(of_student, of_teacher) * scale, of_teacher * scale


def relation(later: Array, earlier: Array) -> Array:
    """[C, k] and [C', k] to [C, C', k]."""
    return np.exp(-((later[:, None, :] - earlier[None, :, :]) ** 2) / 8)


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, k: int = 1
) -> Any:
    """The sum over neighbouring stages of mean_b sum_{i, j, k} (student's relation - teacher's relation)^2."""
    total: Any = 0.0
    batch = len(student.features[0])
    for b in range(batch):
        stages = [stage(f_s[b], f_t[b], k) for f_s, f_t in zip(student.features, teacher.features, strict=True)]
        for (s_before, t_before), (s, t) in pairwise(stages):
            total = total + np.sum((relation(s, s_before) - relation(t, t_before)) ** 2) / batch
    return total
