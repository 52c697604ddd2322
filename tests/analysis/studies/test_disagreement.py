import pandas as pd
import pytest

from kd_lab.analysis.studies.disagreement import (
    BOTH_RIGHT,
    OTHER_ERROR,
    OTHER_RIGHT,
    OUTCOMES,
    SAME_ERROR,
    TEACHER_RIGHT,
    change_in_words,
    compared,
    confidences,
    disputed,
    outcomes,
    shares,
)
from kd_lab.errors import UserError
from tests.analysis.made_up import students

TARGET = [0, 0, 0, 0, 0]
TAUGHT = [0, 0, 1, 1, 1]
OWN = [0, 1, 0, 1, 2]
"""One sample for each outcome, in the order of OUTCOMES."""


def answers(predicted, confidence=0.5, index=None):
    size = len(predicted)
    return pd.DataFrame(
        {
            "index": range(size) if index is None else index,
            "target": TARGET[:size],
            "predicted": predicted,
            "confidence": confidence,
        }
    )


def test_outcomes__one_sample_of_each__the_same_samples_of_both():
    assert outcomes(answers(TAUGHT), answers(OWN)).tolist() == OUTCOMES
    assert OUTCOMES == [BOTH_RIGHT, TEACHER_RIGHT, OTHER_RIGHT, SAME_ERROR, OTHER_ERROR]
    with pytest.raises(UserError, match="predictions of the same samples"):
        outcomes(answers(TAUGHT), answers(OWN, index=[9, 8, 7, 6, 5]))


def made():
    """Two seeds of one arm; alone, each errs where its teacher is right; taught, one seed copies the teacher."""
    table = students({"kd": [0.9, 0.9]})
    kept = {"teacher of digits": answers(TAUGHT)}
    kept |= {f"mlp 32 alone {seed}": answers([1, 1, 0, 0, 0]) for seed in range(2)}
    kept |= {"mlp 32 kd 0": answers(TAUGHT), "mlp 32 kd 1": answers(OWN)}
    return table, kept


def test_shares__of_student_and_baseline_of_each_seed__those_without_predictions_left_out():
    table, kept = made()
    found = shares(table, kept)
    who = found[["arm", "seed", "role"]].to_numpy().tolist()
    assert who == [["kd", seed, role] for seed in (0, 1) for role in ("student", "baseline")]
    assert found[OUTCOMES].to_numpy().tolist()[:2] == [[40, 0, 0, 60, 0], [0, 40, 60, 0, 0]]
    del kept["mlp 32 kd 0"]
    assert set(shares(table, kept)["seed"]) == {1}
    del kept["mlp 32 alone 1"]
    with pytest.raises(UserError, match="run kd-lab -m seed=0,1,2 first"):
        shares(table, kept)


def test_compared__paired_by_seed__and_in_words():
    found = compared(shares(*made()), "kd")
    assert found["alone"].tolist() == [0, 40, 60, 0, 0]
    assert found["student"].tolist() == [30, 10, 10, 40, 10]
    assert found["difference"].tolist() == [30, -30, -50, 40, 10]
    # Of two seeds, 0 and 20, the interval is 10 +- 127 points; no share changes by more than 100.
    assert found.loc[OTHER_ERROR, ["low", "high"]].tolist() == [-100, 100]
    assert change_in_words(found) == (
        "The student alone differs from the teacher on 100.00% of the samples, the distilled one on 30.00%. Only the "
        "teacher is right 30.00 points less often than beside the student alone; the teacher's own mistakes are made "
        "40.00 points more often."
    )


def test_confidences__by_outcome_over_seeds():
    teacher = answers(TAUGHT, [0.9, 0.8, 0.7, 0.6, 0.5])
    found = confidences(teacher, {"kd": [answers(OWN, 0.4), answers([0, 0, 0, 0, 0], 0.6)]})
    assert found.loc[("kd", BOTH_RIGHT)].tolist() == pytest.approx([1.5, 100 * (0.4 + 0.6 + 0.6) / 3, 100 * 2.6 / 3])
    assert found.loc[("kd", TEACHER_RIGHT)].tolist() == pytest.approx([0.5, 40, 80])
    assert set(found.index.get_level_values("outcome")) == set(OUTCOMES)


def test_disputed__where_most_seeds_differ__the_most_disputed_first():
    seeds = [answers([0, 2, 1, 1, 2], 0.4), answers([0, 2, 1, 0, 2], 0.6), answers([0, 0, 1, 0, 0], 0.8)]
    found = disputed(answers(TAUGHT, 0.9, [5, 6, 7, 8, 9]), seeds)
    assert found["index"].tolist() == [9, 6, 8]
    assert found["seeds"].tolist() == [3, 2, 2]
    assert found["student"].tolist() == [2, 2, 0]
    assert found["teacher"].tolist() == [1, 0, 1]
    assert found["student_confidence"].tolist() == pytest.approx([0.6] * 3)
    assert found["teacher_confidence"].tolist() == [0.9] * 3
