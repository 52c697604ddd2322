"""Inverse-time decay: the learning rate divided by a number that grows linearly.

Source: the article that this project started from, `eta_t = eta_0 / (1 + eta_0 * t / T)`.
"""

import math

from kd_lab.schedules.common.warmup import check_settings, checked_final, progress, warmup_factor


def inverse_time(
    step: int,
    *,
    base: float,
    total_steps: int,
    warmup_steps: float = 0,
    decay_rate: float | None = None,
    final: float | None = None,
) -> float:
    """`base / (1 + r * s)`, where s goes from 0 after the warm-up to 1 at the end.

    With `decay_rate=None`, r is `base`, as the article writes it. That is almost no decay: the last learning rate is
    `base / (1 + base)`, 0.1 percent below the first for the usual 1e-3 of Adam. With 9 it ends at a tenth.

    Args:
        step: optimizer step, 0 for the first.
        base: the value after the warm-up: a learning rate, or the weight or temperature of a loss.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base` at the start (part of `total_steps`); below 1, their share of all.
        decay_rate: r, without unit; None for `base`.
        final: the value that it stays at where it would fall below. None: 0, or 1 for the temperature of a loss, which
            the objective gives as `final`.

    Returns:
        The value at the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> inverse_time(5, base=1.0, total_steps=10, decay_rate=2.0)
        0.5
    """
    warmup = check_settings(step, base=base, total_steps=total_steps, warmup_steps=warmup_steps)
    rate = base if decay_rate is None else decay_rate
    if not (rate >= 0 and math.isfinite(rate)):
        raise ValueError(f"Expected `decay_rate` to be a finite number >= 0 or null, but got {decay_rate}.")
    end = checked_final(final, base)
    done = progress(step, total_steps=total_steps, warmup_steps=warmup)
    return max(base / (1 + rate * done), end) * warmup_factor(step, warmup)
