"""What all schedules share: checked settings, a warm-up, and the progress of what comes after it."""

import math
from typing import Literal

Shape = Literal["linear", "cosine"]


def warmup_length(warmup_steps: float, total_steps: int) -> int:
    """The warm-up in steps: a number below 1 is a fraction of all steps, so that one setting fits every budget."""
    if not (warmup_steps >= 0 and math.isfinite(warmup_steps)):
        raise ValueError(f"Expected `warmup_steps` to be a finite number >= 0, but got {warmup_steps}.")
    if warmup_steps < 1:
        return min(round(warmup_steps * total_steps), total_steps - 1)
    return int(warmup_steps)


def check_settings(step: int, *, base: float, total_steps: int, warmup_steps: float) -> int:
    """Check what every schedule is called with.

    Args:
        step: optimizer step, 0 for the first. `total_steps` itself, one past the last step, is allowed: the end point.
        base: the value (learning rate, weight, temperature) after the warm-up.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base` at the start, or, below 1, their share of all steps.

    Returns:
        The length of the warm-up in steps.

    Raises:
        ValueError: one of them is out of range.
    """
    if not (base > 0 and math.isfinite(base)):
        raise ValueError(f"Expected `base` to be a finite number > 0, but got {base}.")
    if total_steps < 1:
        raise ValueError(f"Expected `total_steps` to be >= 1, but got {total_steps}.")
    length = warmup_length(warmup_steps, total_steps)
    if length >= total_steps:
        raise ValueError(f"Expected `warmup_steps` to be >= 0 and < {total_steps} (all steps), but got {warmup_steps}.")
    if not 0 <= step <= total_steps:
        raise ValueError(f"Expected `step` to be >= 0 and <= {total_steps} (all steps), but got {step}.")
    return length


def checked_final(final: float | None, base: float) -> float:
    """The value that a schedule does not fall below; ValueError unless it is from 0 (None) to the base."""
    least = 0.0 if final is None else final
    if not 0 <= least <= base:
        raise ValueError(f"Expected `final` to be >= 0 and <= {base} (`base`), but got {final}.")
    return least


def warmup_factor(step: int, warmup_steps: int, shape: Shape = "linear") -> float:
    """The share of the base at a step: above 0 at step 0, rising, 1 from step W on.

    linear: equal increments of 1/(W+1). cosine: half a cosine wave over the same points.
    """
    done = min(1.0, (step + 1) / (warmup_steps + 1))
    return done if shape == "linear" else (1 - math.cos(math.pi * done)) / 2


def progress(step: int, *, total_steps: int, warmup_steps: int) -> float:
    """The share of the steps after the warm-up that are done: 0 until step W, 1 at `total_steps`."""
    return max(0, step - warmup_steps) / (total_steps - warmup_steps)
