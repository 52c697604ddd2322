"""The answer in words: which arm is best for this student, and is the difference real?"""

import pandas as pd

from kd_lab.analysis.references import PLAIN_KD
from kd_lab.analysis.statistics import BETTER, NOT_DISTINGUISHABLE, NOT_TESTED, WORSE
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import DASH, counted, number, p_in_words
from kd_lab.names import HIGHER_IS_BETTER, TEST_ACCURACY_TOP1


def headline(arms: pd.DataFrame, metric: str = TEST_ACCURACY_TOP1, reference: str = PLAIN_KD) -> list[str]:
    """One paragraph for each group of arms, the first sentence of each naming the best one.

    Nothing is called better or worse that the paired, corrected test did not find.

    Args:
        arms: `Comparison.arms`.
        metric: `Comparison.metric`.
        reference: `Comparison.reference`.
    """
    known = arms[arms["mean"].notna()]
    if known.empty:
        return [f"No arm has {metric} yet."]
    groups = list(known.groupby("group", sort=False, dropna=False))
    return [(f"{name}: " if len(groups) > 1 else "") + _answer(rows, metric, reference) for name, rows in groups]


def _answer(rows: pd.DataFrame, metric: str, reference: str) -> str:
    unit, higher = Unit(metric), metric in HIGHER_IS_BETTER
    best = rows.loc[rows["mean"].idxmax() if higher else rows["mean"].idxmin()]
    reached = f"{unit.reached(best['mean'])} over {counted(int(best['n']), 'seed')}"
    if len(rows) == 1:
        first = f"{best['arm']} reaches a mean {unit.name} of {reached}."
    else:
        extreme = "highest" if higher else "lowest"
        first = f"Of {len(rows)} arms, {best['arm']} has the {extreme} mean {unit.name}: {reached}."
    said = [first, _to_baseline(best, unit), *_to_kd(best, rows, unit, reference)]
    if int(best["n"]) < 2:
        said.append("One seed is an anecdote: run more seeds.")
    return " ".join(said)


def _to_baseline(best: pd.Series, unit: Unit) -> str:
    if pd.isna(best["to_baseline_mean"]):
        return "There is no student alone of the same seeds beside it, so nobody knows what distilling gained."
    return _compared(best, "to_baseline", "the student alone", unit)


def _to_kd(best: pd.Series, rows: pd.DataFrame, unit: Unit, reference: str) -> list[str]:
    if pd.notna(best["to_kd_mean"]):
        called = reference if reference == best["kd_arm"] else f"{reference} ({best['kd_arm']})"
        return [_compared(best, "to_kd", called, unit)]
    others = rows[(rows["kd_arm"] == best["arm"]) & rows["to_kd_mean"].notna()]
    if others.empty:
        return []
    found = others["to_kd_verdict"].value_counts()
    worse = int(found.get(WORSE, 0))
    told = [f"{worse} {'is' if worse == 1 else 'are'} worse"]
    told += [
        f"{found[kind]} {kind}{of}"
        for kind, of in ((NOT_DISTINGUISHABLE, " from it"), (NOT_TESTED, ""))
        if kind in found
    ]
    start = f"It is {PLAIN_KD}" if reference == PLAIN_KD else "The others are compared with it"
    return [f"{start}; of {counted(len(others), 'other arm')}, {' and '.join(told)}."]


def _compared(best: pd.Series, prefix: str, other: str, unit: Unit) -> str:
    mean, verdict = number(best[f"{prefix}_mean"]), best[f"{prefix}_verdict"]
    bounds = unit.interval(best[f"{prefix}_low"], best[f"{prefix}_high"])
    p = best[f"{prefix}_p_holm"]
    tests = [*([f"95% interval {bounds}"] if bounds != DASH else []), f"{p_in_words(p)} after Holm"]
    tested = f" ({', '.join(tests)})"
    if verdict == NOT_TESTED:
        return f"It differs from {other} by {unit.signed(mean)}{unit.of_difference}, which is not tested."
    if verdict in (BETTER, WORSE):
        return f"It is {verdict} than {other} by {unit.value(abs(mean))}{unit.of_difference}{tested}."
    return f"It is not distinguishable from {other}: {unit.signed(mean)}{unit.of_difference}{tested}."
