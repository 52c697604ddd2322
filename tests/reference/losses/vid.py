"""Variational information distillation, naively: the teacher's activations under a normal distribution that the
student predicts.

Source: Ahn et al. 2019 (arXiv:1904.05835), section 2: a normal distribution whose variance is one number per channel,
the softplus of a trained one; without the constant log(2 pi) / 2. And the authors' code as it stands in RepDistiller
(distiller_zoo/VID.py): the mean in place of the sum, three convolutions, 1e-5 added to the variance, the larger of two
maps average-pooled.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, relu
from tests.reference.layers import conv, linear, pool_to_smaller

SMALLEST = 1e-5


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    initial_variance: float,
) -> Any:
    """The sum over the pairs; channel by channel 1/2 [(f_t - m)^2 / v + log v], its mean over all entries.

    The initial variance is where training starts: the loss knows the variances of now alone.
    """
    total: Any = 0.0
    for pair, (of_student, of_teacher) in enumerate(zip(student.features, teacher.features, strict=True)):
        f_s, f_t = pool_to_smaller(of_student, of_teacher)
        predicted = mean(f_s, [state[f"means.{pair}.{layer}.weight"] for layer in (0, 2, 4)])
        raw = state[f"raw_variances.{pair}"]
        assert predicted.shape == f_t.shape
        terms: Any = 0.0
        for channel, number in enumerate(raw):
            variance = np.log(1 + np.exp(number)) + SMALLEST
            errors = (f_t[:, channel] - predicted[:, channel]) ** 2
            terms = terms + np.sum(errors / variance + np.log(variance)) / 2
        total = total + terms / f_t.size
    return total


def mean(feature: Array, weights: list[Array]) -> Array:
    """Three layers without bias, ReLU after the first and the second."""
    layer = linear if feature.ndim == 2 else conv
    first, second, third = weights
    return layer(relu(layer(relu(layer(feature, first)), second)), third)
