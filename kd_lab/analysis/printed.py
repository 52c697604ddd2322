"""Comparisons as text: three tables each for a terminal, whatever its width, and the same in Markdown."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from kd_lab import names
from kd_lab.analysis.cells import Cell, beside, cells_of, known_costs
from kd_lab.analysis.comparison import Comparison, Comparisons
from kd_lab.analysis.headline import headline
from kd_lab.analysis.layout import TextTable, drawn
from kd_lab.analysis.published import COLUMN
from kd_lab.analysis.unit import Unit
from kd_lab.names import BASELINE, TEACHER
from kd_lab.outside.console import PlainConsole
from kd_lab.outside.text import cell, line
from kd_lab.outside.text import markdown as safe

MAX_ROWS = 40
"""So many arms are printed; files have all of them."""
MAX_BESIDE = 6

GAIN = {"mean": "gain", "interval": "95% interval", "p": "p", "wilcoxon": "W", "wins": "wins", "verdict": "verdict"}
"""The cells of a difference, and what they are called."""

TITLES = {names.TEST_ACCURACY_TOP1: "accuracy on the test part"}

LEGEND = (
    "Intervals: t, of each arm by itself. p: paired t-test, corrected after Holm over the arms; W: Wilcoxon, not "
    "corrected; a verdict is p < 0.05."
)


Cells = list[dict[str, Cell]]


def tables(comparison: Comparison) -> list[TextTable]:
    """First the metric and what was gained over the student alone, then over plain kd, then all else."""
    head, arms = _short(comparison.arms)
    cells = cells_of(arms, comparison.metric)
    found = [_results(comparison, head, cells), _to_kd(comparison, head, cells), _rest(comparison, head, cells)]
    return [table for table in found if table.rows]


def show(comparisons: Comparisons, console: PlainConsole, study: str) -> None:
    """Print the tables, the answer in words, and the notes, of one group after the other."""
    for note in comparisons.notes:
        console.print(note)
    for comparison in comparisons.each:
        _show(comparison, console, _called(study, comparison))
        for note in _notes(comparisons, comparison):
            console.print(f"- {note}")
    if len(comparisons.each) > 1:
        console.print(f"\n{LEGEND}")


def markdown(comparisons: Comparisons, study: str, most: int | None = None) -> str:
    """The answer in words, the tables and the notes; of so many arms, or of all."""
    lines = [text for note in comparisons.notes for text in (line(note), "")]
    for comparison in comparisons.each:
        lines += _markdown(comparison, _called(study, comparison), most)
        lines += [*(line(f"- {note}") for note in _notes(comparisons, comparison)), ""]
    lines += [LEGEND, ""] if len(comparisons.each) > 1 else []
    return safe("\n".join(lines))


def _called(study: str, comparison: Comparison) -> str:
    return ", ".join(filter(None, [study, comparison.name]))


def _notes(comparisons: Comparisons, comparison: Comparison) -> Sequence[str]:
    """The legend is that of all groups, and stands below them where there are several."""
    return comparison.notes if len(comparisons.each) > 1 else [LEGEND, *comparison.notes]


def _show(comparison: Comparison, console: PlainConsole, study: str) -> None:
    for table in tables(replace(comparison, arms=comparison.arms.head(MAX_ROWS))):
        console.print(f"\nstudy {study}: {table.title}", style="bold")
        if table.below:
            console.print(table.below)
        for part in drawn(table, console.width):
            console.print(part)
    hidden = len(comparison.arms) - MAX_ROWS
    if hidden > 0:
        console.print(f"And {hidden} more arms; --out DIR writes all of them.\n")
    for answer in headline(comparison.arms, comparison.metric, comparison.reference):
        console.print(f"{answer}\n", style="bold")


def _markdown(comparison: Comparison, study: str, most: int | None) -> list[str]:
    answers = headline(comparison.arms, comparison.metric, comparison.reference)
    shown = comparison.arms.head(most or len(comparison.arms))
    lines = [text for answer in answers for text in (line(answer), "")]
    for table in tables(replace(comparison, arms=shown)):
        lines += [line(f"**study {study}: {table.title}**"), "", *([line(table.below), ""] if table.below else [])]
        lines += [f"| {' | '.join(map(cell, table.header))} |", f"|{' --- |' * len(table.header)}"]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in table.rows]
        lines.append("")
    hidden = len(comparison.arms) - len(shown)
    return [*lines, *([f"And {hidden} more arms.", ""] if hidden else [])]


def _short(arms: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The heading of the arms, and the arms with short labels: without the network where there is only one."""
    start = f"{arms['network'].iloc[0]} "
    if not arms["arm"].str.startswith(start).all():
        return "arm", arms
    return start.strip(), arms.assign(**{name: arms[name].str.removeprefix(start) for name in ("arm", "kd_arm")})


def _results(comparison: Comparison, head: str, cells: Cells) -> TextTable:
    title = TITLES.get(comparison.metric, comparison.metric)
    found = [one for role in (TEACHER, BASELINE) for one in beside(comparison.students, role, comparison.metric)]
    below = [f"{one.name} {one.reached}" + (f" ({one.num_runs})" if one.num_runs > 1 else "") for one in found]
    more = f"; and {len(below) - MAX_BESIDE} more" if len(below) > MAX_BESIDE else ""
    columns = {"arm": head, "n": "n", "mean": Unit(comparison.metric).symbol, "interval": "95% interval"}
    columns |= {COLUMN: COLUMN} if COLUMN in comparison.arms else {}
    return _table(
        f"{title}, mean ± sample sd over n; gain over the same student alone, paired",
        "; ".join(below[:MAX_BESIDE]) + more,
        columns | {f"to_baseline_{name}": called for name, called in GAIN.items()},
        cells,
        spare={"to_baseline_wilcoxon": "W", "to_baseline_wins": "wins", "interval": "the 95% interval of the mean"},
    )


def _to_kd(comparison: Comparison, head: str, cells: Cells) -> TextTable:
    kd_arms = comparison.arms.loc[comparison.arms["to_kd_pairs"] > 0, "kd_arm"].unique()
    several = len(kd_arms) > 1
    named = several or comparison.reference in kd_arms
    columns = {"arm": head} | ({"kd_arm": comparison.reference} if several else {}) | {"to_kd_pairs": "n"}
    return _table(
        f"gain over {comparison.reference}, paired",
        "" if named else f"compared with {', '.join(kd_arms)}",
        columns | {f"to_kd_{name}": called for name, called in GAIN.items()},
        [arm for arm in cells if arm["to_kd_pairs"].value],
        words=1 + several,
        spare={"to_kd_wilcoxon": "W", "to_kd_wins": "wins"},
    )


def _rest(comparison: Comparison, head: str, cells: Cells) -> TextTable:
    shown = known_costs(comparison.arms)
    return _table(
        "fidelity, calibration, cost (means)",
        "; ".join(cost.told for cost in shown if cost.told),
        {"arm": head} | {cost.key: cost.short for cost in shown},
        cells if shown else [],
    )


def _table(
    title: str,
    below: str,
    columns: dict[str, str],
    cells: Cells,
    *,
    words: int = 1,
    spare: dict[str, str] | None = None,
) -> TextTable:
    """The texts of these cells, below what they are called; columns to spare are called as `spare` says."""
    places = {list(columns).index(name): called for name, called in (spare or {}).items()}
    rows = [[arm[name].text for name in columns] for arm in cells]
    return TextTable(title, below, list(columns.values()), rows, words, places)
