"""What the notes beside a comparison say of the test part's own size."""

import math

import pytest

from kd_lab import names
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare
from tests.analysis.students import each, seeds, table

START = "Intervals over seeds of one split do not contain the sampling error of the test part itself"


def said(frame, metric=names.TEST_ACCURACY_TOP1, **settings):
    return [note for note in compare(frame, metric, **settings).notes if note.startswith(START)]


def test_one_split__the_binomial_standard_error_of_the_best_arm():
    frame = table([0.952, 0.952, 0.9, 0.9], seed=seeds(2, 2), loss=each(["kd", "dkd"], 2), test_samples=597)
    # sqrt(0.952 * 0.048 / 597) = 0.008749
    assert math.isclose(math.sqrt(0.952 * 0.048 / 597), 0.0087488, rel_tol=1e-4)
    assert said(frame) == [
        f"{START}: with 597 samples an accuracy of 95.20% has a standard error of 0.87 points (binomial)."
    ]


def test_one_split__nothing_wrong__the_rule_of_three():
    assert said(table([1.0, 1.0], seed=[0, 1], test_samples=1200)) == [
        f"{START}: with 1,200 samples an accuracy of 100.00% leaves 0.25 points open (95%, rule of three)."
    ]


@pytest.mark.parametrize(
    ("metric", "called"),
    [
        (names.TEST_ACCURACY_TOP5, "a top-5 accuracy of 50.00% has a standard error of 5.00 points"),
        (names.TEST_AGREEMENT_TOP1, "an agreement of 50.00% has a standard error of 5.00 points"),
        (names.TEST_AGREEMENT_TEACHER_WRONG, None),  # of as many samples as the teacher has errors
        (names.TEST_ECE, None),
        (names.TEST_NLL_NATS, None),
        (names.VAL_ACCURACY_TOP1, None),
    ],
)
def test_one_split__only_fractions_of_the_test_samples(metric, called):
    found = said(table([0.9, 0.9], seed=[0, 1], test_samples=100, **{column("student", metric): 0.5}), metric)
    assert found == ([f"{START}: with 100 samples {called} (binomial)."] if called else [])


@pytest.mark.parametrize(
    "columns",
    [
        {"test_samples": None},
        {"test_samples": 100, "fingerprint": ["a", "b"], "params__dataset__seed": ["0", "1"], "teacher_weights": None},
    ],
)
def test_one_split__unknown_size_or_several_splits__nothing_said(columns):
    assert said(table([0.9, 0.9], seed=[0, 1], **columns)) == []


def test_one_split__one_seed_has_no_interval():
    assert said(table([0.9], test_samples=100)) == []


def test_one_split__each_dataset_has_its_own():
    data = {"dataset": each(["digits", "mnist"], 2), "fingerprint": each(["a", "b"], 2), "teacher_weights": None}
    frame = table([0.5] * 4, seed=seeds(2, 2), test_samples=each([100, 10000], 2), **data)
    assert said(frame, mix=["data"]) == [
        f"{START} in digits: with 100 samples an accuracy of 50.00% has a standard error of 5.00 points (binomial).",
        f"{START} in mnist: with 10,000 samples an accuracy of 50.00% has a standard error of 0.50 points (binomial).",
    ]
