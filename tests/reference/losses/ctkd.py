"""CTKD, naively. Source: Li et al. 2023, arXiv:2211.16231: KD with a learned temperature T, T^2 included; the student
minimises the loss and the temperature maximises it.

T = 1 + 20 sigmoid(theta), the range of the authors' code. theta is one number, or (instance-wise) what two linear
layers with a ReLU between them make of the teacher's and the student's logits, each less its mean; they see numbers,
not the student, so no derivative goes that way.

Reversal: the layer between theta and T is the identity, with a derivative that is multiplied by -reversal. A derivative
is an imaginary part here, so the layer keeps the real part and multiplies the imaginary one.
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
    """The mean over the samples of T^2 KL(p_t || p_s), both at the temperature T of the sample."""
    values = []
    for b in range(len(student.logits)):
        if instance_wise:
            own, theirs = np.real(student.logits[b]), teacher.logits[b]
            theta = predicted(np.concatenate([theirs - theirs.mean(), own - own.mean()]), state)
        else:
            theta = state["theta"]
        temperature = 1 + 20 / (1 + np.exp(-turned(theta, reversal)))
        p_s = softmax(student.logits[b] / temperature, axis=0)
        p_t = softmax(teacher.logits[b] / temperature, axis=0)
        values.append(temperature**2 * kl(p_t, p_s, axis=0))
    return np.mean(values)


def predicted(seen: Array, state: dict[str, Array]) -> Any:
    """theta of one sample."""
    hidden = relu(linear(seen, state["mlp.0.weight"], state["mlp.0.bias"]))
    return linear(hidden, state["mlp.2.weight"], state["mlp.2.bias"])[0]


def turned(theta: Any, reversal: float) -> Any:
    """The identity; its derivative is multiplied by -reversal."""
    return np.real(theta) - 1j * reversal * np.imag(theta)
