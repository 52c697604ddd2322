"""The losses written naively from their equations: NumPy, float64, probability space. Imports nothing of kd_lab.

Each `NAME_gradient` is the derivative by the student's logits, taken by hand on paper; `central_difference` checks it.

Legend: B batch, K classes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """p_k = exp(z_k / T) / sum_j exp(z_j / T), Hinton et al. 2015, equation 1."""
    weights = np.exp(logits / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


def kd(student: Array, teacher: Array, temperature: float) -> float:
    """T^2 times the mean over the batch of sum_k p_t log(p_t / p_s), both softened."""
    p_s, p_t = softmax(student, temperature), softmax(teacher, temperature)
    per_sample = [np.sum(t * np.log(t / s)) for s, t in zip(p_s, p_t, strict=True)]
    return float(temperature**2 * np.mean(per_sample))


def kd_gradient(student: Array, teacher: Array, temperature: float) -> Array:
    """Hinton et al. 2015, equation 2: (1/T)(q - p) per sample, times T^2, divided by B for the mean."""
    return temperature * (softmax(student, temperature) - softmax(teacher, temperature)) / len(student)


def soft_label(student: Array, teacher: Array) -> float:
    """The mean over the batch of -sum_k p_t log p_s."""
    p_s, p_t = softmax(student), softmax(teacher)
    return float(np.mean([-np.sum(t * np.log(s)) for s, t in zip(p_s, p_t, strict=True)]))


def cross_entropy(logits: Array, targets: list[int | None], label_smoothing: float = 0.0) -> float:
    """The mean over the labelled samples (None: no label) of -sum_k y_k log p_k; 0 when there is none.

    y is (1 - e) onehot + e / K (Szegedy et al. 2016).
    """
    values = []
    for row, target in zip(softmax(logits), targets, strict=True):
        if target is None:
            continue
        y = np.full(len(row), label_smoothing / len(row))
        y[target] += 1 - label_smoothing
        values.append(-np.sum(y * np.log(row)))
    return float(np.mean(values)) if values else 0.0


def central_difference(function: Callable[[Array], float], at: Array, step: float = 1e-5) -> Array:
    """The derivative of a function of an array, one entry after the other."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient
