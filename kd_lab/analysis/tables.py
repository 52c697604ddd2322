"""The tables of a comparison's page: strings for people, and beside each the number that its column is sorted by."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kd_lab.analysis.columns import column, each_run
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import DASH, fixed, number, percent, told_p
from kd_lab.names import BASELINE, HIGHER_IS_BETTER, TEACHER, TEST_ACCURACY_TOP1

NO_ORDER = ""
AGAINST = {"to_baseline": "the student alone", "to_kd": "plain kd"}


@dataclass(frozen=True)
class Cell:
    """What is read (`small` below it), and what the column is sorted by; `kind` is the class that colours it."""

    text: str
    order: str = NO_ORDER
    kind: str = ""
    small: str = ""


@dataclass(frozen=True)
class Column:
    """A heading, its unit or explanation, and whether it holds numbers."""

    head: str
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Columns, rows, and rows that stand below and are not sorted."""

    columns: list[Column]
    rows: list[list[Cell]]
    below: list[list[Cell]] = field(default_factory=list)


def results(arms: pd.DataFrame, students: pd.DataFrame, metric: str = TEST_ACCURACY_TOP1) -> Table:
    """The metric of each arm and its paired differences; below, the same networks alone and the teachers."""
    unit = Unit(metric)
    grouped = arms["group"].nunique(dropna=False) > 1
    against = [prefix for prefix in AGAINST if arms[f"{prefix}_mean"].notna().any()]
    columns = [Column("arm", numeric=False), *([Column("data", numeric=False)] if grouped else []), Column("seeds")]
    columns.append(Column(unit.heading, "mean ± sample sd, 95% interval"))
    for prefix in against:
        columns.append(Column(f"to {AGAINST[prefix]}", f"{unit.of_difference.strip() or 'difference'}, 95% interval"))
        columns.append(Column("verdict", "p after Holm, wins of pairs"))
    rows = []
    for _, arm in _best_first(arms, metric).iterrows():
        row = [_text(arm["arm"]), *([_text(arm["group"])] if grouped else []), _cell(str(int(arm["n"])), arm["n"])]
        bounds = _known(unit.interval(arm["low"], arm["high"], signed=False))
        row.append(Cell(unit.with_sd(arm["mean"], arm["sd"]), _order(arm["mean"]), small=bounds))
        for prefix in against:
            row += _difference(arm, prefix, unit)
        rows.append(row)
    blank = [Cell("")] * (2 * len(against))
    group = [Cell("")] if grouped else []
    below = [
        [_text(name), *group, Cell(str(len(found))), Cell(unit.with_sd(found.mean(), found.std(ddof=1))), *blank]
        for name, found in _references(students, metric)
    ]
    return Table(columns, rows, below)


def _three(value: Any) -> str:
    return fixed(value, 3)


def _count(value: Any) -> str:
    return fixed(value, 0)


COST: dict[str, tuple[Column, Callable[[Any], str]]] = {
    "gap_recovered": (Column("gap recovered", "of the way to the teacher"), fixed),
    "agreement": (Column("agreement", "with the teacher, %"), percent),
    "kl": (Column("KL", "to the teacher, nats"), _three),
    "nll": (Column("NLL", "nats"), _three),
    "ece": (Column("ECE", "15 bins, %"), percent),
    "params": (Column("parameters"), _count),
    "macs": (Column("MACs", "per sample"), _count),
    "latency": (Column("latency", "one sample, ms"), _three),
    "train_wall_s": (Column("training", "s"), lambda value: fixed(value, 1)),
    "samples_per_s": (Column("training", "samples/s"), _count),
    "peak_memory_bytes": (Column("peak memory", "training, MiB"), lambda value: fixed(value, 0, 2.0**-20)),
    "accuracy_per_hour": (Column("accuracy", "% per hour of training"), lambda value: fixed(value, 0, 100)),
}
"""By column of `Comparison.arms`: what fidelity, calibration and cost are called and how they are written."""


def costs(arms: pd.DataFrame, metric: str = TEST_ACCURACY_TOP1) -> Table:
    """Means over seeds of fidelity, calibration and cost, those that some arm has."""
    shown = {key: told for key, told in COST.items() if key in arms and arms[key].notna().any()}
    columns = [Column("arm", numeric=False), *(head for head, _ in shown.values())]
    rows = [
        [_text(arm["arm"]), *(_cell(form(arm[key]), arm[key]) for key, (_, form) in shown.items())]
        for _, arm in _best_first(arms, metric).iterrows()
    ]
    return Table(columns, rows)


def _best_first(arms: pd.DataFrame, metric: str) -> pd.DataFrame:
    return arms.sort_values("mean", ascending=metric not in HIGHER_IS_BETTER, kind="stable")


def _difference(arm: pd.Series, prefix: str, unit: Unit) -> list[Cell]:
    mean, p, verdict = (arm[f"{prefix}_{name}"] for name in ("mean", "p_holm", "verdict"))
    if pd.isna(mean):
        return [Cell(DASH), Cell(DASH)]
    low, high, wins, pairs = (number(arm[f"{prefix}_{name}"]) for name in ("low", "high", "wins", "pairs"))
    return [
        Cell(unit.signed(mean), _order(mean), small=_known(unit.interval(low, high))),
        Cell(str(verdict), _order(p), str(verdict).replace(" ", "-"), f"{told_p(p)}, {wins:.0f}/{pairs:.0f}"),
    ]


def _references(students: pd.DataFrame, metric: str) -> Iterator[tuple[str, pd.Series]]:
    """The students alone and the teachers by name, with the values of their runs, each once (`each_run`)."""
    for role, name, form in ((BASELINE, "network", "{} alone"), (TEACHER, "teacher_network", "teacher {}")):
        key = column(role, metric)
        if key not in students:
            continue
        once = each_run(students[students[key].notna()], role, metric)
        several = once["group"].nunique() > 1
        for (network, group), rows in once.groupby([name, "group"]):
            yield form.format(network) + (f" ({group})" if several else ""), rows[key]


def _known(text: str) -> str:
    return "" if text == DASH else text


def _text(value: object) -> Cell:
    return Cell(str(value), str(value))


def _cell(text: str, order: Any) -> Cell:
    return Cell(text, _order(order))


def _order(value: Any) -> str:
    found = number(value)
    return repr(found) if math.isfinite(found) else NO_ORDER
