"""The references of the logit losses, checked by themselves: derivatives, values by hand, end points and limits.

Nothing of kd_lab is imported: what is wrong here is wrong in the reference. Two-class values use the teacher
p_t = (3/4, 1/4), whose logits are (log 3, 0), and the student p_s = (1/2, 1/2); three-class values use
p_t = (1/2, 1/4, 1/4) and p_s = (1/4, 1/2, 1/4), the label being class 0.
"""

import importlib
import itertools
import time
from typing import Any

import numpy as np
import pytest

from tests.reference import losses_numpy
from tests.reference.arrays import (
    Array,
    Integers,
    Outputs,
    central_difference,
    directional_derivative,
    softmax,
)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("kd", {"temperature": 1.0}),
    ("kd", {"temperature": 4.0}),
    ("soft_label", {}),
    ("hard_label", {}),
    ("mse_logits", {"centre": False}),
    ("mse_logits", {"centre": True}),
    ("dkd", {"temperature": 4.0, "alpha": 1.0, "beta": 8.0}),
    ("dkd", {"temperature": 0.5, "alpha": 0.5, "beta": 2.0}),
    ("nkd", {"temperature": 3.0, "gamma": 3.5}),
    ("nkd", {"temperature": 1.0, "gamma": 1.5}),
    ("dist", {"temperature": 4.0, "beta": 1.0, "gamma": 1.0}),
    ("dist", {"temperature": 1.0, "beta": 2.0, "gamma": 0.5, "gather": True}),
    ("jsd", {"temperature": 0.9, "beta": 0.0}),
    ("jsd", {"temperature": 0.9, "beta": 0.3}),
    ("jsd", {"temperature": 0.9, "beta": 1.0}),
    ("reverse_kl", {"temperature": 2.0}),
    ("alpha_divergence", {"temperature": 2.0, "alpha": -1.0}),
    ("alpha_divergence", {"temperature": 2.0, "alpha": 0.0}),
    ("alpha_divergence", {"temperature": 2.0, "alpha": 0.5}),
    ("alpha_divergence", {"temperature": 2.0, "alpha": 1.0}),
    ("skew_kl", {"temperature": 2.0, "alpha": 0.1}),
    ("tvd", {}),
    ("wsld", {"temperature": 4.0}),
    ("ttm", {"gamma": 0.1}),
    ("wttm", {"gamma": 0.1}),
    ("sparse_kl", {"temperature": 2.0, "k": 2}),
    ("sparse_jsd", {"temperature": 0.9, "beta": 0.3, "k": 2}),
    ("sparse_jsd", {"temperature": 0.9, "beta": 0.0, "k": 1}),
    ("sparse_jsd", {"temperature": 0.9, "beta": 1.0, "k": 1}),
    ("sparse_tvd", {"k": 2}),
    ("label_smoothing", {"epsilon": 0.1}),
    ("tf_kd", {"temperature": 20.0, "correct": 0.99}),
    ("confidence_penalty", {}),
]
NAMES = sorted({name for name, _ in CASES})
FAR: dict[str, list[Any]] = {"temperature": [0.5, 20.0], "gamma": [0.05, 1.0, 10.0], "k": [1, 5, 5000]}


def value_of(name: str, student: Array, teacher: Array, targets: list[int], **settings: Any) -> Any:
    reference = importlib.import_module(f"tests.reference.losses.{name}").reference
    labels: Integers = np.array(targets, dtype=np.int64)
    index: Integers = np.arange(len(targets), dtype=np.int64)
    return reference(Outputs(student), Outputs(teacher), labels, index, {}, **settings)


def logits(seed: int, batch: int = 3, classes: int = 4, scale: float = 3.0) -> tuple[Array, Array, Array]:
    """A student's, a teacher's and a direction to move the student's in."""
    student, teacher, direction = np.random.default_rng(seed).normal(0, scale, (3, batch, classes))
    return student, teacher, direction


def log_of(*weights: float) -> Array:
    """The logits [1, K] of probabilities proportional to the weights."""
    exponents: Array = np.log(np.array([weights]))
    return exponents


def cases(*left_out: str) -> pytest.MarkDecorator:
    """Parametrizes over CASES; a case is called NAME-SETTING-SETTING."""
    named = {"-".join([name, *map(str, settings.values())]): (name, settings) for name, settings in CASES}
    assert set(left_out) <= set(named)
    chosen = [case for case in named if case not in left_out]
    return pytest.mark.parametrize(("name", "settings"), [named[case] for case in chosen], ids=chosen)


# Derivatives


@pytest.mark.parametrize("targets", [[2, 0, 3], [1, -100, 0]], ids=["labelled", "partly"])
@cases("wsld-4.0")  # its weight has no derivative, but differences: see the test of wsld below
def test_derivative__complex_step_equals_central_difference(
    name: str, settings: dict[str, Any], targets: list[int]
) -> None:
    for seed in range(3):
        student, teacher, direction = logits(seed)

        def loss(at: Array, teacher: Array = teacher) -> Any:
            return value_of(name, at, teacher, targets, **settings)

        expected = central_difference(loss, student, direction)
        assert directional_derivative(loss, student, direction) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@cases()
