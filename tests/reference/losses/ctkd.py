"""CTKD, naively: KD at a temperature between 1 and 21 whose parameters see the reversed gradient.

Source: Li et al. 2023 (arXiv:2211.16231), with the range of the temperature and the T^2 of zhengli97/CTKD; the layers
that predict a temperature for each sample are ours.

A derivative is an imaginary part here, so a layer that reverses it keeps the real part and turns the imaginary one.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs, kl, relu, softmax
from tests.reference.layers import linear


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    reversal: float,
    instance_wise: bool,
) -> Any:
    """`state`: theta, a number; or mlp.0 and mlp.2, linear layers from the logits to a number for each sample."""
    if instance_wise:
        # The student gets no gradient through what it is predicted from, so its imaginary part stays out.
        seen = np.concatenate([centred(teacher.logits), centred(np.real(student.logits))], axis=1)
        hidden = relu(linear(seen, state["mlp.0.weight"], state["mlp.0.bias"]))
        theta = linear(hidden, state["mlp.2.weight"], state["mlp.2.bias"])[:, 0]
    else:
        theta = np.full(len(student.logits), state["theta"])
    temperatures = 1 + 20 / (1 + np.exp(-reverse(theta, reversal)))
    total: Any = 0.0
    for z_s, z_t, temperature in zip(student.logits, teacher.logits, temperatures, strict=True):
        p_s, p_t = softmax(z_s, temperature, axis=0), softmax(z_t, temperature, axis=0)
        total = total + temperature**2 * kl(p_t, p_s, axis=0)
    return total / len(student.logits)


def reverse(x: Array, factor: float) -> Array:
    """The identity, with a derivative that is multiplied by -factor."""
    return np.real(x) - 1j * factor * np.imag(x)


def centred(logits: Array) -> Array:
    return logits - logits.mean(axis=1, keepdims=True)
