"""What the notes beside a comparison say, and when they say nothing."""

import numpy as np
import pandas as pd
import pytest

from kd_lab import names
from kd_lab.analysis import remarks
from kd_lab.analysis.columns import column
from kd_lab.analysis.comparison import compare
from tests.analysis.made_up import each, seeds, table

STEPS = {column("student", names.COST_TRAIN_STEPS): 60.0, column("baseline", names.COST_TRAIN_STEPS): 40.0}
FEW = "Few seeds: every arm has fewer than 5; only a large difference can be found"
MANY = "2 configurations were compared on the test part: the best of many looks better than it is."
TRIED = "chosen on validation from 30 configurations."
SPLIT = "Intervals over seeds of one split do not contain the sampling error of the test part itself"
SEEDS = "Not every arm has the same seeds and splits: a mean is over the arm's own, a difference over common ones."


def notes(accuracy, metric=names.TEST_ACCURACY_TOP1, mix=(), **columns):
    return compare(table(accuracy, **columns), metric, mix=mix).notes


SAID = {
    "one seed": ([0.9], {}, [f"{FEW}."]),
    "seeds enough": ([0.9] * 5, {"seed": range(5)}, []),
    "several arms": (
        [0.9, 0.8, 0.7],
        {"seed": [0, 1, 0], "loss": ["dkd", "dkd", "dist"]},
        [MANY, f"{FEW}, and with 2 pairs the Wilcoxon test cannot go below p = 0.5.", SEEDS],
    ),
    "older and unfinished": (
        [0.5, 0.9, 0.1, np.nan, 0.2],
        {"seed": [0, 0, 1, 2, 3], "status": ["FINISHED", "FINISHED", "FAILED", "RUNNING", "FAILED"]},
        [
            "Left out: 2 failed, 1 still running.",
            "Of runs with the same arm, seed and split the newest counts: 1 older left out.",
            f"{FEW}.",
        ],
    ),
    "an arm of a search": ([0.9] * 5, {"seed": range(5), "tried": "30"}, [f"mlp 32 kd: {TRIED}"]),
    "two of a search": (
        [0.9] * 10,
        {"seed": seeds(2, 5), "loss": each(["dkd", "dist"], 5), "tried": "30"},
        [f"2 arms (mlp 32 dkd, mlp 32 dist): {TRIED}", MANY],
    ),
    "no baseline": (
        [0.9] * 5,
        {"seed": range(5), "baseline_run": None},
        ["No student has a baseline (baseline=false): nobody knows what distilling gained."],
    ),
    "baselines of some": (
        [0.9] * 5,
        {"seed": range(5), "baseline_run": ["b", None, None, "b", "b"]},
        ["2 of 5 students have no baseline (mlp 32 kd)."],
    ),
    "another budget alone": (
        [0.9] * 5,
        {"seed": range(5), **STEPS},
        ["Not the same budget as the student alone: 40 optimizer steps alone, 60 distilled (mlp 32 kd)."],
    ),
    "several baselines": (
        [0.9] * 10,
        {"seed": seeds(2, 5), "loss": each(["dkd", "dist"], 5), "baseline_run": each(["b1", "b2"], 5)},
        [MANY, "One network, seed and split has several baselines: each arm is compared with its own."],
    ),
}


@pytest.mark.parametrize(("accuracy", "columns", "expected"), SAID.values(), ids=SAID)
def test_notes__what_a_reader_must_know_and_no_more(accuracy, columns, expected):
    assert notes(accuracy, **columns) == expected


def test_corrected__an_interval_that_finds_what_the_verdict_does_not__is_explained():
    gains = np.array([0.01, 0.03, 0.04])  # p 0.07; three times as good, by itself, 0.02
    alone = 0.5 - np.concatenate([3 * gains + 0.05, gains, gains - 0.02, -gains])
    (found,) = [
        note
        for note in notes([0.5] * 12, seed=seeds(4, 3), loss=each(["kd", "dkd", "dist", "nkd"], 3), alone=alone)
        if note.startswith("Not distinguishable from the student alone, although the interval leaves out 0: ")
    ]
    assert "mlp 32 kd. An interval is of one arm by itself; a verdict is corrected for the number of arms" in found


def said(*arguments, **settings):
    return [note.removeprefix(SPLIT) for note in notes(*arguments, **settings) if note.startswith(SPLIT)]


def test_one_split__the_binomial_standard_error_of_the_best_arm():
    found = said([0.952, 0.952, 0.9, 0.9], seed=seeds(2, 2), loss=each(["kd", "dkd"], 2), test_samples=597)
    # sqrt(0.952 * 0.048 / 597) = 0.008749
    assert found == [": with 597 samples an accuracy of 95.20% has a standard error of 0.87 points (binomial)."]


def test_one_split__nothing_wrong__the_rule_of_three():
    assert said([1.0, 1.0], seed=[0, 1], test_samples=1200) == [
        ": with 1,200 samples an accuracy of 100.00% leaves 0.25 points open (95%, rule of three)."
    ]


@pytest.mark.parametrize(
    ("metric", "called"),
    [
        (names.TEST_ACCURACY_TOP5, "a top-5 accuracy of 50.00% has a standard error of 5.00 points"),
        (names.TEST_AGREEMENT_TOP1, "an agreement of 50.00% has a standard error of 5.00 points"),
        (names.TEST_AGREEMENT_TEACHER_WRONG, None),  # of as many samples as the teacher has errors
        (names.TEST_ECE, None),
        (names.VAL_ACCURACY_TOP1, None),
    ],
)
def test_one_split__only_fractions_of_the_test_samples(metric, called):
    found = said([0.9, 0.9], metric, seed=[0, 1], test_samples=100, **{column("student", metric): 0.5})
    assert found == ([f": with 100 samples {called} (binomial)."] if called else [])


@pytest.mark.parametrize(
    "columns",
    [
        {"seed": [0, 1], "test_samples": None},
        {"seed": [0, 0], "test_samples": 100},
        {
            "seed": [0, 1],
            "test_samples": 100,
            "fingerprint": ["a", "b"],
            "params__dataset__seed": ["0", "1"],
            "teacher_weights": None,
        },
    ],
    ids=["unknown size", "one seed", "several splits"],
)
def test_one_split__no_such_error__nothing_said(columns):
    assert said([0.9, 0.9], **columns) == []


def test_one_split__each_dataset_has_its_own():
    data = {"dataset": each(["digits", "mnist"], 2), "fingerprint": each(["a", "b"], 2), "teacher_weights": None}
    assert said([0.5] * 4, mix=["data"], seed=seeds(2, 2), test_samples=each([100, 10000], 2), **data) == [
        " in digits: with 100 samples an accuracy of 50.00% has a standard error of 5.00 points (binomial).",
        " in mnist: with 10,000 samples an accuracy of 50.00% has a standard error of 0.50 points (binomial).",
    ]


def test_amiss__each_kind_once_in_the_words_of_the_first():
    wide, worse = "The inputs span 0 to 18,424.", "The teacher ({}%) is worse than the student alone (92.50%)."
    students = pd.DataFrame({"arm": ["a", "a", "b"], "remarks": [wide, f"{wide}\n{worse.format(70.1)}", None]})
    assert list(remarks.amiss(students)) == [
        f"{wide} (So says a; in all 2 of 3 students.)",
        f"{worse.format(70.1)} (So says a; in all 1 of 3 students.)",
    ]
    students["remarks"] = [wide] * 3
    assert list(remarks.amiss(students)) == [wide]
    assert list(remarks.amiss(students.assign(remarks=None))) == []