def test_value__is_the_real_part_of_the_complex_one(name: str, settings: dict[str, Any]) -> None:
    student, teacher, direction = logits(5)
    real = value_of(name, student, teacher, [2, -100, 3], **settings)
    moved = value_of(name, student + 1e-30j * direction, teacher, [2, -100, 3], **settings)
    assert np.isrealobj(real)
    assert np.real(moved) == pytest.approx(real, rel=1e-13)


@cases("mse_logits-False")  # the one that is not a function of probabilities: that is what `centre` is for
def test_value__does_not_see_the_mean_of_the_logits(name: str, settings: dict[str, Any]) -> None:
    student, teacher, _ = logits(6)
    shift = np.array([[2.0], [-1.0], [0.5]])
    value = value_of(name, student, teacher, [2, -100, 3], **settings)
    assert value_of(name, student + shift, teacher - shift, [2, -100, 3], **settings) == pytest.approx(value, rel=1e-9)

    def loss(at: Array) -> Any:
        return value_of(name, at, teacher, [2, -100, 3], **settings)

    assert directional_derivative(loss, student, np.ones_like(student)) == pytest.approx(0, abs=1e-12)


@cases()
def test_value__is_a_mean_over_the_batch(name: str, settings: dict[str, Any]) -> None:
    """The batch twice over changes nothing; nor does it change the correlations of dist."""
    student, teacher, _ = logits(7, batch=4)
    once = value_of(name, student, teacher, [2, 0, -100, 3], **settings)
    twice = value_of(name, np.tile(student, (2, 1)), np.tile(teacher, (2, 1)), [2, 0, -100, 3] * 2, **settings)
    # The 1e-8 under dist's fraction weighs half as much against the norms of a column twice as long.
    assert twice == pytest.approx(once, rel=1e-5 if name == "dist" else 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_value__is_finite_and_quick_over_the_range_of_use(name: str) -> None:
    usual = next(settings for case, settings in CASES if case == name)
    extreme = [{**usual, key: value} for key, values in FAR.items() if key in usual for value in values]
    for classes in (2, 1000):
        student, teacher, direction = logits(8, batch=64, classes=classes)
        targets = [int(target) for target in np.random.default_rng(9).integers(0, classes, 64)]
        targets[3] = -100
        for settings in [usual, *extreme]:
            start = time.perf_counter()
            value = value_of(name, student + 1e-30j * direction, teacher, targets, **settings)
            assert time.perf_counter() - start < 1
            assert np.isfinite(np.real(value))
            assert np.isfinite(np.imag(value) / 1e-30)


# Values by hand


def test_kd__two_classes() -> None:
    # 3/4 log((3/4) / (1/2)) + 1/4 log((1/4) / (1/2)) = 3/4 log(3/2) - 1/4 log 2 = 0.130812.
    expected = 0.75 * np.log(1.5) - 0.25 * np.log(2)
    assert expected == pytest.approx(0.130812, abs=1e-6)
    assert value_of("kd", log_of(1, 1), log_of(3, 1), [0], temperature=1.0) == pytest.approx(expected)
    # At T = 2 weights 9 and 1 become 3 and 1: the same KL, times 4.
    assert value_of("kd", log_of(1, 1), log_of(9, 1), [0], temperature=2.0) == pytest.approx(4 * expected)


def test_soft_label__two_classes() -> None:
    # -3/4 log(1/2) - 1/4 log(1/2) = log 2; and with the roles exchanged -1/2 log(3/4) - 1/2 log(1/4).
    assert value_of("soft_label", log_of(1, 1), log_of(3, 1), [0]) == pytest.approx(np.log(2))
    assert value_of("soft_label", log_of(3, 1), log_of(1, 1), [0]) == pytest.approx(-0.5 * np.log(3 / 16))


def test_hard_label__two_classes() -> None:
    # The teacher decides for class 0, to which the student (1/4, 3/4) gives 1/4: log 4. The label does not matter.
    assert value_of("hard_label", log_of(1, 3), log_of(3, 1), [1]) == pytest.approx(np.log(4))


def test_mse_logits__two_classes() -> None:
    # The difference is (2 - 5, 4 - 1) = (-3, 3): 9. With (2 - 5, 4 - 3) = (-3, 1): (9 + 1) / 2 = 5, mean -1 taken off
    # (-2, 2): 4.
    assert value_of("mse_logits", np.array([[2.0, 4]]), np.array([[5.0, 1]]), [0], centre=False) == pytest.approx(9)
    assert value_of("mse_logits", np.array([[2.0, 4]]), np.array([[5.0, 3]]), [0], centre=False) == pytest.approx(5)
    assert value_of("mse_logits", np.array([[2.0, 4]]), np.array([[5.0, 3]]), [0], centre=True) == pytest.approx(4)


def test_reverse_kl__two_classes() -> None:
    # 1/2 log((1/2) / (3/4)) + 1/2 log((1/2) / (1/4)) = 1/2 log(2/3) + 1/2 log 2 = 1/2 log(4/3).
    expected = 0.5 * np.log(4 / 3)
    assert value_of("reverse_kl", log_of(1, 1), log_of(3, 1), [0], temperature=1.0) == pytest.approx(expected)
    assert value_of("reverse_kl", log_of(1, 1), log_of(9, 1), [0], temperature=2.0) == pytest.approx(4 * expected)


def test_jsd__two_classes() -> None:
    # beta = 1/4: m = 1/4 (3/4, 1/4) + 3/4 (1/2, 1/2) = (9/16, 7/16);
    # KL(t || m) = 3/4 log(4/3) + 1/4 log(4/7), KL(s || m) = 1/2 log(8/9) + 1/2 log(8/7). No T^2 at T = 2.
    expected = 0.25 * (0.75 * np.log(4 / 3) + 0.25 * np.log(4 / 7)) + 0.75 * 0.5 * np.log(64 / 63)
    for temperature, weight in ((1.0, 3), (2.0, 9)):
        value = value_of("jsd", log_of(1, 1), log_of(weight, 1), [0], temperature=temperature, beta=0.25)
        assert value == pytest.approx(expected)


def test_alpha_divergence__two_classes() -> None:
    # a = 1/2: 4 (1 - sqrt(3/8) - sqrt(1/8)). a = 2: (1 - sum p_t^2 / p_s) / -2 = (1 - 2 (9/16 + 1/16)) / -2 = 1/8.
    # a = -1: (1 - sum p_s^2 / p_t) / -2 = (1 - 1/4 (4/3 + 4)) / -2 = 1/6.
    for alpha, expected in ((0.5, 4 * (1 - np.sqrt(3 / 8) - np.sqrt(1 / 8))), (2.0, 1 / 8), (-1.0, 1 / 6)):
        value = value_of("alpha_divergence", log_of(1, 1), log_of(3, 1), [0], temperature=1.0, alpha=alpha)
        assert value == pytest.approx(expected)
        value = value_of("alpha_divergence", log_of(1, 1), log_of(9, 1), [0], temperature=2.0, alpha=alpha)
        assert value == pytest.approx(4 * expected)


def test_skew_kl__two_classes() -> None:
    # alpha = 1/4: the mixture is (9/16, 7/16), KL(t || m) = 3/4 log(4/3) + 1/4 log(4/7).
    expected = 0.75 * np.log(4 / 3) + 0.25 * np.log(4 / 7)
    assert value_of("skew_kl", log_of(1, 1), log_of(3, 1), [0], temperature=1.0, alpha=0.25) == pytest.approx(expected)
    value = value_of("skew_kl", log_of(1, 1), log_of(9, 1), [0], temperature=2.0, alpha=0.25)
    assert value == pytest.approx(4 * expected)


def test_tvd__two_classes() -> None:
    # 1/2 (|1/2 - 3/4| + |1/2 - 1/4|) = 1/4.
    assert value_of("tvd", log_of(1, 1), log_of(3, 1), [0]) == pytest.approx(1 / 4)


def test_wsld__two_classes() -> None:
    # CE_s = log 2, CE_t = log(4/3), soft cross entropy log 2 at any T for a student at (1/2, 1/2).
    weight = 1 - np.exp(-np.log(2) / (np.log(4 / 3) + 1e-7))
    for temperature in (1.0, 3.0):
        value = value_of("wsld", log_of(1, 1), log_of(3, 1), [0], temperature=temperature)
        assert value == pytest.approx(temperature**2 * weight * np.log(2))
    # A teacher that is certain, CE_t = 0: the 1e-7 stands alone and the weight is 1.
    certain = np.array([[1000.0, 0]])
    assert value_of("wsld", log_of(1, 1), certain, [0], temperature=1.0) == pytest.approx(np.log(2))


def test_wsld__no_derivative_through_the_weight() -> None:
    """For one sample: the derivative of the KD term, the only other place of the student, times the weight."""
    for target in (0, 2, -100):
        student, teacher, direction = logits(11, batch=1)
        p_t = softmax(teacher, 4.0)

        def soft(at: Array, teacher: Array = teacher, p_t: Array = p_t) -> Any:
            return value_of("kd", at, teacher, [0], temperature=4.0) - 16 * np.sum(p_t * np.log(p_t))

        def loss(at: Array, teacher: Array = teacher, target: int = target) -> Any:
            return value_of("wsld", at, teacher, [target], temperature=4.0)

        weight = loss(student) / soft(student)
        assert 0 < weight < 1
        expected = weight * directional_derivative(soft, student, direction)
        assert directional_derivative(loss, student, direction) == pytest.approx(expected, rel=1e-12)
        assert central_difference(loss, student, direction) != pytest.approx(expected, rel=1e-3)


def test_ttm_and_wttm__two_classes() -> None:
    # gamma = 2: the squares 9/16 and 1/16 add up to u = 5/8, q = (9/10, 1/10);
    # KL = 9/10 log(9/5) + 1/10 log(1/5).
    expected = 0.9 * np.log(9 / 5) + 0.1 * np.log(1 / 5)
    assert value_of("ttm", log_of(1, 1), log_of(3, 1), [0], gamma=2.0) == pytest.approx(expected)
    assert value_of("wttm", log_of(1, 1), log_of(3, 1), [0], gamma=2.0) == pytest.approx(5 / 8 * expected)


def test_label_smoothing__two_classes() -> None:
    # epsilon = 0.2, K = 2: the target is (0.9, 0.1), the student (3/4, 1/4): 0.9 log(4/3) + 0.1 log 4.
    expected = 0.9 * np.log(4 / 3) + 0.1 * np.log(4)
    assert value_of("label_smoothing", log_of(3, 1), log_of(1, 1), [0], epsilon=0.2) == pytest.approx(expected)


def test_tf_kd__two_classes() -> None:
    # u = (3/4, 1/4); at T = 1 / (2 log 3) the softmax of u / T has the weights exp(log 3) = 3 and 1: the KL of kd.
    temperature = 1 / (2 * np.log(3))
    value = value_of("tf_kd", log_of(1, 1), log_of(1, 1), [0], temperature=temperature, correct=0.75)
    assert value == pytest.approx(0.75 * np.log(1.5) - 0.25 * np.log(2))


def test_tf_kd__three_classes_share_what_is_left() -> None:
    # u = (0.8, 0.1, 0.1), T = 0.7 / log 2: weights 2, 1, 1; against (1/4, 1/2, 1/4): 1/2 log 2 + 1/4 log(1/2).
    temperature = 0.7 / np.log(2)
    value = value_of("tf_kd", log_of(1, 2, 1), log_of(1, 1, 1), [0], temperature=temperature, correct=0.8)
    assert value == pytest.approx(0.25 * np.log(2))


def test_confidence_penalty__two_classes() -> None:
    # 3/4 log(3/4) + 1/4 log(1/4); the least it can be is -log K.
    expected = 0.75 * np.log(0.75) + 0.25 * np.log(0.25)
    assert value_of("confidence_penalty", log_of(3, 1), log_of(1, 1), [-100]) == pytest.approx(expected)
    assert value_of("confidence_penalty", log_of(1, 1, 1), log_of(1, 1, 1), [0]) == pytest.approx(-np.log(3))


def test_dkd__three_classes() -> None:
    # TCKD: (1/2, 1/2) against (1/4, 3/4): 1/2 log 2 + 1/2 log(2/3) = 1/2 log(4/3).
    # NCKD: (1/2, 1/2) against (2/3, 1/3): 1/2 log(3/4) + 1/2 log(3/2) = 1/2 log(9/8).
    expected = 0.5 * 0.5 * np.log(4 / 3) + 2 * 0.5 * np.log(9 / 8)
    value = value_of("dkd", log_of(1, 2, 1), log_of(2, 1, 1), [0], temperature=1.0, alpha=0.5, beta=2.0)
    assert value == pytest.approx(expected)
    value = value_of("dkd", log_of(1, 4, 1), log_of(4, 1, 1), [0], temperature=2.0, alpha=0.5, beta=2.0)
    assert value == pytest.approx(4 * expected)


def test_nkd__three_classes() -> None:
    # Target term -1/2 log(1/4) = log 2 at T = 1. The others at T = 2, gamma T^2 = 4 gamma: the student's weights 2, 1
    # become sqrt 2, 1, the teacher's stay equal: -1/2 log(sqrt 2 / (1 + sqrt 2)^2).
    expected = np.log(2) + 4 * 1.5 * -0.5 * np.log(np.sqrt(2) / (1 + np.sqrt(2)) ** 2)
    value = value_of("nkd", log_of(1, 2, 1), log_of(2, 1, 1), [0], temperature=2.0, gamma=1.5)
    assert value == pytest.approx(expected)


def test_dist__three_classes() -> None:
    # p_t less its mean is (1/6, -1/12, -1/12), p_s less its mean (-1/12, 1/6, -1/12): product -1/48, both squared norms
    # 1/24, rho = -1/2. One sample alone: every column is constant, rho = 0.
    def value(temperature: float, student: Array, teacher: Array, beta: float, gamma: float) -> Any:
        return value_of("dist", student, teacher, [0], temperature=temperature, beta=beta, gamma=gamma)

    assert value(1.0, log_of(1, 2, 1), log_of(2, 1, 1), 1, 0) == pytest.approx(1.5, rel=1e-6)
    assert value(1.0, log_of(1, 2, 1), log_of(2, 1, 1), 0, 1) == pytest.approx(1)
    assert value(2.0, log_of(1, 4, 1), log_of(4, 1, 1), 2, 3) == pytest.approx(4 * (2 * 1.5 + 3), rel=1e-6)


def test_dist__columns() -> None:
    # Class 0 of two samples: the teacher's 3/4 and 1/4, the student's 1/4 and 3/4. rho = -1 in both columns (class 1 is
    # one minus class 0) and in both rows: beta 2 + gamma 2.
    student, teacher = np.vstack([log_of(1, 3), log_of(3, 1)]), np.vstack([log_of(3, 1), log_of(1, 3)])
    value = value_of("dist", student, teacher, [0, 1], temperature=1.0, beta=1.0, gamma=10.0)
    assert value == pytest.approx(22, rel=1e-6)


def test_sparse__three_classes() -> None:
    # k = 1 keeps class 0, the teacher's most probable: (1/2, 1/2) against (1/4, 3/4). KL = 1/2 log(4/3), TVD = 1/4;
    # JSD at beta = 1/2: m = (3/8, 5/8), KL(t || m) = 1/2 log(4/3) + 1/2 log(4/5),
    # KL(s || m) = 1/4 log(2/3) + 3/4 log(6/5).
    student, teacher = log_of(1, 2, 1), log_of(2, 1, 1)
    assert value_of("sparse_kl", student, teacher, [1], temperature=1.0, k=1) == pytest.approx(0.5 * np.log(4 / 3))
    assert value_of("sparse_tvd", student, teacher, [1], k=1) == pytest.approx(1 / 4)
    # With the student at (1/8, 1/4, 5/8) it matters which class is kept: class 0 3/8, class 1 0.
    assert value_of("sparse_tvd", log_of(1, 2, 5), teacher, [1], k=1) == pytest.approx(3 / 8)
    expected = 0.25 * np.log(16 / 15) + 0.125 * np.log(2 / 3) + 0.375 * np.log(6 / 5)
    value = value_of("sparse_jsd", student, teacher, [1], temperature=1.0, beta=0.5, k=1)
    assert value == pytest.approx(expected)
    # T^2 for the KL only: weights 4, 1, 1 at T = 2 are 2, 1, 1.
    student, teacher = log_of(1, 4, 1), log_of(4, 1, 1)
    assert value_of("sparse_kl", student, teacher, [1], temperature=2.0, k=1) == pytest.approx(2 * np.log(4 / 3))
    value = value_of("sparse_jsd", student, teacher, [1], temperature=2.0, beta=0.5, k=1)
    assert value == pytest.approx(expected)


# End points, limits and identities


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("kd", {"temperature": 4.0}),
        ("mse_logits", {"centre": False}),
        ("dkd", {"temperature": 4.0, "alpha": 1.0, "beta": 8.0}),
        ("jsd", {"temperature": 0.9, "beta": 0.5}),
        ("reverse_kl", {"temperature": 1.0}),
        ("alpha_divergence", {"temperature": 1.0, "alpha": 0.5}),
        ("skew_kl", {"temperature": 1.0, "alpha": 0.1}),
        ("tvd", {}),
        ("ttm", {"gamma": 1.0}),
        ("wttm", {"gamma": 1.0}),
        ("sparse_kl", {"temperature": 1.0, "k": 2}),
        ("sparse_jsd", {"temperature": 1.0, "beta": 0.5, "k": 2}),
        ("sparse_tvd", {"k": 2}),
    ],
)
def test_divergence__is_zero_at_the_teacher_and_positive_elsewhere(name: str, settings: dict[str, Any]) -> None:
    student, teacher, _ = logits(12)
    assert value_of(name, teacher, teacher, [2, 0, 3], **settings) == pytest.approx(0, abs=1e-14)
    assert value_of(name, student, teacher, [2, 0, 3], **settings) > 0.01


