"""ReviewKD, naively: what the deeper stages say is handed down and fused, and compared with the teacher at four scales.

Source: Chen et al. 2021 (arXiv:2104.09044), section 3: the residual form of the review, ABF (attention-based fusion)
and HCL (hierarchical context loss), with the order, the weights and the scales of dvlab-research/ReviewKD, where the
last level is the vector that the classifier reads: here the average of the last stage after a ReLU.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, relu
from tests.reference.layers import adaptive_avg_pool, batch_norm_train, conv, interpolate_nearest


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """`state`: fusions.I for each level I, shallow to deep: reduce, attend (not of the last level) and expand."""
    own, theirs = levels(student.features), levels(teacher.features)
    handed_down = None
    total: Any = 0.0
    for level in reversed(range(len(own))):
        parts = {k.removeprefix(f"fusions.{level}."): v for k, v in state.items() if k.startswith(f"fusions.{level}.")}
        said, handed_down = abf(own[level], handed_down, theirs[level].shape[2:], parts)
        total = total + hcl(said, theirs[level])
    return total


def levels(stages: tuple[Array, ...]) -> list[Array]:
    """The stages and, behind the last one, the average of what its ReLU lets through, as a map of one position."""
    return [*stages, adaptive_avg_pool(relu(stages[-1]), [1] * (stages[-1].ndim - 2))]


def abf(x: Array, deeper: Array | None, wanted: tuple[int, ...], parts: dict[str, Array]) -> tuple[Array, Array]:
    """What is compared with the teacher, and what is handed to the level before, both at the teacher's resolution."""
    x = batch_norm_train(conv(x, parts["reduce.0.weight"]), parts["reduce.1.weight"], parts["reduce.1.bias"])
    if deeper is not None:
        deeper = interpolate_nearest(deeper, x.shape[2:])
        both = np.concatenate([x, deeper], axis=1)
        attention = 1 / (1 + np.exp(-conv(both, parts["attend.weight"], parts["attend.bias"])))
        x = x * attention[:, 0:1] + deeper * attention[:, 1:2]
    x = interpolate_nearest(x, wanted)
    said = conv(x, parts["expand.0.weight"], padding=1)
    return batch_norm_train(said, parts["expand.1.weight"], parts["expand.1.bias"]), x


def hcl(a: Array, b: Array) -> Any:
    """The mean squared difference at full resolution and averaged to 4, 2 and 1 per axis, each with half the weight.

    An axis that is no longer than that stays as it is; a scale at which no axis shrinks is left out.
    """
    positions = a.shape[2:]
    total, weights, weight = np.mean((a - b) ** 2), 1.0, 1.0
    for scale in (4, 2, 1):
        size = [min(n, scale) for n in positions]
        if size != list(positions):
            weight = weight / 2
            total = total + weight * np.mean((adaptive_avg_pool(a, size) - adaptive_avg_pool(b, size)) ** 2)
            weights = weights + weight
    return total / weights
