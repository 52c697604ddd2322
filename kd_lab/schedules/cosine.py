"""Half a cosine wave from the base to the final learning rate.

Source: Loshchilov, Hutter 2017 (SGDR, arXiv:1608.03983), equation 5, without restarts.
"""

import math

from kd_lab.schedules.common.warmup import check_settings, checked_final, progress, warmup_factor


def cosine(step: int, *, base: float, total_steps: int, warmup_steps: float = 0, final: float | None = None) -> float:
    """`final + (base - final) * (1 + cos(pi * s)) / 2`, where s goes from 0 after the warm-up to 1.

    `final` is reached at `total_steps`, one past the last step, so the last step still moves.

    Args:
        step: optimizer step, 0 for the first.
        base: the value after the warm-up: a learning rate, or the weight or temperature of a loss.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base` at the start (part of `total_steps`); below 1, their share of all.
        final: the value at the end. None: 0, or 1 for the temperature of a loss, which the objective gives as `final`.

    Returns:
        The value at the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> [round(cosine(step, base=1.0, total_steps=4), 3) for step in range(5)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    warmup = check_settings(step, base=base, total_steps=total_steps, warmup_steps=warmup_steps)
    end = checked_final(final, base)
    done = progress(step, total_steps=total_steps, warmup_steps=warmup)
    decayed = end + (base - end) * (1 + math.cos(math.pi * done)) / 2
    return decayed * warmup_factor(step, warmup)
