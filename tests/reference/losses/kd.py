"""KD, naively. Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2 (equation 1 softens).

L = T^2 mean_b sum_c p_t log(p_t / p_s), both distributions at the temperature T. T^2 keeps the size of the gradient,
which falls like 1 / T^2, the same at every temperature.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, softmax


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    temperature: float,
) -> Any:
    """T^2 times the mean over the batch of KL(p_t || p_s), both softened."""
    p_s, p_t = softmax(student.logits, temperature), softmax(teacher.logits, temperature)
    return temperature**2 * np.mean(kl(p_t, p_s))
