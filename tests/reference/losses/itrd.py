"""Information-theoretic distillation, naively: the correlation of each feature and the likeness of the samples.

Source: Miles, Lopez Rodriguez and Mikolajczyk 2022 (arXiv:2112.00459) as in the authors' code (roymiles/ITRD,
distiller_zoo/IT.py and helper/loops.py): deviations are divided by n - 1 and the correlation by n; the entropies of the
mutual information stand without their logarithm; the linear layer is left out of it where both vectors have one size.

`gather` has no effect on one process: a batch that is gathered from all processes is a batch.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, absolute, variance
from tests.reference.layers import flatten, linear, unit


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    lambda_corr: float,
    lambda_mutual: float,
    alpha_it: float,
    gather: bool = False,
) -> Any:
    """lambda_corr times the correlation in bits and lambda_mutual times the mutual information."""
    f_s, f_t = flatten(student.features[0]), flatten(teacher.features[0])
    embedded = linear(f_s, state["embed.weight"], state["embed.bias"])
    alike = f_s if f_s.shape == f_t.shape else embedded
    return lambda_corr * correlation(embedded, f_t, alpha_it) + lambda_mutual * mutual_information(alike, f_t)


def correlation(x: Array, y: Array, alpha: float) -> Any:
    """log2 of the sum over the features of (|c - 1|^2)^alpha."""
    total: Any = 0.0
    for d in range(x.shape[1]):
        c = np.sum(standardised(x[:, d]) * standardised(y[:, d])) / len(x)
        total = total + (absolute(c - 1) ** 2) ** alpha
    return np.log(total) / np.log(2)


def standardised(values: Array) -> Array:
    """[n] less the mean, over the deviation with n - 1."""
    n = len(values)
    result: Array = (values - values.mean()) / np.sqrt(variance(values, axis=0) * n / (n - 1))
    return result


def mutual_information(x: Array, y: Array) -> Any:
    """The sum of squares of the student's matrix less that of the joint one, each matrix of trace 1."""
    of_student = unit(x, axis=1) @ unit(x, axis=1).T
    joint = of_student * (unit(y, axis=1) @ unit(y, axis=1).T)
    return np.sum((of_student / np.trace(of_student)) ** 2) - np.sum((joint / np.trace(joint)) ** 2)
