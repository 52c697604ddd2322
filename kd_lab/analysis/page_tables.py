"""The tables of a comparison's page: a cell may have a line in small letters below it, and a colour."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from kd_lab.analysis.cells import Cell, beside, cells_of, known_costs
from kd_lab.analysis.published import COLUMN
from kd_lab.analysis.references import PLAIN_KD
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import DASH, number, p_in_words
from kd_lab.names import BASELINE, TEACHER, TEST_ACCURACY_TOP1

ALONE = "the student alone"


@dataclass(frozen=True)
class PageCell:
    """What is read (`small` below it), and what the column is sorted by; `kind` is the class that colours it."""

    text: str
    order: str = ""
    kind: str = ""
    small: str = ""


@dataclass(frozen=True)
class Column:
    """A heading, its unit or explanation, and whether it holds numbers."""

    head: str
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class PageTable:
    """Columns, rows, and rows that stand below and are not sorted."""

    columns: list[Column]
    rows: list[list[PageCell]]
    below: list[list[PageCell]] = field(default_factory=list)


def results(
    arms: pd.DataFrame, students: pd.DataFrame, metric: str = TEST_ACCURACY_TOP1, reference: str = PLAIN_KD
) -> PageTable:
    """The metric of each arm and its paired differences; below, the same networks alone and the teachers."""
    unit = Unit(metric)
    grouped = arms["group"].nunique(dropna=False) > 1
    known = {"to_baseline": ALONE, "to_kd": reference}
    against = [prefix for prefix in known if arms[f"{prefix}_mean"].notna().any()]
    columns = [Column("arm", numeric=False), *([Column("data", numeric=False)] if grouped else []), Column("seeds")]
    columns.append(Column(unit.heading, "mean ± sample sd, 95% interval"))
    columns += [Column(f"{COLUMN}, %", "by others, not measured here")] if COLUMN in arms else []
    for prefix in against:
        columns.append(Column(f"to {known[prefix]}", f"{unit.of_difference.strip() or 'difference'}, 95% interval"))
        columns.append(Column("verdict", "p after Holm, wins of pairs"))
    found = []
    for arm in cells_of(arms, metric):
        row = [_word(arm["arm"]), *([_word(arm["group"])] if grouped else []), _number(arm["n"])]
        row.append(_number(arm["mean"], small=arm["interval"]))
        row += [_number(arm[COLUMN])] if COLUMN in arms else []
        for prefix in against:
            row += _gain(arm, prefix)
        found.append(row)
    blank = [PageCell("")] * (2 * len(against) + (COLUMN in arms))
    group = [PageCell("")] if grouped else []
    below = [
        [PageCell(one.name, one.name), *group, PageCell(str(one.num_runs)), PageCell(one.reached), *blank]
        for role in (BASELINE, TEACHER)
        for one in beside(students, role, metric)
    ]
    return PageTable(columns, found, below)


def costs(arms: pd.DataFrame, metric: str = TEST_ACCURACY_TOP1) -> PageTable:
    """Means over seeds of fidelity, calibration and cost, those that some arm has."""
    shown = known_costs(arms)
    columns = [Column("arm", numeric=False), *(Column(cost.name, cost.note) for cost in shown)]
    found = [[_word(arm["arm"]), *(_number(arm[cost.key]) for cost in shown)] for arm in cells_of(arms, metric)]
    return PageTable(columns, found)


def _gain(arm: Mapping[str, Cell], prefix: str) -> Iterator[PageCell]:
    """The difference, and the verdict, which is sorted by its p."""
    mean, p, wins, verdict = (arm[f"{prefix}_{name}"] for name in ("mean", "p", "wins", "verdict"))
    yield _number(mean, small=arm[f"{prefix}_interval"])
    if mean.text == DASH:
        yield PageCell(DASH)
    else:
        small = f"{p_in_words(p.value)}, {wins.text}"
        yield PageCell(verdict.text, _order(p.value), verdict.text.replace(" ", "-"), small)


def _word(cell: Cell) -> PageCell:
    return PageCell(cell.text, cell.text)


def _number(cell: Cell, small: Cell | None = None) -> PageCell:
    return PageCell(cell.text, _order(cell.value), small=small.text if small and small.text != DASH else "")


def _order(value: object) -> str:
    found = number(value)
    return repr(found) if math.isfinite(found) else ""
