"""What the reference losses share: plain NumPy in float64 that also works on complex numbers. Nothing of kd_lab.

The derivative of a reference is taken by the complex step (Squire and Trapp 1998): for a function that is written with
analytic operations, f(x + ih d) = f(x) + ih f'(x) d + O(h^2), so Im f / h with h = 1e-30 is the directional derivative
to the last digit: no difference is taken and nothing cancels. So a reference may use +, *, matrix products, np.exp,
np.log, np.sqrt, np.tanh, np.sum, np.mean, indexing and the helpers below; not np.abs, np.maximum, np.linalg.norm,
np.var, .real or comparisons of complex numbers, which are not analytic. `.T` is fine, `.conj()` is not.

Legend: B batch, K classes, C channels, L positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""float64, or complex128 while a derivative is taken."""

Integers = NDArray[np.int64]

STEP = 1e-30


@dataclass(frozen=True)
class Outputs:
    """What a network says: logits [B, K]; features, each [B, C] or [B, C, *positions]; logits of each view."""

    logits: Array
    features: tuple[Array, ...] = ()
    views: tuple[Array, ...] = ()


def directional_derivative(function: Callable[[Array], Any], at: Array, direction: Array) -> float:
    """d/dh function(at + h direction) at h = 0, by the complex step."""
    return float(np.imag(function(at + 1j * STEP * direction)) / STEP)


def central_difference(function: Callable[[Array], float], at: Array, direction: Array, step: float = 1e-4) -> float:
    """The same by five points of a real function, for a reference that cannot be made analytic (an SVD)."""
    near = function(at + step * direction) - function(at - step * direction)
    far = function(at + 2 * step * direction) - function(at - 2 * step * direction)
    return float((8 * near - far) / (12 * step))


def softmax(logits: Array, temperature: float = 1.0, axis: int = 1) -> Array:
    """p_k = exp(z_k / T) / sum_j exp(z_j / T) (Hinton et al. 2015, equation 1), the largest logit taken off."""
    largest = np.real(logits).max(axis=axis, keepdims=True)
    weights = np.exp((logits - largest) / temperature)
    return weights / weights.sum(axis=axis, keepdims=True)


def kl(p: Array, q: Array, axis: int = 1) -> Array:
    """sum_k p_k log(p_k / q_k) in nats, along an axis; a term with p_k = 0 is 0."""
    positive = np.real(p) > 0
    return np.sum(np.where(positive, p * np.log(np.where(positive, p, 1) / np.where(positive, q, 1)), 0), axis=axis)


def absolute(x: Array) -> Array:
    """|x|, analytic away from 0."""
    return np.where(np.real(x) < 0, -x, x)


def relu(x: Array) -> Array:
    """max(x, 0), analytic away from 0."""
    return np.where(np.real(x) > 0, x, 0)


def norm(x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """The square root of the sum of squares."""
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def variance(x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """The mean squared distance from the mean (divided by n, not n - 1)."""
    centred = x - x.mean(axis=axis, keepdims=True)
    return np.mean(centred * centred, axis=axis, keepdims=keepdims)


def one_hot(targets: Integers, num_classes: int) -> Array:
    """[B] to [B, K] of zeros and ones; a row of zeros for a target below 0 (no label)."""
    rows = np.zeros((len(targets), num_classes))
    for row, target in enumerate(targets):
        if target >= 0:
            rows[row, target] = 1.0
    return rows
