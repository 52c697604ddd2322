"""Step decay: the learning rate is multiplied by a factor at each milestone.

The milestones are fractions of the training and not steps, so one setting fits every budget. CRD's CIFAR-100 protocol
(Tian, Krishnan, Isola 2020, arXiv:1910.10699), a tenth at epochs 150, 180 and 210 of 240, is [0.625, 0.75, 0.875].
"""

from itertools import pairwise

from kd_lab.schedules.common.warmup import check_settings, checked_final, warmup_factor


def multistep(
    step: int,
    *,
    base: float,
    total_steps: int,
    milestones: list[float],
    factor: float = 0.1,
    warmup_steps: float = 0,
    final: float | None = None,
) -> float:
    """`base * factor ** n`, where n milestones have been reached; linear warm-up first.

    A milestone m takes effect at step `round(m * total_steps)`, but never at step 0.

    Args:
        step: optimizer step, 0 for the first.
        base: the value after the warm-up: a learning rate, or the weight or temperature of a loss.
        total_steps: number of optimizer steps of the training, warm-up included.
        milestones: fractions of `total_steps`, each above 0 and below 1, in rising order.
        factor: what the learning rate is multiplied by at each milestone, above 0 and at most 1.
        warmup_steps: number of steps below `base` at the start (part of `total_steps`); below 1, their share of all.
        final: the value that it stays at where it would fall below. None: 0, or 1 for the temperature of a loss, which
            the objective gives as `final`.

    Returns:
        The value at the step.

    Raises:
        ValueError: a setting is out of range, or the first milestone lies in the warm-up.

    Example:
        >>> [multistep(step, base=8.0, total_steps=4, milestones=[0.5, 0.75], factor=0.5) for step in range(4)]
        [8.0, 8.0, 4.0, 2.0]
    """
    warmup = check_settings(step, base=base, total_steps=total_steps, warmup_steps=warmup_steps)
    if not 0 < factor <= 1:
        raise ValueError(f"Expected `factor` to be > 0 and <= 1, but got {factor}.")
    if not all(0 < m < 1 for m in milestones) or not all(a < b for a, b in pairwise(milestones)):
        raise ValueError(
            "Expected `milestones` to be fractions of the training, each > 0 and < 1, in rising order, "
            f"but got {list(milestones)}."
        )
    steps = [max(1, round(m * total_steps)) for m in milestones]
    if warmup and steps and steps[0] <= warmup:
        raise ValueError(
            f"Expected the first of `milestones` to come after the {warmup} `warmup_steps`, "
            f"but got {milestones[0]}, which is step {steps[0]} of {total_steps}."
        )
    end = checked_final(final, base)
    reached = sum(step >= s for s in steps)
    return max(base * factor**reached, end) * warmup_factor(step, warmup)
