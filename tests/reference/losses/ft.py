"""Factor transfer, naively: how far the student's factors lie from the teacher's, each sample's scaled to length 1.

Source: Kim, Park and Kwak 2018 (arXiv:1802.04977), section 3, the reconstruction and the factor transfer loss
with p = 1; layers, slope 0.1 and the mean over all factors are those of the authors' code
(Jangho-Kim/Factor-Transfer-pytorch).
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute
from tests.reference.layers import conv, flatten, pool_to_smaller, unit

SLOPE = 0.1


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    rate: float,
    stage_epochs: int,
) -> Any:
    """mean |F_s / ||F_s|| - F_t / ||F_t|| |. In which stage of training: no matter."""
    f_s = convolutions(student.features[0], state, "translator.")
    f_t = convolutions(teacher.features[0], state, "paraphraser.encoder.")
    assert f_s.shape[1] == f_t.shape[1] == max(round(rate * teacher.features[0].shape[1]), 1)
    f_s, f_t = pool_to_smaller(f_s, f_t)
    return np.mean(absolute(unit(flatten(f_s), axis=1) - unit(flatten(f_t), axis=1)))


def reconstruction(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    rate: float,
    stage_epochs: int,
) -> Any:
    """What the paraphraser is trained with before the student: mean (f_t - D(E(f_t)))^2. The student has no part."""
    feature = teacher.features[0]
    factors = convolutions(feature, state, "paraphraser.encoder.")
    restored = convolutions(factors, state, "paraphraser.decoder.")
    assert restored.shape == feature.shape
    return np.mean((feature - restored) ** 2)


def convolutions(feature: Array, state: dict[str, Array], name: str) -> Array:
    """Three of them, 3 wide with zeros around, each with a leaky ReLU behind it."""
    for layer in (0, 2, 4):
        feature = conv(feature, state[f"{name}{layer}.weight"], state[f"{name}{layer}.bias"], padding=1)
        feature = np.where(np.real(feature) > 0, feature, SLOPE * feature)
    return feature
