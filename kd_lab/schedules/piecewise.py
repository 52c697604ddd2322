"""Piecewise: a factor of the base from each milestone on, alone or under another schedule; what `sweep=pbt` learns.

The shape in which population-based training finds hyperparameters (Jaderberg et al. 2017, arXiv:1711.09846): constant
for a while, then perturbed.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise

from kd_lab.schedules.common.warmup import check_settings, warmup_factor


def piecewise(
    step: int,
    *,
    base: float,
    total_steps: int,
    milestones: list[float],
    factors: list[float],
    under: Callable[..., float] | None = None,
    warmup_steps: float = 0,
) -> float:
    """`f * base`, where f is 1 up to the first milestone, and from each milestone on the factor that belongs to it.

    A milestone m takes effect at step `round(m * total_steps)`, as of `multistep`. The factors are of the base, not of
    the piece before.

    Args:
        step: optimizer step, 0 for the first.
        base: the value of the first piece: a learning rate, or the weight or temperature of a loss.
        total_steps: number of optimizer steps of the training, warm-up included.
        milestones: fractions of `total_steps`, each above 0 and below 1, in rising order.
        factors: as many, each of 0 or more.
        under: the schedule that each piece follows, with `f * base` as its base; None: the value stays.
        warmup_steps: number of steps below `base` at the start (part of `total_steps`); below 1, their share of all.

    Returns:
        The value at the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> [piecewise(step, base=4.0, total_steps=4, milestones=[0.25, 0.5], factors=[1.5, 0.5]) for step in range(4)]
        [4.0, 6.0, 2.0, 2.0]
    """
    warmup = check_settings(step, base=base, total_steps=total_steps, warmup_steps=warmup_steps)
    if not all(0 < m < 1 for m in milestones) or not all(a < b for a, b in pairwise(milestones)):
        raise ValueError(
            "Expected `milestones` to be fractions of the training, each > 0 and < 1, in rising order, "
            f"but got {list(milestones)}."
        )
    if len(factors) != len(milestones) or not all(f >= 0 and math.isfinite(f) for f in factors):
        raise ValueError(
            f"Expected `factors` to be {len(milestones)} finite numbers >= 0, one for each milestone, "
            f"but got {list(factors)}."
        )
    piece = bisect_right([max(1, round(m * total_steps)) for m in milestones], step)
    value = base * factors[piece - 1] if piece else base
    if under is not None and value:
        value = under(step, base=value, total_steps=total_steps)
    return value * warmup_factor(step, warmup)
