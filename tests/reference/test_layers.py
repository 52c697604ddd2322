"""The references' layers against torch.nn.functional in float64, their complex-step derivatives against autograd."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.reference import layers
from tests.reference.arrays import Array, directional_derivative

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def t(x: Array) -> Tensor:
    return torch.from_numpy(x)


def same(found: Array, expected: Tensor) -> None:
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), **TOLERANCE)


def same_slope(ours: Callable[[Array], Array], torchs: Callable[[Tensor], Tensor], at: Array) -> None:
    """Of sum_i w_i y_i with random w, along a random direction."""
    direction, w = random(*at.shape, seed=7), random(*ours(at).shape, seed=8)
    found = directional_derivative(lambda x: np.sum(w * ours(x)), at, direction)
    x = t(at).requires_grad_()
    (gradient,) = torch.autograd.grad((t(w) * torchs(x)).sum(), x)
    assert found == pytest.approx(float((gradient * t(direction)).sum()), rel=1e-12)


def test_linear__is_torchs():
    x, weight, bias = random(4, 5), random(3, 5), random(3)
    same(layers.linear(x, weight), F.linear(t(x), t(weight)))
    same(layers.linear(x, weight, bias), F.linear(t(x), t(weight), t(bias)))


CONV_1D = [(9, 3, 1, 0), (9, 3, 2, 1), (8, 4, 2, 1), (5, 1, 1, 0), (6, 5, 3, 2)]
CONV_2D = [((5, 6), (3, 3), 1, 1), ((6, 7), (3, 2), 2, 0), ((8, 8), (3, 3), 2, 1), ((5, 4), (1, 1), 1, 0)]
CONV_2D += [((6, 5), (3, 2), (2, 1), (1, 0))]


@pytest.mark.parametrize(("length", "window", "stride", "padding"), CONV_1D)
def test_conv__1d_is_torchs(length, window, stride, padding):
    x, weight, bias = random(2, 3, length), random(4, 3, window), random(4)
    found = layers.conv(x, weight, bias, stride=stride, padding=padding)
    same(found, F.conv1d(t(x), t(weight), t(bias), stride=stride, padding=padding))


@pytest.mark.parametrize(("size", "window", "stride", "padding"), CONV_2D)
def test_conv__2d_is_torchs(size, window, stride, padding):
    x, weight = random(2, 3, *size), random(4, 3, *window)
    found = layers.conv(x, weight, stride=stride, padding=padding)
    same(found, F.conv2d(t(x), t(weight), stride=stride, padding=padding))


@pytest.mark.parametrize(("length", "window", "stride", "padding"), CONV_1D)
def test_conv_transpose__1d_is_torchs(length, window, stride, padding):
    x, weight, bias = random(2, 3, length), random(3, 4, window), random(4)
    found = layers.conv_transpose(x, weight, bias, stride=stride, padding=padding)
    same(found, F.conv_transpose1d(t(x), t(weight), t(bias), stride=stride, padding=padding))


@pytest.mark.parametrize(("size", "window", "stride", "padding"), CONV_2D)
def test_conv_transpose__2d_is_torchs(size, window, stride, padding):
    x, weight = random(2, 3, *size), random(3, 4, *window)
    found = layers.conv_transpose(x, weight, stride=stride, padding=padding)
    same(found, F.conv_transpose2d(t(x), t(weight), stride=stride, padding=padding))


def test_conv_transpose__doubles_the_map_with_the_window_of_fitnets():
    assert layers.conv_transpose(random(2, 3, 4, 5), random(3, 6, 4, 4), stride=2, padding=1).shape == (2, 6, 8, 10)


POSITIONS = [(), (5,), (3, 4)]


@pytest.mark.parametrize("positions", POSITIONS)
def test_batch_norm_train__is_torchs(positions):
    x, weight, bias = 3 * random(4, 2, *positions) + 1, random(2), random(2, seed=1)
    same(layers.batch_norm_train(x), F.batch_norm(t(x), None, None, training=True))
    expected = F.batch_norm(t(x), None, None, t(weight), t(bias), training=True, eps=1e-2)
    same(layers.batch_norm_train(x, weight, bias, eps=1e-2), expected)


@pytest.mark.parametrize("positions", POSITIONS)
def test_batch_norm_eval__is_torchs(positions):
    x, weight, bias = 3 * random(4, 2, *positions) + 1, random(2), random(2, seed=1)
    mean, var = random(2, seed=2), random(2, seed=3) ** 2
    same(layers.batch_norm_eval(x, mean, var), F.batch_norm(t(x), t(mean), t(var)))
    expected = F.batch_norm(t(x), t(mean), t(var), t(weight), t(bias), eps=1e-2)
    same(layers.batch_norm_eval(x, mean, var, weight, bias, eps=1e-2), expected)


SIZES_1D = [(7, 7), (8, 4), (7, 3), (5, 1), (3, 8), (1, 4), (6, 12)]
SIZES_2D = [((8, 6), (4, 3)), ((7, 5), (3, 2)), ((5, 7), (1, 1)), ((3, 2), (7, 5)), ((4, 9), (8, 2))]


@pytest.mark.parametrize(("length", "size"), SIZES_1D)
def test_positions__1d_are_torchs(length, size):
    x = random(2, 3, length)
    same(layers.adaptive_avg_pool(x, size), F.adaptive_avg_pool1d(t(x), size))
    same(layers.interpolate_nearest(x, size), F.interpolate(t(x), size=size, mode="nearest"))
    same(layers.interpolate_bilinear(x, size), F.interpolate(t(x), size=size, mode="linear", align_corners=False))


@pytest.mark.parametrize(("before", "size"), SIZES_2D)
def test_positions__2d_are_torchs(before, size):
    x = random(2, 3, *before)
    same(layers.adaptive_avg_pool(x, size), F.adaptive_avg_pool2d(t(x), size))
    same(layers.interpolate_nearest(x, size), F.interpolate(t(x), size=size, mode="nearest"))
    same(layers.interpolate_bilinear(x, size), F.interpolate(t(x), size=size, mode="bilinear", align_corners=False))


def test_pool_to_smaller__pools_the_larger_along_each_axis():
    tall, wide = random(2, 3, 8, 2), random(2, 5, 4, 6)
    a, b = layers.pool_to_smaller(tall, wide)
    same(a, F.adaptive_avg_pool2d(t(tall), (4, 2)))
    same(b, F.adaptive_avg_pool2d(t(wide), (4, 2)))


def test_resized__averages_one_axis_and_interpolates_the_other():
    x = random(2, 3, 7, 4)
    pooled = F.adaptive_avg_pool2d(t(x), (3, 4))
    same(layers.resized(x, (3, 6)), F.interpolate(pooled, (3, 6), mode="bilinear", align_corners=False))
    same(layers.resized(x, (3, 4)), pooled)
    same(layers.resized(x, (7, 4)), t(x))


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_smooth_l1__is_torchs(beta):
    x, y = 2 * random(6, 5), random(6, 5, seed=1)
    x[0], y[0] = [0.0, 1.0, -1.0, 0.5, -0.5], 0.0  # the seams
    same(layers.smooth_l1(x, y, beta), F.smooth_l1_loss(t(x), t(y), beta=beta, reduction="none"))


def test_unit__is_torchs_normalize():
    x = random(4, 5)
    x[1] = 0.0
    x[2] *= 1e-13
    same(layers.unit(x, axis=1), F.normalize(t(x), dim=1))


def test_pairwise_distances__are_torchs():
    x = random(6, 3)
    same(layers.pairwise_distances(x), torch.cdist(t(x), t(x), compute_mode="donot_use_mm_for_euclid_dist"))


def test_pairwise_distances__of_equal_rows_is_the_root_of_the_smallest_square():
    np.testing.assert_allclose(layers.pairwise_distances(np.ones((2, 3))), [[0, 1e-6], [1e-6, 0]], rtol=1e-15)


def test_cosine_similarities__are_torchs():
    x = random(6, 3)
    same(layers.cosine_similarities(x), F.cosine_similarity(t(x)[:, None], t(x)[None], dim=2))
    halved = layers.cosine_similarities(x / np.linalg.norm(x, axis=1, keepdims=True), added=1.0) * 4
    np.testing.assert_allclose(halved, layers.cosine_similarities(x), **TOLERANCE)


def test_conv__slope_is_autograds():
    x, weight = random(2, 3, 6, 5), random(4, 3, 3, 3)
    same_slope(
        lambda z: layers.conv(z, weight, stride=2, padding=1), lambda z: F.conv2d(z, t(weight), stride=2, padding=1), x
    )
    same_slope(
        lambda w: layers.conv(x, w, stride=2, padding=1), lambda w: F.conv2d(t(x), w, stride=2, padding=1), weight
    )


def test_conv_transpose__slope_is_autograds():
    x, weight = random(2, 3, 3, 2), random(3, 4, 4, 4)
    same_slope(
        lambda z: layers.conv_transpose(z, weight, stride=2, padding=1),
        lambda z: F.conv_transpose2d(z, t(weight), stride=2, padding=1),
        x,
    )
    same_slope(
        lambda w: layers.conv_transpose(x, w, stride=2, padding=1),
        lambda w: F.conv_transpose2d(t(x), w, stride=2, padding=1),
        weight,
    )


def test_batch_norm__slope_is_autograds():
    x, weight, bias = random(4, 2, 3), random(2), random(2, seed=1)
    same_slope(
        lambda z: layers.batch_norm_train(z, weight, bias),
        lambda z: F.batch_norm(z, None, None, t(weight), t(bias), training=True),
        x,
    )
    same_slope(
        lambda w: layers.batch_norm_train(x, w, bias),
        lambda w: F.batch_norm(t(x), None, None, w, t(bias), training=True),
        weight,
    )
    mean, var = random(2, seed=2), random(2, seed=3) ** 2
    same_slope(
        lambda z: layers.batch_norm_eval(z, mean, var, weight, bias),
        lambda z: F.batch_norm(z, t(mean), t(var), t(weight), t(bias)),
        x,
    )


def test_positions__slopes_are_autograds():
    x = random(2, 3, 5, 4)
    same_slope(lambda z: layers.adaptive_avg_pool(z, (3, 2)), lambda z: F.adaptive_avg_pool2d(z, (3, 2)), x)
    same_slope(lambda z: layers.interpolate_nearest(z, (7, 2)), lambda z: F.interpolate(z, size=(7, 2)), x)
    same_slope(
        lambda z: layers.interpolate_bilinear(z, (7, 2)), lambda z: F.interpolate(z, size=(7, 2), mode="bilinear"), x
    )


def test_smooth_l1__slope_is_autograds():
    x, y = 2 * random(6, 5), random(6, 5, seed=1)
    same_slope(lambda z: layers.smooth_l1(z, y), lambda z: F.smooth_l1_loss(z, t(y), reduction="none"), x)


def test_unit__slope_is_autograds():
    x = random(4, 5)
    same_slope(lambda z: layers.unit(z, axis=1), lambda z: F.normalize(z, dim=1), x)
    x[1] = 0.0
    same_slope(lambda z: layers.unit(z, axis=1), lambda z: F.normalize(z, dim=1), x)


def test_cosine_similarities__slope_is_autograds():
    x = random(6, 3)
    same_slope(layers.cosine_similarities, lambda z: F.cosine_similarity(z[:, None], z[None], dim=2), x)
    same_slope(lambda z: layers.linear(z, random(2, 3)), lambda z: F.linear(z, t(random(2, 3))), x)


def test_pairwise_distances__slope_is_autograds():
    x = random(6, 3)
    above = torch.triu_indices(6, 6, offset=1)
    same_slope(
        lambda z: layers.pairwise_distances(z)[np.triu_indices(6, k=1)],
        lambda z: (z[above[0]] - z[above[1]]).norm(dim=1),
        x,
    )
