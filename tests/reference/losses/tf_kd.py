"""TF-KD with the virtual teacher, naively. Source: Yuan et al. 2020, arXiv:1909.11723, equation 9, and their code.

L = mean over the labelled samples of KL(q || p_s), q = softmax(u / T), u = `correct` on the label and (1 - correct) /
(K - 1) elsewhere; 0 if there is no labelled sample. u are probabilities and the softmax takes them as if they were
logits. Equation 9 softens the student as well; the code for CIFAR-100 (my_loss_function.py, loss_kd_regularization)
does not, and the authors say so in issue 3 of yuanli2333/Teacher-free-Knowledge-Distillation. Neither has T^2. The
code takes the mean over samples and classes times a `multiplier`, which is 100 with 100 classes for its ResNet-18:
the sum over the classes.
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
    correct: float,
) -> Any:
    """The mean over the labelled samples of the KL from the softened virtual teacher to the student."""
    p_s = softmax(student.logits)
    classes = p_s.shape[1]
    values = []
    for b, target in enumerate(targets):
        if target < 0:
            continue
        virtual = np.full(classes, (1 - correct) / (classes - 1))
        virtual[target] = correct
        values.append(kl(softmax(virtual, temperature, axis=0), p_s[b], axis=0))
    return np.mean(values) if values else 0.0