def test_kd__equals_the_other_reference_and_its_derivative_by_hand() -> None:
    student, teacher, direction = logits(13)
    for temperature in (1.0, 4.0):

        def loss(at: Array, temperature: float = temperature) -> Any:
            return value_of("kd", at, teacher, [0, 1, 2], temperature=temperature)

        assert loss(student) == pytest.approx(losses_numpy.kd(student, teacher, temperature))
        expected = np.sum(losses_numpy.kd_gradient(student, teacher, temperature) * direction)
        assert directional_derivative(loss, student, direction) == pytest.approx(expected)

    def soft(at: Array) -> Any:
        return value_of("soft_label", at, teacher, [0, 1, 2])

    assert soft(student) == pytest.approx(losses_numpy.soft_label(student, teacher))
    expected = np.sum(losses_numpy.soft_label_gradient(student, teacher) * direction)
    assert directional_derivative(soft, student, direction) == pytest.approx(expected)


def test_kd__tends_to_half_the_centred_mse() -> None:
    # T^2 KL -> 1/2 mean over samples and classes of (dz - mean dz)^2 as T grows.
    student, teacher, _ = logits(14)
    limit = value_of("mse_logits", student, teacher, [0, 0, 0], centre=True) / 2
    assert value_of("kd", student, teacher, [0, 0, 0], temperature=3000.0) == pytest.approx(limit, rel=1e-2)


def test_mse_logits__centre() -> None:
    """Centring takes the squared mean difference of each sample off."""
    student, teacher, _ = logits(15)
    raw = value_of("mse_logits", student, teacher, [0, 0, 0], centre=False)
    means = np.mean(np.mean(student - teacher, axis=1) ** 2)
    assert value_of("mse_logits", student, teacher, [0, 0, 0], centre=True) == pytest.approx(raw - means)


def test_dkd__is_kl_where_beta_is_the_probability_of_the_others() -> None:
    # KL = TCKD + (1 - p_t(y)) NCKD for one sample, at every T (Zhao et al. 2022).
    student, teacher, _ = logits(16, batch=1)
    for temperature in (1.0, 4.0):
        others = 1 - softmax(teacher, temperature)[0, 2]
        value = value_of("dkd", student, teacher, [2], temperature=temperature, alpha=1.0, beta=others)
        assert value == pytest.approx(value_of("kd", student, teacher, [2], temperature=temperature))


def test_dkd__two_classes_have_no_other_classes_to_compare() -> None:
    student, teacher, _ = logits(17, classes=2)
    value = value_of("dkd", student, teacher, [0, 1, 1], temperature=2.0, alpha=1.0, beta=100.0)
    assert value == pytest.approx(value_of("kd", student, teacher, [0, 1, 1], temperature=2.0))


def test_nkd__and_the_soft_label_cross_entropy() -> None:
    # -sum p_t log p_s = [target term] + (1 - p_t(y)) [non-target term at T = 1] - (1 - p_t(y)) log(1 - p_s(y)).
    student, teacher, _ = logits(18, batch=1)
    p_s, p_t = softmax(student)[0], softmax(teacher)[0]
    others = 1 - p_t[2]
    value = value_of("nkd", student, teacher, [2], temperature=1.0, gamma=others)
    expected = value_of("soft_label", student, teacher, [2]) + others * np.log(1 - p_s[2])
    assert value == pytest.approx(expected)


def test_nkd__the_target_term_has_no_temperature() -> None:
    student, teacher, _ = logits(19)
    values = [value_of("nkd", student, teacher, [2, 0, 3], temperature=t, gamma=0.0) for t in (1.0, 3.0)]
    assert values[0] == pytest.approx(values[1])
    p_s, p_t = softmax(student), softmax(teacher)
    assert values[0] == pytest.approx(-np.mean([p_t[b, y] * np.log(p_s[b, y]) for b, y in enumerate((2, 0, 3))]))


def test_nkd__temperature_squared_keeps_the_size_of_the_gradient() -> None:
    """With high T the gradient of the non-target term tends to a limit; without T^2 it would vanish."""
    student, teacher, direction = logits(20, batch=1)
    slopes = []
    for temperature in (1e3, 1e4):

        def others(at: Array, temperature: float = temperature) -> Any:
            with_them = value_of("nkd", at, teacher, [2], temperature=temperature, gamma=1.0)
            return with_them - value_of("nkd", at, teacher, [2], temperature=temperature, gamma=0.0)

        slopes.append(directional_derivative(others, student, direction))
    assert slopes[0] == pytest.approx(slopes[1], rel=0.05)


@pytest.mark.parametrize("name", ["dkd", "nkd", "wsld"])
def test_unlabelled__the_decision_of_the_teacher_stands_in(name: str) -> None:
    student, teacher, _ = logits(21)
    settings = next(settings for case, settings in CASES if case == name)
    decisions = [int(decision) for decision in teacher.argmax(axis=1)]
    labelled = value_of(name, student, teacher, decisions, **settings)
    assert value_of(name, student, teacher, [-100] * 3, **settings) == pytest.approx(labelled)


@pytest.mark.parametrize(
    ("name", "settings"), [("label_smoothing", {"epsilon": 0.1}), ("tf_kd", {"temperature": 20.0, "correct": 0.99})]
)
def test_unlabelled__controls_leave_them_out(name: str, settings: dict[str, Any]) -> None:
    student, teacher, _ = logits(22)
    some = value_of(name, student, teacher, [1, -100, 0], **settings)
    only = value_of(name, student[[0, 2]], teacher[[0, 2]], [1, 0], **settings)
    assert some == pytest.approx(only)
    assert value_of(name, student, teacher, [-100] * 3, **settings) == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("label_smoothing", "tf_kd")])
def test_labels__are_used_by_three_only(name: str) -> None:
    student, teacher, _ = logits(23)
    settings = next(settings for case, settings in CASES if case == name)
    values = [value_of(name, student, teacher, targets, **settings) for targets in ([0, 1, 2], [3, 2, 1])]
    assert (values[0] != values[1]) == (name in ("dkd", "nkd", "wsld"))


def test_dist__is_zero_for_probabilities_in_a_linear_relation() -> None:
    # p_s = (p_t + 1/K) / 2 has correlation 1 with p_t in every row and every column.
    _, teacher, _ = logits(24, batch=6)
    student = np.log((softmax(teacher) + 1 / 4) / 2)
    value = value_of("dist", student, teacher, [0] * 6, temperature=1.0, beta=1.0, gamma=1.0)
    assert value == pytest.approx(0, abs=1e-5)


def test_dist__equals_numpy_corrcoef() -> None:
    student, teacher, _ = logits(25, batch=6)
    p_s, p_t = softmax(student, 2.0), softmax(teacher, 2.0)
    rows = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s, p_t, strict=True)])
    columns = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(p_s.T, p_t.T, strict=True)])
    value = value_of("dist", student, teacher, [0] * 6, temperature=2.0, beta=0.5, gamma=3.0)
    assert value == pytest.approx(4 * (0.5 * (1 - rows) + 3 * (1 - columns)), rel=1e-6)


def test_jsd__ends_are_the_two_kl() -> None:
    student, teacher, _ = logits(26)
    for temperature in (0.9, 2.0):
        forward = value_of("kd", student, teacher, [0, 0, 0], temperature=temperature) / temperature**2
        reverse = value_of("reverse_kl", student, teacher, [0, 0, 0], temperature=temperature) / temperature**2

        def jsd(beta: float, temperature: float = temperature) -> Any:
            return value_of("jsd", student, teacher, [0, 0, 0], temperature=temperature, beta=beta)

        assert jsd(0.0) == pytest.approx(forward)
        assert jsd(1.0) == pytest.approx(reverse)
        # Near the ends the formula itself goes to 0, and over beta or 1 - beta to the two KL.
        assert jsd(1e-7) / 1e-7 == pytest.approx(forward, rel=1e-3)
        assert jsd(1 - 1e-7) / 1e-7 == pytest.approx(reverse, rel=1e-3)


def test_jsd__is_symmetric_and_bounded_at_one_half() -> None:
    student, teacher, _ = logits(27)
    value = value_of("jsd", student, teacher, [0, 0, 0], temperature=1.0, beta=0.5)
    assert value == pytest.approx(value_of("jsd", teacher, student, [0, 0, 0], temperature=1.0, beta=0.5))
    far = value_of("jsd", np.array([[100.0, 0]]), np.array([[0, 100.0]]), [0], temperature=1.0, beta=0.5)
    assert far == pytest.approx(np.log(2))
    assert value < far


def test_alpha_divergence__is_continuous_at_both_ends() -> None:
    student, teacher, _ = logits(28)

    def divergence(alpha: float) -> Any:
        return value_of("alpha_divergence", student, teacher, [0, 0, 0], temperature=2.0, alpha=alpha)

    assert divergence(1.0) == pytest.approx(value_of("kd", student, teacher, [0, 0, 0], temperature=2.0))
    assert divergence(0.0) == pytest.approx(value_of("reverse_kl", student, teacher, [0, 0, 0], temperature=2.0))
    for end in (0.0, 1.0):
        for step in (1e-6, -1e-6):
            assert divergence(end + step) == pytest.approx(divergence(end), rel=1e-4)


def test_alpha_divergence__exchanging_the_two_is_one_minus_alpha() -> None:
    student, teacher, _ = logits(29)
    one = value_of("alpha_divergence", student, teacher, [0, 0, 0], temperature=1.0, alpha=0.3)
    assert one == pytest.approx(value_of("alpha_divergence", teacher, student, [0, 0, 0], temperature=1.0, alpha=0.7))


def test_skew_kl__ends() -> None:
    student, teacher, _ = logits(30)
    forward = value_of("kd", student, teacher, [0, 0, 0], temperature=2.0)
    assert value_of("skew_kl", student, teacher, [0, 0, 0], temperature=2.0, alpha=0.0) == pytest.approx(forward)
    assert value_of("skew_kl", student, teacher, [0, 0, 0], temperature=2.0, alpha=1.0) == pytest.approx(0, abs=1e-14)


def test_skew_kl__with_its_mirror_makes_the_jsd() -> None:
    # beta KL(t || beta t + (1 - beta) s) + (1 - beta) KL(s || (1 - beta) s + beta t).
    student, teacher, _ = logits(31)
    one = value_of("skew_kl", student, teacher, [0, 0, 0], temperature=1.0, alpha=0.3)
    other = value_of("skew_kl", teacher, student, [0, 0, 0], temperature=1.0, alpha=0.7)
    jsd = value_of("jsd", student, teacher, [0, 0, 0], temperature=1.0, beta=0.3)
    assert 0.3 * one + 0.7 * other == pytest.approx(jsd)


def test_tvd__is_symmetric_at_most_one_and_below_the_bound_of_pinsker() -> None:
    student, teacher, _ = logits(32, batch=1)
    value = value_of("tvd", student, teacher, [0])
    assert value == pytest.approx(value_of("tvd", teacher, student, [0]))
    assert value <= np.sqrt(value_of("kd", student, teacher, [0], temperature=1.0) / 2)
    assert value_of("tvd", np.array([[100.0, 0]]), np.array([[0, 100.0]]), [0]) == pytest.approx(1)


def test_small_steps__the_divergences_differ_by_known_factors() -> None:
    """Near the teacher each is a multiple of the KL: alpha 1, JSD beta (1 - beta), skew (1 - alpha)^2."""
    _, teacher, direction = logits(33, scale=1.0)
    near = teacher + 1e-3 * direction
    unit = value_of("kd", near, teacher, [0, 0, 0], temperature=1.0)
    factors: list[tuple[str, dict[str, Any], float]] = [
        ("reverse_kl", {"temperature": 1.0}, 1),
        ("alpha_divergence", {"temperature": 1.0, "alpha": 0.3}, 1),
        ("jsd", {"temperature": 1.0, "beta": 0.3}, 0.3 * 0.7),
        ("skew_kl", {"temperature": 1.0, "alpha": 0.1}, 0.81),
    ]
    for name, settings, factor in factors:
        value = value_of(name, near, teacher, [0, 0, 0], **settings)
        assert value == pytest.approx(factor * unit, rel=0.01)


def test_ttm__is_the_teacher_alone_at_temperature_one_over_gamma() -> None:
    # p_t^gamma over its sum is the softmax at T = 1 / gamma.
    student, teacher, _ = logits(34)
    value = value_of("ttm", student, teacher, [0, 0, 0], gamma=0.25)
    assert value == pytest.approx(value_of("kd", student, teacher / 4, [0, 0, 0], temperature=1.0))
    plain = value_of("kd", student, teacher, [0, 0, 0], temperature=1.0)
    assert value_of("ttm", student, teacher, [0, 0, 0], gamma=1.0) == pytest.approx(plain)


def test_wttm__weights_are_one_at_gamma_one_and_the_number_of_classes_at_zero() -> None:
    student, teacher, _ = logits(35)
    for gamma, weight in ((1.0, 1), (0.0, 4)):
        expected = weight * value_of("ttm", student, teacher, [0, 0, 0], gamma=gamma)
        assert value_of("wttm", student, teacher, [0, 0, 0], gamma=gamma) == pytest.approx(expected)


def test_wttm__is_the_mean_of_weighted_samples() -> None:
    student, teacher, _ = logits(36)
    weights = np.sum(softmax(teacher) ** 0.3, axis=1)
    each = [value_of("ttm", student[[b]], teacher[[b]], [0], gamma=0.3) for b in range(3)]
    value = value_of("wttm", student, teacher, [0, 0, 0], gamma=0.3)
    assert value == pytest.approx(np.sum(weights * each) / 3)


@pytest.mark.parametrize(
    ("sparse", "full", "settings"),
    [
        ("sparse_kl", "kd", {"temperature": 2.0}),
        ("sparse_jsd", "jsd", {"temperature": 0.9, "beta": 0.3}),
        ("sparse_jsd", "jsd", {"temperature": 0.9, "beta": 0.0}),
        ("sparse_jsd", "jsd", {"temperature": 0.9, "beta": 1.0}),
        ("sparse_tvd", "tvd", {}),
    ],
)
def test_sparse__is_the_full_one_from_all_classes_but_one_and_below_it_before(
    sparse: str, full: str, settings: dict[str, Any]
) -> None:
    student, teacher, _ = logits(37, classes=6)
    whole = value_of(full, student, teacher, [0, 0, 0], **settings)
    values = [value_of(sparse, student, teacher, [0, 0, 0], k=k, **settings) for k in (1, 2, 3, 4, 5, 6, 7, 100)]
    # With k = K - 1 the rest is one class. Adding classes up can only lose divergence (data processing).
    assert values[4:] == pytest.approx([whole] * 4)
    assert all(before <= after + 1e-15 for before, after in itertools.pairwise(values))
    assert values[0] < whole


def test_label_smoothing__ends() -> None:
    student, teacher, _ = logits(38)
    targets = [2, 0, 3]
    hard = losses_numpy.cross_entropy(student, [2, 0, 3])
    assert value_of("label_smoothing", student, teacher, targets, epsilon=0.0) == pytest.approx(hard)
    uniform = -np.mean(np.log(softmax(student)))
    assert value_of("label_smoothing", student, teacher, targets, epsilon=1.0) == pytest.approx(uniform)


def test_label_smoothing__and_confidence_penalty_are_the_two_kl_to_the_uniform() -> None:
    # Pereyra et al. 2017: -H(p) = KL(p || u) - log K; smoothing at 1 is KL(u || p) + log K.
    student, _, _ = logits(39)
    uniform = np.zeros_like(student)
    penalty = value_of("confidence_penalty", student, uniform, [0, 0, 0])
    assert penalty == pytest.approx(value_of("reverse_kl", student, uniform, [0, 0, 0], temperature=1.0) - np.log(4))
    smooth = value_of("label_smoothing", student, uniform, [0, 0, 0], epsilon=1.0)
    assert smooth == pytest.approx(value_of("kd", student, uniform, [0, 0, 0], temperature=1.0) + np.log(4))


def test_tf_kd__high_temperature_is_the_uniform_teacher() -> None:
    # u / T with u <= 1: already T = 20 is close to uniform, the label's weight being exp(0.99 / 20) = 1.05 times 1.
    student, _, _ = logits(40)
    uniform = value_of("kd", student, np.zeros_like(student), [2, 0, 3], temperature=1.0)
    value = value_of("tf_kd", student, student, [2, 0, 3], temperature=1e9, correct=0.99)
    assert value == pytest.approx(uniform, rel=1e-6)
    assert value_of("tf_kd", student, student, [2, 0, 3], temperature=20.0, correct=0.99) == pytest.approx(
        uniform, rel=0.1
    )


def test_tf_kd__temperature_is_the_virtual_teachers_only() -> None:
    # The same teacher given as logits u / T, the student at T = 1.
    student, _, _ = logits(41)
    virtual = np.full((3, 4), 0.1)
    virtual[range(3), [2, 0, 3]] = 0.7
    value = value_of("tf_kd", student, student, [2, 0, 3], temperature=0.5, correct=0.7)
    assert value == pytest.approx(value_of("kd", student, virtual / 0.5, [2, 0, 3], temperature=1.0))
