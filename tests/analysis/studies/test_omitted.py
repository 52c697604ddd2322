import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from kd_lab.analysis.columns import OMITTED
from kd_lab.analysis.studies.omitted import (
    bias_for_rate,
    by_arm,
    cross_fitted,
    omitted_class,
    predicted,
    recall_against_bias,
    recalls,
    recalls_in_words,
)
from kd_lab.errors import UserError
from tests.analysis.made_up import copied, students
from tests.analysis.test_predictions import keep

BLIND = -12.0
"""What never seeing the class costs its logit."""


def logits(seed=0, size=400):
    """Eight in ten right; class 3 is known as well as the others, but its logit is far too low."""
    noise = np.random.default_rng(seed)
    target = noise.integers(10, size=size)
    found = noise.normal(0, 1, size=(size, 10))
    found[np.arange(size), target] += 3
    found[:, 3] += BLIND
    return found, target


def frame(found, target):
    kept = softmax(found, axis=1).astype(np.float32)
    classes = {f"probability_{k}": kept[:, k] for k in range(kept.shape[1])}
    return pd.DataFrame({"index": range(len(target)), "target": target, "predicted": found.argmax(1), **classes})


def kept(found):
    return softmax(found, axis=1).astype(np.float32).astype(np.float64)


@given(st.integers(0, 10_000), st.integers(20, 200), st.floats(0.01, 0.99), st.integers(0, 9))
def test_bias__the_class_is_predicted_as_often_as_asked_up_to_one_sample(seed, size, rate, number):
    found, _ = logits(seed, size)
    bias = bias_for_rate(kept(found), number, rate)
    moved = found.copy()
    moved[:, number] += bias  # on the logits themselves: what was kept is enough
    assert abs((moved.argmax(1) == number).sum() - rate * size) <= 1
    assert (predicted(kept(found), number, bias) == moved.argmax(1)).all()


def test_bias__restores_what_the_class_had_lost__none_where_the_rate_is_right():
    found, _ = logits(size=20_000)
    assert bias_for_rate(kept(found), 3, 0.1) == pytest.approx(-BLIND, abs=0.1)
    found[:, 3] -= BLIND
    bias = bias_for_rate(kept(found), 3, (found.argmax(1) == 3).mean())
    assert (predicted(kept(found), 3, bias) == found.argmax(1)).all()


def test_bias__of_probabilities_that_underflowed__a_number():
    found = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1e-30]])
    bias = bias_for_rate(found, 1, 1 / 3)
    assert predicted(found, 1, bias).tolist() == [0, 0, 1]
    assert 69 < bias < 104


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_bias__no_such_rate__value_error(rate):
    with pytest.raises(ValueError, match="Expected `rate` to be above 0 and below 1"):
        bias_for_rate(kept(logits()[0]), 3, rate)


def test_recall__at_each_bias__from_0_to_1():
    table, biases = frame(*logits()), [-5.0, 8.0, 12.0, 40.0]
    here = table["target"] == 3
    expected = [(predicted(kept(logits()[0]), 3, bias)[here] == 3).mean() for bias in biases]
    assert recall_against_bias(table, 3, biases).tolist() == expected
    assert (expected[0], expected[-1]) == (0, 1)


def test_cross_fitted__raw_and_corrected():
    found, target = logits(size=2000)
    reached = cross_fitted(frame(found, target), 3)
    known = found.copy()
    known[:, 3] -= BLIND
    assert reached.raw_recall == 0
    assert reached.raw_accuracy == (found.argmax(1) == target).mean()
    assert reached.bias == pytest.approx(-BLIND, abs=0.5)
    # As good as the network that had not lost its bias.
    assert reached.accuracy == pytest.approx((known.argmax(1) == target).mean(), abs=0.01)
    assert reached.recall == pytest.approx((known.argmax(1) == 3)[target == 3].mean(), abs=0.06)


