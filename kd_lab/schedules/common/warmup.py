"""What all schedules share: checked settings, a linear warm-up, and the progress of what comes after it."""

import math


def check_settings(step: int, *, base_lr: float, total_steps: int, warmup_steps: int) -> None:
    """Check what every schedule is called with.

    Args:
        step: optimizer step, 0 for the first. `total_steps` itself, one past the last step, is allowed: the end point.
        base_lr: the learning rate after the warm-up.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base_lr` at the start.

    Raises:
        ValueError: one of them is out of range.
    """
    if not (base_lr > 0 and math.isfinite(base_lr)):
        raise ValueError(f"Expected `base_lr` to be a finite number > 0, but got {base_lr}.")
    if total_steps < 1:
        raise ValueError(f"Expected `total_steps` to be >= 1, but got {total_steps}.")
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"Expected `warmup_steps` to be >= 0 and < {total_steps} (all steps), but got {warmup_steps}.")
    if not 0 <= step <= total_steps:
        raise ValueError(f"Expected `step` to be >= 0 and <= {total_steps} (all steps), but got {step}.")


def warmup_factor(step: int, warmup_steps: int) -> float:
    """The share of the learning rate at a step: equal increments, 1/(W+1) at step 0, and 1 from step W on."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def progress(step: int, *, total_steps: int, warmup_steps: int) -> float:
    """The share of the steps after the warm-up that are done: 0 until step W, 1 at `total_steps`."""
    return max(0, step - warmup_steps) / (total_steps - warmup_steps)
