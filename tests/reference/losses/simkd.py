"""SimKD, naively. Source: Chen et al. 2022 (arXiv:2203.14001), equation 4: the mean squared difference of two maps."""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs


def reference(
    student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array], *, factor: float
) -> Any:
    """The projector belongs to the student's network here, so what it says is the student's feature."""
    difference = student.features[0] - teacher.features[0]
    return np.mean(difference * difference)
