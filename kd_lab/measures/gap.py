"""The share of the way from baseline to teacher that distillation went."""

MIN_GAP = 0.005
"""Below half a point of accuracy the gap is noise, and a share of it means nothing."""


def gap_recovered(student: float, baseline: float, teacher: float) -> float | None:
    """(student - baseline) / (teacher - baseline), from accuracies 0..1.

    Above 1 the student beats its teacher, below 0 distillation did harm. None when the teacher is less than 0.005
    better than the baseline.
    """
    gap = teacher - baseline
    # The tolerance lets accuracies exactly half a point apart count, whatever their rounding.
    return None if gap < MIN_GAP - 1e-12 else (student - baseline) / gap
