"""The share of the way from baseline to teacher that distillation went."""

import numpy as np
from numpy.typing import NDArray

MIN_GAP = 0.005
"""Below half a point of accuracy the gap is noise, and a share of it means nothing."""

MIN_ERRORS = 2.0
"""Nor does a share of a gap of less than two standard errors."""


def gap_recovered(student: float, baseline: float, teacher: float, standard_error: float = 0.0) -> float | None:
    """(student - baseline) / (teacher - baseline), from accuracies 0..1.

    Above 1 the student beats its teacher, below 0 distillation did harm. None when the teacher is less than 0.005, or
    less than two standard errors of their difference, better than the baseline.
    """
    gap = teacher - baseline
    # The tolerance lets accuracies exactly half a point apart count, whatever their rounding.
    too_small = gap < max(MIN_GAP, MIN_ERRORS * standard_error) - 1e-12
    return None if too_small else (student - baseline) / gap


def difference_error(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The standard error of the difference of two accuracies on the same N samples.

    Args:
        one: [N] bool, where a network is right.
        other: [N] bool, where the other one is.
    """
    difference = one.astype(np.float64) - other
    return float(difference.std() / len(difference) ** 0.5)