def test_cross_fitted__no_sample_is_measured_with_a_bias_that_it_helped_to_choose():
    found, target = logits(size=200)
    before = cross_fitted(frame(found, target), 3, 0.1, folds=200)
    right = 0
    for place in range(200):
        others = np.arange(200) != place
        moved = found[place].copy()
        moved[3] += bias_for_rate(kept(found[others]), 3, 0.1)
        right += moved.argmax() == target[place]
    assert before.accuracy == right / 200


def test_cross_fitted__labels_do_not_choose_the_bias__the_class_has_to_occur():
    found, target = logits()
    shuffled = np.random.default_rng(1).permutation(target)
    assert cross_fitted(frame(found, target), 3, 0.1).bias == cross_fitted(frame(found, shuffled), 3, 0.1).bias
    with pytest.raises(UserError, match=r"Class 3 is the label of 0 of 400 test samples"):
        cross_fitted(frame(found, np.where(target == 3, 4, target)), 3)


@pytest.mark.parametrize(
    "column", [{}, {OMITTED: None}, {OMITTED: "[3, 4]"}, {OMITTED: ["[3]", None]}, {OMITTED: ["[3]", "[4]"]}]
)
def test_omitted_class__the_one_of_these_runs__else_user_error(column):
    assert omitted_class(students({"kd": [0.9]}, **{OMITTED: "[3]"}), "kd-lab -m") == 3
    with pytest.raises(UserError, match=r"all miss one and the same class, as those of kd-lab -m x\."):
        omitted_class(students({"kd": [0.9, 0.9]}, **column), "kd-lab -m x")


def test_recalls__each_network_once_with_its_arm_and_seed(uri, tmp_path):
    own = copied(uri, tmp_path)
    found, target = logits()
    columns = {"index": np.arange(400), "target": target, "predicted": found.argmax(1), "probabilities": kept(found)}
    runs = [keep(own, tmp_path, **columns) for _ in range(3)]
    without = keep(own, tmp_path)
    table = students({"kd T=1": [0.9], "kd T=8": [0.9]}).assign(teacher_run=runs[0], baseline_run=runs[1])
    table["student_run"] = [runs[2], without]
    each = recalls(table, 3, own)
    assert each[["role", "arm", "seed"]].to_numpy().tolist() == [
        ["teacher", "teacher", 0],
        ["baseline", "student alone", 0],
        ["student", "kd T=1", 0],
    ]
    assert (each["raw_recall"] == 0).all()
    assert (each["recall"] > 0.8).all()


def reached():
    rows = [
        ("teacher", "teacher", 0, 0.99, 0.95, 0.98, 0.96, 0.5),
        ("baseline", "student alone", 0, 0.87, 0.0, 0.85, 0.4, 20.0),
        ("student", "kd T=1", 0, 0.87, 0.0, 0.92, 0.6, 7.0),
        ("student", "kd T=8", 0, 0.88, 0.04, 0.96, 0.9, 6.0),
        ("student", "kd T=8", 1, 0.90, 0.06, 0.98, 1.0, 5.0),
    ]
    names = ["role", "arm", "seed", "raw_accuracy", "raw_recall", "accuracy", "recall", "bias"]
    return pd.DataFrame(rows, columns=names)


def test_by_arm__means_over_seeds_in_percent__and_in_words():
    found = by_arm(reached())
    assert found.index.tolist() == ["teacher", "student alone", "kd T=1", "kd T=8"]
    assert found.loc["kd T=8"].tolist() == pytest.approx([2, 89, 5, 97, 95, 5.5])
    assert recalls_in_words(reached(), 3) == [
        "As they answer, distilled students call at most 5.0% of class 3 by its name (kd T=8).",
        "After the correction it is 60.0% (kd T=1) to 95.0% (kd T=8); the accuracy of the latter goes from 89.0% to "
        "97.0%.",
        "The student alone: 0.0%, corrected 40.0%, with an accuracy from 87.0% to 85.0%.",
        "The teacher, which saw the class: 95.0%.",
    ]
