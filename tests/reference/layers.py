"""Layers as the reference losses need them: naive NumPy that also works on complex numbers (see `arrays.py`).

Each is written from its definition, so that a sum over a window is a sum over a window; `test_layers.py` compares every
one with torch.nn.functional. Nothing here is fast.

Legend: B batch, C channels, I channels in, O channels out, n and m positions of an axis before and after.
Features are channels first: [B, C, *positions], with one axis of positions, or two, or none.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from tests.reference.arrays import Array, absolute, norm, variance

Size = int | Sequence[int]
"""One number for all axes of positions, or one for each."""


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """[B, I] to [B, O]: y = x W^T + b, with the weight [O, I]."""
    y = x @ weight.T
    return y if bias is None else y + bias


def conv(x: Array, weight: Array, bias: Array | None = None, *, stride: Size = 1, padding: Size = 0) -> Array:
    """[B, I, *positions] to [B, O, *positions]: the weight [O, I, *window] slides over x, which zeros surround.

    As in every deep learning library this is the cross-correlation: the window is not flipped.
    """
    window = weight.shape[2:]
    steps, zeros = _per_axis(stride, window), _per_axis(padding, window)
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in zeros)])
    sizes = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], window, steps, strict=True)]
    y = np.zeros((len(x), len(weight), *sizes), dtype=np.result_type(x, weight))
    for position in np.ndindex(*sizes):
        seen = tuple(slice(i * s, i * s + k) for i, s, k in zip(position, steps, window, strict=True))
        patch = padded[(slice(None), slice(None), *seen)].reshape(len(x), -1)
        y[(slice(None), slice(None), *position)] = patch @ weight.reshape(len(weight), -1).T
    return y if bias is None else y + _channels(bias, y)


def conv_transpose(x: Array, weight: Array, bias: Array | None = None, *, stride: Size = 1, padding: Size = 0) -> Array:
    """[B, I, *positions] to [B, O, *positions]: every position of x adds its multiple of the weight [I, O, *window].

    The windows lie `stride` apart, they add up where they overlap, and `padding` positions are cut off at each end.
    """
    window = weight.shape[2:]
    steps, cuts = _per_axis(stride, window), _per_axis(padding, window)
    sizes = [(n - 1) * s + k for n, k, s in zip(x.shape[2:], window, steps, strict=True)]
    y = np.zeros((len(x), weight.shape[1], *sizes), dtype=np.result_type(x, weight))
    for position in np.ndindex(*x.shape[2:]):
        reached = tuple(slice(i * s, i * s + k) for i, s, k in zip(position, steps, window, strict=True))
        here = x[(slice(None), slice(None), *position)]
        y[(slice(None), slice(None), *reached)] += np.tensordot(here, weight, axes=(1, 0))
    kept = tuple(slice(c, n - c) for c, n in zip(cuts, sizes, strict=True))
    y = y[(slice(None), slice(None), *kept)]
    return y if bias is None else y + _channels(bias, y)


def batch_norm_train(x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5) -> Array:
    """Each channel less its mean, over its deviation, both of this batch and all its positions; then w y + b.

    The variance is divided by the number of entries n, not by n - 1 (n - 1 is for the running variance alone).
    """
    others = (0, *range(2, x.ndim))
    y = (x - x.mean(axis=others, keepdims=True)) / np.sqrt(variance(x, axis=others, keepdims=True) + eps)
    return _scaled(y, weight, bias)


def adaptive_avg_pool(x: Array, size: Size) -> Array:
    """[B, C, *positions] to [B, C, *size]: the mean over one box of positions per entry.

    Along an axis from n to m positions, box i reaches from floor(i n / m) up to, not with, ceil((i + 1) n / m): the
    rule of torch. So neighbouring boxes share a position where m does not divide n.
    """
    sizes = _per_axis(size, x.shape[2:])
    y = np.zeros((*x.shape[:2], *sizes), dtype=x.dtype)
    for position in np.ndindex(*sizes):
        box = tuple(_box(i, n, m) for i, n, m in zip(position, x.shape[2:], sizes, strict=True))
        values = x[(slice(None), slice(None), *box)]
        y[(slice(None), slice(None), *position)] = values.mean(axis=tuple(range(2, x.ndim)))
    return y


def interpolate_nearest(x: Array, size: Size) -> Array:
    """[B, C, *positions] to [B, C, *size]: entry i of m takes position floor(i n / m) of n ("nearest" of torch)."""
    sizes = _per_axis(size, x.shape[2:])
    y = np.zeros((*x.shape[:2], *sizes), dtype=x.dtype)
    for position in np.ndindex(*sizes):
        source = tuple(i * n // m for i, n, m in zip(position, x.shape[2:], sizes, strict=True))
        y[(slice(None), slice(None), *position)] = x[(slice(None), slice(None), *source)]
    return y


def interpolate_bilinear(x: Array, size: Size) -> Array:
    """[B, C, *positions] to [B, C, *size]: linear between neighbours along each axis, align_corners=False.

    Positions are the centres of cells that share one length: entry i of m lies at (i + 1/2) n / m - 1/2, and nothing
    lies before the first centre nor behind the last. With one axis of positions this is mode "linear" of torch.
    """
    sizes = _per_axis(size, x.shape[2:])
    y = np.zeros((*x.shape[:2], *sizes), dtype=x.dtype)
    for position in np.ndindex(*sizes):
        axes = [_neighbours(i, n, m) for i, n, m in zip(position, x.shape[2:], sizes, strict=True)]
        value: Array = np.zeros(x.shape[:2])
        for corner in product(*axes):
            source: tuple[Any, ...] = tuple(place for place, _ in corner)
            share = math.prod(part for _, part in corner)
            value = value + share * x[(slice(None), slice(None), *source)]
        y[(slice(None), slice(None), *position)] = value
    return y


def smooth_l1(x: Array, y: Array, beta: float = 1.0) -> Array:
    """Entry by entry, with d = |x - y|: d^2 / (2 beta) below beta, and d - beta / 2 from there on; no mean is taken."""
    distance = absolute(x - y)
    return np.where(np.real(distance) < beta, distance * distance / (2 * beta), distance - beta / 2)


def unit(x: Array, axis: int, smallest: float = 1e-12) -> Array:
    """x over its L2 norm along the axis, which is taken as at least `smallest` (F.normalize of torch): 0 stays 0."""
    length = norm(x, axis=axis, keepdims=True)
    return x / np.where(np.real(length) > smallest, length, smallest)


def pairwise_distances(x: Array, smallest_square: float = 1e-12) -> Array:
    """[B, D] to [B, B]: the Euclidean distance of every two rows, 0 on the diagonal.

    The square is taken as at least `smallest_square` before its root, whose slope is infinite at 0.
    """
    distances = np.zeros((len(x), len(x)), dtype=x.dtype)
    for i, j in product(range(len(x)), repeat=2):
        if i != j:
            square = np.sum((x[i] - x[j]) ** 2)
            distances[i, j] = np.sqrt(square if np.real(square) > smallest_square else smallest_square)
    return distances


def cosine_similarities(x: Array, added: float = 0.0) -> Array:
    """[B, D] to [B, B]: the cosine of the angle between every two rows; `added` is added to each row's norm."""
    directions = x / (norm(x, axis=1, keepdims=True) + added)
    return directions @ directions.T


