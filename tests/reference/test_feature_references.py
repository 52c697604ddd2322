"""The references of the feature losses by themselves: values by hand, invariances, derivatives. Imports no kd_lab."""

import importlib
import math
from typing import Any

import numpy as np
import pytest

from tests.reference.arrays import Array, Outputs, central_difference, directional_derivative

NAMES = ("at", "sp", "rkd", "pkt", "nst", "cwd", "pkd", "kdsvd")
ANALYTIC = tuple(name for name in NAMES if name != "kdsvd")
OF_SAMPLES = ("sp", "rkd", "pkt")
"""Those that compare samples with samples, so that channels and positions are one vector."""


def module(name: str) -> Any:
    return importlib.import_module(f"tests.reference.losses.{name}")


def value(name: str, student: list[Array], teacher: list[Array], **settings: Any) -> Any:
    batch = len(student[0])
    nothing, rows = np.zeros((batch, 2)), np.arange(batch)
    outputs = [Outputs(nothing, tuple(features)) for features in (student, teacher)]
    return module(name).reference(*outputs, np.zeros(batch, dtype=np.int64), rows, {}, **settings)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def pairs(name: str) -> tuple[list[Array], list[Array]]:
    """Two stages of student and teacher, of different channels and resolutions where the method allows it."""
    narrow = 4 if name in ("cwd", "pkd", "kdsvd") else 3
    small = (3, 4) if name == "cwd" else (2, 3)
    student = [random(5, narrow, *small), random(5, narrow, 4)]
    teacher = [random(5, 4, 3, 4, seed=1), random(5, 4, 4, seed=1)]
    return student, teacher


def rotation(n: int) -> Array:
    q, _ = np.linalg.qr(random(n, n, seed=3))
    return q


# ---------------------------------------------------------------------------------------------------------------------
# Of all of them


@pytest.mark.parametrize("name", NAMES)
def test_all__are_zero_for_equal_features(name):
    _, teacher = pairs(name)
    assert value(name, teacher, teacher) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_all__are_positive_for_different_features(name):
    assert value(name, *pairs(name)) > 1e-3


