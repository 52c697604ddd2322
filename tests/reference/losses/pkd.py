"""Distillation by Pearson correlation, naively. Source: Cao et al. 2022 (arXiv:2207.02039), section 3.

Each channel is standardised over the batch and the positions together, and half the mean squared error is taken. As in
the authors' code (open-mmlab/mmrazor, mmrazor/models/losses/pkd_loss.py) the deviation is divided by n - 1 and 1e-6 is
added to it, with n = B L. So the loss is (n - 1) / n times the mean over the channels of 1 - r, r Pearson's correlation
(but for the 1e-6), not quite 1 - r itself. A student of another resolution is brought to the teacher's, bilinear.

`gather` has no effect on one process: a batch that is gathered from all processes is a batch.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, variance
from tests.reference.layers import interpolate_bilinear

EPS = 1e-6


def standardised(feature: Array) -> Array:
    """[B, C, *positions], each channel of mean 0 and deviation 1."""
    others = (0, *range(2, feature.ndim))
    n = feature.size // feature.shape[1]
    deviation = np.sqrt(variance(feature, axis=others, keepdims=True) * n / (n - 1))
    scaled: Array = (feature - feature.mean(axis=others, keepdims=True)) / (deviation + EPS)
    return scaled


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    gather: bool = False,
) -> Any:
    """The sum over the pairs of 1/2 mean_{b, c, l} (standardised f_s - standardised f_t)^2."""
    total: Any = 0.0
    for of_student, f_t in zip(student.features, teacher.features, strict=True):
        f_s = of_student if of_student.shape[2:] == f_t.shape[2:] else interpolate_bilinear(of_student, f_t.shape[2:])
        assert f_s.shape == f_t.shape
        total = total + np.mean((standardised(f_s) - standardised(f_t)) ** 2) / 2
    return total
