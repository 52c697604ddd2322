"""SimKD, naively. Source: Chen et al. 2022 (arXiv:2203.14001), equation 4: the mean squared difference of two maps.

The projector says a map of the smaller resolution; the teacher's is average-pooled to it (authors' code).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import pool_to_smaller


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, factor: float
) -> Any:
    """The projector belongs to the student's network here, so what it says is the student's feature."""
    f_s, f_t = pool_to_smaller(student.features[0], teacher.features[0])
    difference = f_s - f_t
    return np.mean(difference * difference)
