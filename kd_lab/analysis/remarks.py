"""What a reader of a comparison must know beside its numbers, a sentence each."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from kd_lab.analysis.arms import UNIT
from kd_lab.analysis.columns import column
from kd_lab.analysis.protocol import tally
from kd_lab.analysis.statistics import NOT_DISTINGUISHABLE
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import counted
from kd_lab.names import (
    BASELINE,
    COST_TRAIN_STEPS,
    STUDENT,
    TEST_ACCURACY_TOP1,
    TEST_ACCURACY_TOP5,
    TEST_AGREEMENT_TOP1,
)

FEW = 5
"""Fewer seeds than this are too few for a claim."""

OF_SAMPLES = {
    TEST_ACCURACY_TOP1: "an accuracy",
    TEST_ACCURACY_TOP5: "a top-5 accuracy",
    TEST_AGREEMENT_TOP1: "an agreement",
}
"""Metrics that are fractions of the test samples, and what one is called."""

RULE_OF_THREE = 3
"""What did not happen in N trials has a probability of at most 3/N, with 95% confidence: (1 - 3/N)^N is about 0.05."""

WORDS = {"FAILED": "failed", "RUNNING": "still running", "KILLED": "killed", "FINISHED": "without the metric"}


def left_out(asked: pd.DataFrame, done: pd.DataFrame, num_counting: int) -> Iterator[str]:
    """Runs that do not count.

    Args:
        asked: the students that were asked for.
        done: those of them that finished and have the metric.
        num_counting: how many are the newest of these for an arm, seed and split.
    """
    others = asked[~asked["student_run"].isin(done["student_run"])]
    told = [
        f"{count} {WORDS.get(str(status), str(status))}" for status, count in others["status"].value_counts().items()
    ]
    if told:
        yield f"Left out: {', '.join(told)}."
    if (older := len(done) - num_counting) > 0:
        yield f"Of runs with the same arm, seed and split the newest counts: {older} older left out."


def tried(students: pd.DataFrame) -> Iterator[str]:
    """How many configurations there are."""
    arms = students["arm"].nunique()
    if arms > 1:
        yield f"{arms} configurations were compared on the test part: the best of many looks better than it is."


def corrected(arms: pd.DataFrame, reference: str) -> Iterator[str]:
    """Arms whose interval finds a difference that the verdict does not."""
    for prefix, other in (("to_baseline", "the student alone"), ("to_kd", reference)):
        apart = (arms[f"{prefix}_low"] > 0) | (arms[f"{prefix}_high"] < 0)
        found = arms[apart & (arms[f"{prefix}_verdict"] == NOT_DISTINGUISHABLE)]
        if not found.empty:
            yield (
                f"Not distinguishable from {other}, although the interval leaves out 0: {some(found['arm'])}. An "
                "interval is of one arm by itself; a verdict is corrected for the number of arms."
            )


def amiss(students: pd.DataFrame) -> Iterator[str]:
    """What jobs said of themselves that makes their result doubtful: each kind once, in the words of the first."""
    if "remarks" not in students or students["remarks"].isna().all():
        return
    said = students.assign(remark=students["remarks"].str.split("\n")).explode("remark").dropna(subset="remark")
    for _, rows in said.groupby(said["remark"].str.replace(r"[\d.,]+", "#", regex=True), sort=False):
        first = rows["remark"].iloc[0]
        if len(rows) == len(students) and rows["remark"].nunique() == 1:
            yield first
        else:
            yield f"{first} (So says {rows['arm'].iloc[0]}; in all {len(rows)} of {len(students)} students.)"


def chosen(students: pd.DataFrame) -> Iterator[str]:
    """Arms that a search has chosen, and from how many."""
    if "tried" not in students:
        return
    for tried, rows in students[students["tried"].notna()].groupby("tried", sort=False):
        arms = rows["arm"].nunique()
        one = f"{rows['arm'].iloc[0]}: chosen" if arms == 1 else f"{arms} arms ({some(rows['arm'])}): chosen"
        yield f"{one} on validation from {counted(int(str(tried)), 'configuration')}."


def machines(students: pd.DataFrame) -> str:
    """Why columns of cost are empty."""
    if students["machine"].nunique() > 1:
        why = f"students were measured on different machines ({tally(students['machine'])})"
    else:
        why = f"other jobs ran beside each ({students['machine'].iloc[0]}), and sweep.jobs=1 measures them alone"
    return f"Latency, training time, samples/s and memory are left out, because {why}; mix=machine shows them."


def sizes(students: pd.DataFrame, arms: pd.DataFrame) -> Iterator[str]:
    """Few seeds, and arms that do not have the same ones."""
    few = arms[arms["n"] < FEW]
    if not few.empty:
        every = len(few) == len(arms)
        who = (
            "every arm has"
            if every
            else f"{counted(len(few), 'arm')} of {len(arms)} {'has' if len(few) == 1 else 'have'}"
        )
        most = int(few["n"].max())
        floor = (
            f", and with {most} pairs the Wilcoxon test cannot go below p = {2.0 ** (1 - most):g}" if most > 1 else ""
        )
        yield f"Few seeds: {who} fewer than {FEW}; only a large difference can be found{floor}."
    for group, rows in students.groupby("group"):
        if len(rows) != rows["arm"].nunique() * len(rows.drop_duplicates(UNIT)):
            name = f" in {group}" if students["group"].nunique() > 1 else ""
            yield (
                f"Not every arm has the same seeds and splits{name}: a mean is over the arm's own, a difference over "
                "common ones."
            )


def one_split(students: pd.DataFrame, arms: pd.DataFrame, metric: str) -> Iterator[str]:
    """What intervals over seeds leave out where all seeds are measured on the same test samples, and its size."""
    unit = Unit(metric)
    for group, rows in students.groupby("group") if metric in OF_SAMPLES else []:
        own = arms[arms["group"] == group]
        samples, reached = rows["test_samples"].dropna().unique(), own["mean"].dropna()
        if rows["fingerprint"].nunique(dropna=False) != 1 or len(samples) != 1 or own["n"].max() < 2 or reached.empty:
            continue
        num, best = int(samples[0]), float(reached.iloc[0])
        error = 100 * math.sqrt(max(best * (1 - best), 0) / num)
        size = f"has a standard error of {error:.2f} points (binomial)"
        if error == 0:
            size = f"leaves {100 * min(RULE_OF_THREE / num, 1):.2f} points open (95%, rule of three)"
        name = f" in {group}" if students["group"].nunique() > 1 else ""
        yield (
            "Intervals over seeds of one split do not contain the sampling error of the test part itself"
            f"{name}: with {num:,} samples {OF_SAMPLES[metric]} of {unit.reached(best)} {size}."
        )


def baselines(students: pd.DataFrame) -> Iterator[str]:
    """Students without a baseline, with another budget than it, and those that do not share theirs."""
    missing = students["baseline_run"].isna()
    if missing.all():
        yield "No student has a baseline (baseline=false): nobody knows what distilling gained."
    elif missing.any():
        yield f"{missing.sum()} of {len(students)} students have no baseline ({some(students[missing]['arm'])})."
    alone, own = (column(role, COST_TRAIN_STEPS) for role in (BASELINE, STUDENT))
    if alone in students and own in students:
        known = students[students[alone].notna() & students[own].notna()]
        unequal = known[known[alone] != known[own]]
        if not unequal.empty:
            steps = unequal.iloc[0]
            told = f"{steps[alone]:,.0f} optimizer steps alone, {steps[own]:,.0f} distilled"
            yield f"Not the same budget as the student alone: {told} ({some(unequal['arm'])})."
    per_unit = students[~missing].groupby(["group", "student", *UNIT], dropna=False)["baseline_run"].nunique()
    if (per_unit > 1).any():
        yield "One network, seed and split has several baselines: each arm is compared with its own."


def some(arms: Sequence[str], most: int = 3) -> str:
    """The first few by name, and how many more there are."""
    each = list(dict.fromkeys(arms))
    return ", ".join(each[:most]) + (f" and {counted(len(each) - most, 'more arm')}" if len(each) > most else "")