def flatten(x: Array) -> Array:
    """[B, C, *positions] to [B, D], each sample as one vector."""
    return x.reshape(len(x), -1)


def pool_to_smaller(a: Array, b: Array) -> tuple[Array, Array]:
    """Two features at the same positions: along each axis the one with more of them is average-pooled to the fewer."""
    sizes = [min(n, m) for n, m in zip(a.shape[2:], b.shape[2:], strict=True)]
    return adaptive_avg_pool(a, sizes), adaptive_avg_pool(b, sizes)


def resized(x: Array, size: Sequence[int]) -> Array:
    """[B, C, *positions] to [B, C, *size]: averaged along the axes that shrink, then interpolated where one grows."""
    smaller = [min(n, m) for n, m in zip(x.shape[2:], size, strict=True)]
    pooled = adaptive_avg_pool(x, smaller) if smaller != list(x.shape[2:]) else x
    return interpolate_bilinear(pooled, size) if smaller != list(size) else pooled


def _per_axis(value: Size, axes: Sequence[int]) -> list[int]:
    return [value] * len(axes) if isinstance(value, int) else list(value)


def _channels(values: Array, like: Array) -> Array:
    """[C] to [1, C, 1, ...]."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def _scaled(y: Array, weight: Array | None, bias: Array | None) -> Array:
    y = y if weight is None else y * _channels(weight, y)
    return y if bias is None else y + _channels(bias, y)


def _box(i: int, n: int, m: int) -> slice:
    """The positions of n that entry i of m covers."""
    return slice(i * n // m, -(-(i + 1) * n // m))


def _neighbours(i: int, n: int, m: int) -> list[tuple[int, float]]:
    """Between which two of n positions entry i of m lies, and the share of each."""
    place = max((i + 0.5) * n / m - 0.5, 0.0)
    before = min(math.floor(place), n - 1)
    share = place - before
    return [(before, 1 - share), (min(before + 1, n - 1), share)]
