"""What a student knows of a class that it never saw: recall before and after a bias that no label has chosen.

Source: Hinton, Vinyals, Dean 2015, section 3: the class is missed because its bias is too low; it is raised until it is
predicted as often as it occurs. There the bias was chosen on the test set; here on samples that are not measured, and
without their labels. Adding b to a logit adds b to its log-probability, up to a constant that no prediction sees.
Legend: N samples, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kd_lab.analysis.columns import OMITTED, each_run
from kd_lab.analysis.predictions import predictions_of
from kd_lab.analysis.studies.softening import log_probabilities, probabilities
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, SAMPLE_TARGET, STUDENT, TEACHER

FOLDS = 10
ALONE = "student alone"


class Corrected(NamedTuple):
    """What one network reaches, fractions: before (`raw_`) and after the correction; the mean bias."""

    raw_accuracy: float
    raw_recall: float
    accuracy: float
    recall: float
    bias: float


def margins(kept: np.ndarray, number: int) -> np.ndarray:
    """The smallest bias, [N], above which each sample is given to the class: the best other log-probability minus its.

    Args:
        kept: probabilities [N, K].
        number: the class.
    """
    log = log_probabilities(kept)
    return np.asarray(np.delete(log, number, axis=1).max(axis=1) - log[:, number])


def bias_for_rate(kept: np.ndarray, number: int, rate: float) -> float:
    """The bias with which the class is predicted for the share `rate` of the samples, to the nearest sample.

    No label is looked at. The bias lies in the middle between the last sample that is given to the class and the first
    that is not; samples that tie there go together.

    Args:
        kept: probabilities [N, K].
        number: the class.
        rate: above 0, below 1.

    Raises:
        ValueError: a rate that is not.
    """
    if not 0 < rate < 1:
        raise ValueError(f"Expected `rate` to be above 0 and below 1, but got {rate}.")
    found = np.sort(margins(kept, number))
    wanted = min(max(round(rate * len(found)), 1), len(found) - 1)
    return float(found[wanted - 1 : wanted + 1].mean())


def predicted(kept: np.ndarray, number: int, bias: float) -> np.ndarray:
    """The class of each sample, [N], when the bias is added to the logit of one class."""
    log = log_probabilities(kept)
    log[:, number] += bias
    return np.asarray(log.argmax(axis=1))


def recall_against_bias(frame: pd.DataFrame, number: int, biases: Sequence[float]) -> np.ndarray:
    """The recall of the class at each bias, a fraction."""
    needed = margins(probabilities(frame), number)[(frame[SAMPLE_TARGET] == number).to_numpy()]
    return np.array([(needed < bias).mean() for bias in biases])


def cross_fitted(frame: pd.DataFrame, number: int, rate: float | None = None, folds: int = FOLDS) -> Corrected:
    """Choose the bias on nine tenths of the samples without their labels, measure on the tenth left out; ten times.

    Args:
        frame: what `kd_lab.analysis.predictions.predictions` returned.
        number: the class.
        rate: how often the class occurs; None: as often as in this whole table, whose single labels are not used.
        folds: how many parts; in halves the class is more or less frequent by chance, and the bias too high or low.

    Raises:
        UserError: the class does not occur.
    """
    kept, target = probabilities(frame), frame[SAMPLE_TARGET].to_numpy()
    here = target == number
    if not here.any() or here.all():
        raise UserError(f"Class {number} is the label of {here.sum()} of {len(here)} test samples; expected some.")
    rate = float(here.mean()) if rate is None else rate
    answers, biases = kept.argmax(axis=1), []
    corrected = answers.copy()
    for measured in np.array_split(np.random.default_rng(0).permutation(len(frame)), folds):
        biases.append(bias_for_rate(np.delete(kept, measured, axis=0), number, rate))
        corrected[measured] = predicted(kept[measured], number, biases[-1])
    raw, fixed = answers == target, corrected == target
    return Corrected(raw.mean(), raw[here].mean(), fixed.mean(), fixed[here].mean(), float(np.mean(biases)))


def omitted_class(students: pd.DataFrame, make: str) -> int:
    """The one class that all these students never saw.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs`.
        make: the command that makes such runs, for the message.

    Raises:
        UserError: there is none, or more than one.
    """
    told = sorted(set(students[OMITTED].dropna())) if OMITTED in students else []
    one = told[0].strip("[]") if len(told) == 1 else ""
    if not one.isdigit() or students[OMITTED].isna().any():
        raise UserError(f"Expected students that all miss one and the same class, as those of {make}.")
    return int(one)


def recalls(students: pd.DataFrame, number: int, uri: str) -> pd.DataFrame:
    """What each network reaches, one row per network: role, arm, seed, and the columns of `Corrected`.

    Args:
        students: `Comparison.students` of such runs.
        number: the class that students and baselines never saw.
        uri: the store that has their predictions.
    """
    named = [(TEACHER, "teacher"), (BASELINE, ALONE), (STUDENT, None)]
    found = []
    for role, label in named:
        runs, once = f"{role}_run", each_run(students, role)
        kept = predictions_of(once[runs], uri)
        for _, row in once.iterrows():
            if row[runs] in kept:
                reached = cross_fitted(kept[row[runs]], number)._asdict()
                found.append({"role": role, "arm": label or row["arm"], "seed": row["seed"], **reached})
    return pd.DataFrame(found)


def by_arm(found: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of what `recalls` returned, in % but for the bias: one row per arm, in its order, and n."""
    percent = [name for name in Corrected._fields if name != "bias"]
    grouped = found.assign(**{name: 100 * found[name] for name in percent}).groupby("arm", sort=False)
    return grouped.size().rename("n").to_frame().join(grouped[list(Corrected._fields)].mean())


def recalls_in_words(found: pd.DataFrame, number: int) -> list[str]:
    """What happened to the class, in sentences.

    Args:
        found: what `recalls` returned.
        number: the class.
    """
    means = by_arm(found)
    distilled = means.loc[list(dict.fromkeys(found.loc[found["role"] == STUDENT, "arm"]))]
    raw, best, worst = (
        distilled.loc[distilled["raw_recall"].idxmax()],
        distilled.loc[distilled["recall"].idxmax()],
        distilled.loc[distilled["recall"].idxmin()],
    )
    sentences = [
        f"As they answer, distilled students call at most {raw['raw_recall']:.1f}% of class {number} by its name "
        f"({raw.name}).",
        f"After the correction it is {worst['recall']:.1f}% ({worst.name}) to {best['recall']:.1f}% ({best.name}); "
        f"the accuracy of the latter goes from {best['raw_accuracy']:.1f}% to {best['accuracy']:.1f}%.",
    ]
    if ALONE in means.index:
        alone = means.loc[ALONE]
        sentences.append(
            f"The student alone: {alone['raw_recall']:.1f}%, corrected {alone['recall']:.1f}%, with an accuracy from "
            f"{alone['raw_accuracy']:.1f}% to {alone['accuracy']:.1f}%."
        )
    if TEACHER in means.index:
        sentences.append(f"The teacher, which saw the class: {means.loc[TEACHER, 'raw_recall']:.1f}%.")
    return sentences