@pytest.mark.parametrize("name", ANALYTIC)
def test_all__are_the_sum_over_the_pairs(name):
    student, teacher = pairs(name)
    one_by_one = sum(value(name, [s], [t]) for s, t in zip(student, teacher, strict=True))
    assert value(name, student, teacher) == pytest.approx(one_by_one, rel=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_all__have_the_same_value_for_samples_in_another_order(name):
    student, teacher = pairs(name)
    order = [3, 0, 4, 2, 1]
    assert value(name, [f[order] for f in student], [f[order] for f in teacher]) == pytest.approx(
        value(name, student, teacher), rel=1e-12
    )


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", ANALYTIC)
def test_all__complex_step_agrees_with_differences(name, stage):
    student, teacher = pairs(name)

    def at(feature: Array) -> Any:
        return value(name, [feature if i == stage else f for i, f in enumerate(student)], teacher)

    direction = random(*student[stage].shape, seed=2)
    exact = directional_derivative(at, student[stage], direction)
    assert exact != 0
    assert exact == pytest.approx(central_difference(at, student[stage], direction, step=1e-3), rel=1e-6)


@pytest.mark.parametrize("name", ANALYTIC)
def test_all__a_vector_per_sample_is_a_feature(name):
    student, teacher = random(5, 4), random(5, 4, seed=1)
    found = value(name, [student], [teacher])
    # One position makes one map of length 1, or one probability 1: nothing to tell student and teacher apart.
    assert found == pytest.approx(0.0, abs=1e-14) if name in ("at", "nst", "cwd") else found > 1e-3


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_of_samples__rotations_and_scales_of_the_student_change_nothing(name):
    student, teacher = random(5, 6), random(5, 4, seed=1)
    turned = 2.5 * student @ rotation(6)
    assert value(name, [turned], [teacher]) == pytest.approx(value(name, [student], [teacher]), rel=1e-5)


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_of_samples__positions_are_flattened_and_gather_has_no_effect(name):
    student, teacher = random(5, 3, 2, 2), random(5, 4, 3, seed=1)
    flat = value(name, [student.reshape(5, -1)], [teacher.reshape(5, -1)])
    assert value(name, [student], [teacher], gather=True) == pytest.approx(flat, rel=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# at


def test_at__value_by_hand():
    # Squares (1, 0) and (1, 1); over their lengths (1, 0) and (r, r) with r = 1/sqrt 2; squared differences (1 - r)^2
    # and r^2, whose mean is (1 - 2r + 2 r^2) / 2 = 1 - r.
    student, teacher = np.array([[[-1.0, 0.0]]]), np.array([[[1.0, -1.0]]])
    assert value("at", [student], [teacher]) == pytest.approx(1 - 1 / math.sqrt(2), rel=1e-14)


def test_at__the_channels_are_averaged_after_the_square():
    # mean_c f^2 = ((9 + 1) / 2, (0 + 50) / 2) = (5, 25), as one channel (1, sqrt 5) has it up to its scale.
    student, teacher = np.array([[[3.0, 0.0], [-1.0, math.sqrt(50)]]]), np.array([[[1.0, math.sqrt(5)]]])
    assert value("at", [student], [teacher]) == pytest.approx(0.0, abs=1e-15)


def test_at__pools_the_feature_not_its_square():
    # (1, -1, 2, 2) pools to (0, 2) and its map is (0, 1); the pooled squares would be (1, 4).
    student, teacher = np.array([[[1.0, -1.0, 2.0, 2.0]]]), np.array([[[0.0, -3.0]]])
    assert value("at", [student], [teacher]) == pytest.approx(0.0, abs=1e-15)
    assert value("at", [teacher], [student]) == pytest.approx(0.0, abs=1e-15)


def test_at__scale_of_each_sample_and_rotation_of_channels_change_nothing():
    student, teacher = random(5, 3, 2, 3), random(5, 4, 2, 3, seed=1)
    scaled = np.einsum("dc,bc...->bd...", rotation(3), student * np.array([0.1, 1, 2, -3, 5]).reshape(5, 1, 1, 1))
    assert value("at", [scaled], [teacher]) == pytest.approx(value("at", [student], [teacher]), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# sp


def test_sp__value_by_hand():
    # The student's samples are orthogonal: rows (1, 0), (0, 1). The teacher's are equal: rows (r, r) with r = 1/sqrt 2.
    # Each row adds (1 - r)^2 + r^2 = 2 - 2r; both over B^2 = 4: 1 - r.
    student, teacher = np.array([[3.0, 0.0], [0.0, 0.5]]), np.array([[2.0], [2.0]])
    assert value("sp", [student], [teacher]) == pytest.approx(1 - 1 / math.sqrt(2), rel=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# rkd

LINE = np.array([[0.0], [1.0], [3.0]])
TRIANGLE = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, math.sqrt(3)]])


def test_rkd__distances_by_hand():
    # On the line 1, 3, 2, of mean 2: 1/2, 3/2, 1; in the triangle 1, 1, 1. Smooth L1 of the differences 1/2, 1/2, 0:
    # 1/8, 1/8, 0; each twice over B^2 = 9.
    found = value("rkd", [LINE], [TRIANGLE], distance_weight=1.0, angle_weight=0.0)
    assert found == pytest.approx(2 * (1 / 8 + 1 / 8) / 9, rel=1e-13)


def test_rkd__angles_by_hand():
    # On the line the cosine is 1 at both ends and -1 in the middle; in the triangle 1/2 everywhere. Differences 1/2,
    # -3/2, 1/2; smooth L1 1/8, 1, 1/8; each twice (j and k change places) over B^3 = 27. With j = k both cosines are 1.
    found = value("rkd", [LINE], [TRIANGLE], distance_weight=0.0, angle_weight=1.0)
    assert found == pytest.approx(2 * (1 / 8 + 1 + 1 / 8) / 27, rel=1e-13)


def test_rkd__weights_are_25_and_50():
    assert value("rkd", [LINE], [TRIANGLE]) == pytest.approx(25 * 0.5 / 9 + 50 * 2.5 / 27, rel=1e-13)


def test_rkd__is_finite_where_all_embeddings_are_equal():
    # All distances are the smallest, 1e-6, so 1 over their mean as in the triangle. No angle has a direction: cosine 0
    # against 1 in 6 triplets with j = k (smooth L1 1/2) and against 1/2 in the 6 others (1/8).
    found = value("rkd", [np.ones((3, 4))], [TRIANGLE])
    assert found == pytest.approx(50 * (6 / 2 + 6 / 8) / 27, rel=1e-13)


def test_rkd__a_shift_of_the_student_changes_nothing():
    student, teacher = random(5, 6), random(5, 4, seed=1)
    assert value("rkd", [student + 3], [teacher]) == pytest.approx(value("rkd", [student], [teacher]), rel=1e-12)


def test_rkd__derivative_flows_through_the_mean_distance():
    # A change of scale divides out only if the mean follows.
    student, teacher = random(5, 6), random(5, 4, seed=1)
    slope = directional_derivative(lambda x: value("rkd", [x], [teacher], angle_weight=0.0), student, student)
    assert slope == pytest.approx(0.0, abs=1e-13)


# ---------------------------------------------------------------------------------------------------------------------
# pkt


def test_pkt__value_by_hand():
    # The student's samples are orthogonal: similarities 1 and 1/2, so 2/3 and 1/3. The teacher's are parallel: 1/2
    # each. A row is 1/2 log(3/4) + 1/2 log(3/2) = 1/2 log(9/8); the mean over 4 entries of two rows is 1/4 log(9/8).
    # The 1e-7 change it by less than 2e-6 of itself.
    student, teacher = np.array([[3.0, 0.0], [0.0, 0.5]]), np.array([[2.0], [4.0]])
    assert value("pkt", [student], [teacher]) == pytest.approx(math.log(9 / 8) / 4, rel=2e-6)


def test_pkt__scale_of_each_sample_changes_nothing():
    student, teacher = random(5, 6), random(5, 4, seed=1)
    scaled = student * np.array([[0.1], [1], [2], [3], [5]])
    assert value("pkt", [scaled], [teacher]) == pytest.approx(value("pkt", [student], [teacher]), rel=1e-5)


def test_pkt__a_sample_of_zeros_has_a_derivative():
    student, teacher = random(5, 6), random(5, 4, seed=1)
    student[2] = 0.0
    slope = directional_derivative(lambda x: value("pkt", [x], [teacher]), student, random(5, 6, seed=2))
    assert math.isfinite(slope)


# ---------------------------------------------------------------------------------------------------------------------
# nst


def test_nst__value_by_hand():
    # One channel each, 45 degrees apart: <s, t>^2 = 1/2, so 1 + 1 - 2/2 = 1.
    assert value("nst", [np.array([[[3.0, 0.0]]])], [np.array([[[1.0, 1.0]]])]) == pytest.approx(1.0, rel=1e-14)


def test_nst__means_are_over_all_pairs_of_channels_by_hand():
    # Two orthogonal channels of the teacher, of which the student has one: k(t, t) = (1 + 0 + 0 + 1) / 4 = 1/2,
    # k(s, s) = 1, k(s, t) = (1 + 0) / 2 = 1/2: 1/2 + 1 - 1 = 1/2.
    student, teacher = np.array([[[4.0, 0.0]]]), np.array([[[2.0, 0.0], [0.0, -3.0]]])
    assert value("nst", [student], [teacher]) == pytest.approx(0.5, rel=1e-14)


def test_nst__order_scale_and_sign_of_channels_and_copies_of_all_change_nothing():
    student, teacher = random(5, 3, 2, 3), random(5, 4, 2, 3, seed=1)
    changed = student[:, [2, 0, 1]] * np.array([0.1, -2.0, 3.0]).reshape(1, 3, 1, 1)
    expected = value("nst", [student], [teacher])
    assert value("nst", [changed], [teacher]) == pytest.approx(expected, rel=1e-12)
    assert value("nst", [np.concatenate([student, student], axis=1)], [teacher]) == pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# cwd


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cwd__value_by_hand(temperature):
    # Two positions, (1/4, 3/4) against (1/2, 1/2): 1/4 log(1/2) + 3/4 log(3/2), times tau^2. The other channel is
    # equal and halves the mean.
    teacher = temperature * np.array([[[0.0, math.log(3)], [1.0, 2.0]]])
    student = temperature * np.array([[[5.0, 5.0], [1.0, 2.0]]])
    expected = temperature**2 * (math.log(1 / 2) / 4 + math.log(3 / 2) * 3 / 4) / 2
    assert value("cwd", [student], [teacher], temperature=temperature) == pytest.approx(expected, rel=1e-13)


def test_cwd__temperature_is_4():
    student, teacher = random(5, 3, 2, 3), random(5, 3, 2, 3, seed=1)
    assert value("cwd", [student], [teacher]) == value("cwd", [student], [teacher], temperature=4.0)


def test_cwd__a_shift_of_each_channel_changes_nothing():
    student, teacher = random(5, 3, 2, 3), random(5, 3, 2, 3, seed=1)
    shifted = student + random(5, 3, 1, 1, seed=2)
    assert value("cwd", [shifted], [teacher]) == pytest.approx(value("cwd", [student], [teacher]), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# pkd


def test_pkd__value_by_hand():
    # Both have n = 4, mean 0 and variance 4/3, so entries of +-sqrt(3/4); two of four differ, by 3 when squared. The
    # mean is 3/2 and half of it 3/4, which is (n - 1) / n (1 - r) with r = 0. The 1e-6 take 2e-6 of it away.
    student, teacher = np.array([[[1.0, -1.0, 1.0, -1.0]]]), np.array([[[1.0, 1.0, -1.0, -1.0]]])
    assert value("pkd", [student], [teacher]) == pytest.approx(3 / 4, rel=3e-6)


def test_pkd__is_one_less_the_correlation_times_n_less_1_over_n():
    student, teacher = random(5, 3, 4), random(5, 3, 4, seed=1)
    correlations = [np.corrcoef(student[:, c].ravel(), teacher[:, c].ravel())[0, 1] for c in range(3)]
    expected = 19 / 20 * (1 - np.mean(correlations))
    assert value("pkd", [student], [teacher]) == pytest.approx(expected, rel=1e-5)


def test_pkd__scale_and_shift_of_each_channel_change_nothing():
    student, teacher = random(5, 3, 2, 3), random(5, 3, 2, 3, seed=1)
    changed = student * np.array([0.5, 2.0, 3.0]).reshape(1, 3, 1, 1) + np.arange(3).reshape(1, 3, 1, 1)
    assert value("pkd", [changed], [teacher]) == pytest.approx(value("pkd", [student], [teacher]), rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# kdsvd


def test_kdsvd__value_by_hand():
    # One position, so one vector over the channels: teacher (1, 0) then (0, 1); student (1, 0) then (r, r) with
    # r = 1/sqrt 2. Entries of the later vector (rows) less those of the earlier (columns):
    # teacher 0-1, 0-0 | 1-1, 1-0 and student r-1, r-0 | r-1, r-0.
    r = 1 / math.sqrt(2)
    student = [np.array([[[2.0], [0.0]]]), np.array([[[3.0], [3.0]]])]
    teacher = [np.array([[[5.0], [0.0]]]), np.array([[[0.0], [4.0]]])]

    def rbf(difference: float) -> float:
        return math.exp(-(difference**2) / 8)

    expected = (
        (rbf(r - 1) - rbf(-1)) ** 2 + (rbf(r) - rbf(0)) ** 2 + (rbf(r - 1) - rbf(0)) ** 2 + (rbf(r) - rbf(1)) ** 2
    )
    assert value("kdsvd", student, teacher) == pytest.approx(expected, rel=1e-13)
    doubled = [np.concatenate([f, f]) for f in student], [np.concatenate([f, f]) for f in teacher]
    assert value("kdsvd", *doubled) == pytest.approx(expected, rel=1e-13)


def test_kdsvd__one_stage_has_no_neighbour():
    student, teacher = pairs("kdsvd")
    assert value("kdsvd", student[:1], teacher[:1]) == 0


def test_kdsvd__takes_the_students_nearest_vector_whatever_its_place():
    # The student has the teacher's two directions with their strengths exchanged.
    teacher = [np.diag([3.0, 1.0])[None], np.diag([1.0, 2.0])[None]]
    student = [np.diag([1.0, 3.0])[None], np.diag([2.0, 1.0])[None]]
    assert value("kdsvd", student, teacher) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("k", [1, 2])
def test_kdsvd__sign_scale_and_order_of_positions_change_nothing(k):
    student, teacher = pairs("kdsvd")
    expected = value("kdsvd", student, teacher, k=k)
    assert value("kdsvd", [-2 * student[0], student[1]], teacher, k=k) == pytest.approx(expected, rel=1e-10)
    assert value("kdsvd", student, [teacher[0], -2 * teacher[1]], k=k) == pytest.approx(expected, rel=1e-10)
    turned = [student[0], student[1][:, :, ::-1]]
    assert value("kdsvd", turned, teacher, k=k) == pytest.approx(expected, rel=1e-10)


def test_kdsvd__asks_for_differences_and_they_agree_over_steps():
    student, teacher = pairs("kdsvd")

    def at(feature: Array) -> float:
        return float(value("kdsvd", [student[0], feature], teacher))

    direction = random(*student[1].shape, seed=2)
    slopes = [central_difference(at, student[1], direction, step=step) for step in (1e-4, 3e-5)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-6)
    assert slopes[0] != 0
    assert module("kdsvd").DERIVATIVE == "central"
    assert not any(hasattr(module(name), "DERIVATIVE") for name in ANALYTIC)
