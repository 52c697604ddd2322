"""The overhaul of feature distillation, naively. Source: Heo et al. 2019 (arXiv:1904.01866), section 3.

The authors' code (clovaai/overhaul-distillation, CIFAR-100/distiller.py): the margin from the BatchNorm before the
layer, three deviations where less than a thousandth lies below 0; the partial distance, summed over all neurons, each
stage half of the next. The mean over the samples is mdistiller's; the authors divide by the batch size outside.
Of two resolutions the larger map is average-pooled.
"""

import math
from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import batch_norm_train, conv, linear, pool_to_smaller


def reference(student: Outputs, teacher: Outputs, targets: Integers, index: Integers, state: dict[str, Array]) -> Any:
    """The sum over the stages; the margins are found anew here, from the teacher's BatchNorms."""
    total: Any = 0.0
    count = len(student.features)
    for stage, (of_student, of_teacher) in enumerate(zip(student.features, teacher.features, strict=True)):
        f_s, f_t = pool_to_smaller(of_student, of_teacher)
        layer = linear if f_s.ndim == 2 else conv
        name = f"connectors.{stage}."
        s = layer(f_s, state[f"{name}0.weight"])
        s = batch_norm_train(s, state[f"{name}1.weight"], state[f"{name}1.bias"])
        assert s.shape == f_t.shape
        means, deviations = state[f"teacher_norms.{stage}.bias"], state[f"teacher_norms.{stage}.weight"]
        for channel in range(s.shape[1]):
            least = margin(float(means[channel]), abs(float(deviations[channel])))
            total = total + partial_distance(s[:, channel], f_t[:, channel], least) / len(s) / 2 ** (count - 1 - stage)
    return total


def margin(mean: float, deviation: float) -> float:
    """E[x | x < 0] for a normal x."""
    below = math.erfc(mean / deviation / math.sqrt(2)) / 2
    if below <= 0.001:
        return -3 * deviation
    density = math.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
    return mean - deviation * density / below


def partial_distance(s: Array, t: Array, least: float) -> Any:
    """The sum of (s - t)^2, t no less than the margin, but for the neurons where s <= t <= 0."""
    wanted = np.maximum(t, least)
    counts = ~((np.real(s) <= wanted) & (wanted <= 0))
    return np.sum(np.where(counts, (s - wanted) ** 2, 0))
