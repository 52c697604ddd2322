"""The same value at every step after the warm-up."""

from kd_lab.schedules.common.warmup import Shape, check_settings, warmup_factor


def constant(
    step: int, *, base: float, total_steps: int, warmup_steps: float = 0, warmup_shape: Shape = "linear"
) -> float:
    """`base`, after a warm-up.

    Args:
        step: optimizer step, 0 for the first.
        base: the value: a learning rate, or the weight or temperature of a loss.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base` at the start (part of `total_steps`); below 1, their share of all.
        warmup_shape: "linear", or "cosine" for half a cosine wave.

    Returns:
        The value at the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> constant(7, base=0.5, total_steps=10)
        0.5
    """
    warmup = check_settings(step, base=base, total_steps=total_steps, warmup_steps=warmup_steps)
    return base * warmup_factor(step, warmup, warmup_shape)
