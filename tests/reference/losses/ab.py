"""Activation boundaries, naively: a student's neuron that is not beyond the margin on the teacher's side pays a square.

Source: Heo et al. 2019 (arXiv:1811.03233), section 3, the alternative loss with a connector; 3 / 1000, the mean over
the samples and the weights of the stages as in the authors' code (bhheo/AB_distillation, cifar10_AB_distillation.py).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import batch_norm_train, conv, linear, resized


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    margin: float,
    stage_epochs: int,
) -> Any:
    """The last stage counts 1, each stage before it half of the next. In which stage of training: no matter."""
    total: Any = 0.0
    count = len(student.features)
    for stage, (f_s, f_t) in enumerate(zip(student.features, teacher.features, strict=True)):
        s = connected(resized(f_s, f_t.shape[2:]), state, f"connectors.{stage}.")
        assert s.shape == f_t.shape
        total = total + distance(s, f_t, margin) / len(s) / 2 ** (count - 1 - stage)
    return 3 * total / 1000


def distance(s: Array, t: Array, margin: float) -> Any:
    """The sum of (s + m)^2 where the teacher is inactive and s > -m, and of (s - m)^2 where it is active and s <= m."""
    inactive, active = t <= 0, t > 0
    too_high = np.sum(np.where(inactive & (np.real(s) > -margin), (s + margin) ** 2, 0))
    too_low = np.sum(np.where(active & (np.real(s) <= margin), (s - margin) ** 2, 0))
    return too_high + too_low


def connected(feature: Array, state: dict[str, Array], name: str) -> Array:
    """A 1x1 convolution without bias and a BatchNorm, where there is one; else the feature itself."""
    if f"{name}0.weight" not in state:
        return feature
    layer = linear if feature.ndim == 2 else conv
    return batch_norm_train(layer(feature, state[f"{name}0.weight"]), state[f"{name}1.weight"], state[f"{name}1.bias"])
