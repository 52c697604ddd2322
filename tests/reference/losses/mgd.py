"""Masked generative distillation, naively: the teacher's map, restored from the student's channels that are left.

Source: Yang et al. 2022 (arXiv:2205.01529), section 3, with masked channels, the squares summed over a sample
and their mean over the batch, as in the authors' code for classification (yzd-v/MGD,
cls/mmcls/distillation/losses/mgd.py).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, relu
from tests.reference.layers import conv, resized


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    mask_ratio: float,
    masks: Array,
) -> Any:
    """masks: [B, C] with the teacher's channels, 0 where a channel is taken away and 1 where it stays, as they fell."""
    f_t = teacher.features[0]
    f_s = resized(student.features[0], f_t.shape[2:])
    if "align.weight" in state:
        f_s = conv(f_s, state["align.weight"], state["align.bias"])
    total: Any = 0.0
    for sample in range(len(f_t)):
        left = np.stack([kept * channel for kept, channel in zip(masks[sample], f_s[sample], strict=True)])
        hidden = relu(conv(left[None], state["generation.0.weight"], state["generation.0.bias"], padding=1))
        restored = conv(hidden, state["generation.2.weight"], state["generation.2.bias"], padding=1)
        total = total + np.sum((restored[0] - f_t[sample]) ** 2)
    return total / len(f_t)
