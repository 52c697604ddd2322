"""The same learning rate at every step after the warm-up."""

from kd_lab.schedules.common.warmup import check_settings, warmup_factor


def constant(step: int, *, base_lr: float, total_steps: int, warmup_steps: int = 0) -> float:
    """`base_lr`, after a linear warm-up.

    Args:
        step: optimizer step, 0 for the first.
        base_lr: the learning rate.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base_lr` at the start.

    Returns:
        The learning rate of the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> constant(7, base_lr=0.5, total_steps=10)
        0.5
    """
    check_settings(step, base_lr=base_lr, total_steps=total_steps, warmup_steps=warmup_steps)
    return base_lr * warmup_factor(step, warmup_steps)
