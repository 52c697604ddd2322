"""Class attention transfer, naively: each class's map by the classifier's weights, pooled, scaled to length 1.

Source: Guo et al. 2023 (arXiv:2304.12777), section 3, with the class activation maps of Zhou et al. 2016
(arXiv:1512.04150), equation 2; the authors' code (GzyAftermath/CAT-KD, mdistiller/distillers/CAT_KD.py) pools the maps,
normalises each over its positions if it is to, and takes the mean squared difference.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import adaptive_avg_pool, unit


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    resolution: int,
    normalize: bool,
) -> Any:
    """Mean over samples, classes and positions of (A_s - A_t)^2; an axis with fewer positions keeps them."""
    f_s, f_t = student.features[0], teacher.features[0]
    size = [min(resolution, n, m) for n, m in zip(f_s.shape[2:], f_t.shape[2:], strict=True)]
    a_s, a_t = (
        class_maps(feature, state[f"{head}.weight"], size, normalize)
        for feature, head in ((f_s, "student_head"), (f_t, "teacher_head"))
    )
    assert a_s.shape == a_t.shape
    return np.mean((a_s - a_t) ** 2)


def class_maps(feature: Array, weight: Array, size: list[int], normalize: bool) -> Array:
    """[B, C, *positions] and the weights [K, C] to [B, K, S]: at every position what the class gets, then pooled."""
    classes = [np.tensordot(feature, row, axes=(1, 0)) for row in weight]
    maps = adaptive_avg_pool(np.stack(classes, axis=1), size).reshape(len(feature), len(weight), -1)
    return unit(maps, axis=2) if normalize else maps
