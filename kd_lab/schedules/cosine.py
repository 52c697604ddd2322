"""Half a cosine wave from the base to the final learning rate.

Source: Loshchilov, Hutter 2017 (SGDR, arXiv:1608.03983), equation 5, without restarts.
"""

import math

from kd_lab.schedules.common.warmup import check_settings, progress, warmup_factor


def cosine(step: int, *, base_lr: float, total_steps: int, warmup_steps: int = 0, final_lr: float = 0.0) -> float:
    """`final_lr + (base_lr - final_lr) * (1 + cos(pi * s)) / 2`, where s goes from 0 after the warm-up to 1.

    `final_lr` is reached at `total_steps`, one past the last step, so the last step still moves.

    Args:
        step: optimizer step, 0 for the first.
        base_lr: the learning rate after the warm-up.
        total_steps: number of optimizer steps of the training.
        warmup_steps: number of steps below `base_lr` at the start; they are part of `total_steps`.
        final_lr: the learning rate at the end.

    Returns:
        The learning rate of the step.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> [round(cosine(step, base_lr=1.0, total_steps=4), 3) for step in range(5)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    check_settings(step, base_lr=base_lr, total_steps=total_steps, warmup_steps=warmup_steps)
    if not 0 <= final_lr <= base_lr:
        raise ValueError(f"Expected `final_lr` to be >= 0 and <= {base_lr} (`base_lr`), but got {final_lr}.")
    done = progress(step, total_steps=total_steps, warmup_steps=warmup_steps)
    decayed = final_lr + (base_lr - final_lr) * (1 + math.cos(math.pi * done)) / 2
    return decayed * warmup_factor(step, warmup_steps)
