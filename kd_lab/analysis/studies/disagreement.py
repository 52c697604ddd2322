"""Where a network does not answer as its teacher does, and who is right; sample by sample, then over seeds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kd_lab.analysis.statistics import difference, spread
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, SAMPLE_CONFIDENCE, SAMPLE_INDEX, SAMPLE_PREDICTED, SAMPLE_TARGET, STUDENT

BOTH_RIGHT = "both right"
TEACHER_RIGHT = "only the teacher right"
OTHER_RIGHT = "only the student right"
SAME_ERROR = "both wrong, same answer"
OTHER_ERROR = "both wrong, other answers"
OUTCOMES = [BOTH_RIGHT, TEACHER_RIGHT, OTHER_RIGHT, SAME_ERROR, OTHER_ERROR]
AGREE = [BOTH_RIGHT, SAME_ERROR]
DIFFER = [TEACHER_RIGHT, OTHER_RIGHT, OTHER_ERROR]

Kept = Mapping[str, pd.DataFrame]
"""What `kd_lab.analysis.predictions.predictions_of` returned: the predictions by run."""


def outcomes(teacher: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """One of OUTCOMES for each sample, [N].

    Args:
        teacher: the teacher's predictions.
        other: those of a student or of a baseline, of the same samples in the same order.

    Raises:
        UserError: these are not the same samples.
    """
    if not np.array_equal(teacher[SAMPLE_INDEX], other[SAMPLE_INDEX]):
        raise UserError("Expected both networks' predictions of the same samples; choose runs on the same split.")
    target, theirs, own = (
        frame.to_numpy() for frame in (teacher[SAMPLE_TARGET], teacher[SAMPLE_PREDICTED], other[SAMPLE_PREDICTED])
    )
    taught, right, same = theirs == target, own == target, theirs == own
    return np.select([taught & right, taught, right, same], OUTCOMES[:4], OUTCOMES[4])


def shares(students: pd.DataFrame, kept: Kept) -> pd.DataFrame:
    """How often each outcome happened, one row per student and per baseline, in % of the test samples.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`; those without all three runs' predictions
            are left out.
        kept: predictions by run.

    Returns:
        arm, seed, role, and a column for each of OUTCOMES.

    Raises:
        UserError: no student is left.
    """
    rows = []
    for _, row in students.iterrows():
        runs = {STUDENT: row["student_run"], BASELINE: row["baseline_run"]}
        if not {row["teacher_run"], *runs.values()} <= kept.keys():
            continue
        for role, run in runs.items():
            found = outcomes(kept[row["teacher_run"]], kept[run])
            told = {name: 100 * float((found == name).mean()) for name in OUTCOMES}
            rows.append({"arm": row["arm"], "seed": row["seed"], "role": role, **told})
    if not rows:
        raise UserError(
            "No student has predictions beside those of its teacher and its baseline; run kd-lab -m seed=0,1,2 first."
        )
    return pd.DataFrame(rows)


def compared(found: pd.DataFrame, arm: str) -> pd.DataFrame:
    """One arm beside the same student alone, paired by seed, in % and in points.

    Args:
        found: what `shares` returned.
        arm: one of its arms.

    Returns:
        A row for each of OUTCOMES; alone, student, difference and the ends of its 95% t interval, low and high.
    """
    own = found[found["arm"] == arm]
    each = {role: own.loc[own["role"] == role, OUTCOMES].to_numpy() for role in (BASELINE, STUDENT)}
    rows = []
    for place, _ in enumerate(OUTCOMES):
        alone, taught = (each[role][:, place] for role in (BASELINE, STUDENT))
        paired = difference(taught - alone)
        means = {"alone": spread(alone).mean, "student": spread(taught).mean}
        low, high = np.clip([paired.low, paired.high], -100, 100)
        rows.append({**means, "difference": paired.mean, "low": low, "high": high})
    return pd.DataFrame(rows, index=pd.Index(OUTCOMES, name="% of the test samples"))


def confidences(teacher: pd.DataFrame, others: Mapping[str, list[pd.DataFrame]]) -> pd.DataFrame:
    """How sure networks are where they answer as the teacher and where they do not; seeds are pooled.

    Args:
        teacher: the teacher's predictions.
        others: by label, the predictions of each seed.

    Returns:
        A row for each label and outcome that happened: samples (mean over seeds), the mean confidence of the network
        and of its teacher there, in %.
    """
    rows = []
    for label, seeds in others.items():
        found = np.concatenate([outcomes(teacher, seed) for seed in seeds])
        own = np.concatenate([seed[SAMPLE_CONFIDENCE].to_numpy() for seed in seeds])
        theirs = np.tile(teacher[SAMPLE_CONFIDENCE].to_numpy(), len(seeds))
        for name in OUTCOMES:
            here = found == name
            if here.any():
                sure = {"its confidence": 100 * own[here].mean(), "the teacher's": 100 * theirs[here].mean()}
                rows.append({"network": label, "outcome": name, "samples": here.sum() / len(seeds), **sure})
    return pd.DataFrame(rows).set_index(["network", "outcome"])


def disputed(teacher: pd.DataFrame, seeds: list[pd.DataFrame]) -> pd.DataFrame:
    """The samples on which most seeds do not answer as the teacher: who differs, the most disputed first.

    Returns:
        place (the row in the predictions), index, target, teacher, teacher_confidence, student (the most frequent
        answer), student_confidence (the mean), seeds (how many differ from the teacher).
    """
    answers = np.stack([seed[SAMPLE_PREDICTED].to_numpy() for seed in seeds])
    sure = np.stack([seed[SAMPLE_CONFIDENCE].to_numpy() for seed in seeds])
    theirs = teacher[SAMPLE_PREDICTED].to_numpy()
    differ = (answers != theirs).sum(axis=0)
    places = np.argsort(-differ, kind="stable")
    places = places[differ[places] > len(seeds) / 2]
    most = np.array([np.bincount(answers[:, place]).argmax() for place in places], dtype=int)
    return pd.DataFrame(
        {
            "place": places,
            "index": teacher[SAMPLE_INDEX].to_numpy()[places],
            "target": teacher[SAMPLE_TARGET].to_numpy()[places],
            "teacher": theirs[places],
            "teacher_confidence": teacher[SAMPLE_CONFIDENCE].to_numpy()[places],
            "student": most,
            "student_confidence": sure[:, places].mean(axis=0),
            "seeds": differ[places],
        }
    )


def change_in_words(found: pd.DataFrame) -> str:
    """What distilling changed, in a sentence each.

    Args:
        found: what `compared` returned.
    """
    differ = found.loc[DIFFER, ["alone", "student"]].sum()
    gain, cost = -found.loc[TEACHER_RIGHT, "difference"], found.loc[SAME_ERROR, "difference"]
    return (
        f"The student alone differs from the teacher on {differ['alone']:.2f}% of the samples, the distilled one on "
        f"{differ['student']:.2f}%. Only the teacher is right {abs(gain):.2f} points {'less' if gain >= 0 else 'more'} "
        f"often than beside the student alone; the teacher's own mistakes are made {abs(cost):.2f} points "
        f"{'more' if cost >= 0 else 'less'} often."
    )
