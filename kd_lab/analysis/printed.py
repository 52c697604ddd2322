"""A comparison as text: three tables for a terminal of 120 columns, and the same in Markdown."""

from dataclasses import dataclass, replace

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from kd_lab import names
from kd_lab.analysis.cells import Cell, beside, cells_of, known_costs
from kd_lab.analysis.comparison import Comparison
from kd_lab.analysis.headline import headline
from kd_lab.analysis.statistics import BETTER, WORSE
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

COMPARED_WITH = "plain kd"
TITLES = {names.TEST_ACCURACY_TOP1: "accuracy on the test part"}
STYLES = {BETTER: "green", WORSE: "red"}


LEGEND = (
    "Intervals: t for a mean, bootstrap for a paired gain. p: paired t-test, corrected after Holm over the arms; W: "
    "Wilcoxon, not corrected; a verdict is p < 0.05."
)


Cells = list[dict[str, Cell]]


@dataclass(frozen=True)
class TextTable:
    """A title, a line below it, a header, and rows; the first column holds words, so does a last one called verdict."""

    title: str
    below: str
    header: list[str]
    rows: list[list[str]]


def tables(comparison: Comparison) -> list[TextTable]:
    """First the metric and what was gained over the student alone, then over plain kd, then all else."""
    head, arms = _short(comparison.arms)
    cells = cells_of(arms, comparison.metric)
    found = [_results(comparison, head, cells), _to_kd(comparison, head, cells), _rest(comparison, head, cells)]
    return [table for table in found if table.rows]


def show(comparison: Comparison, console: PlainConsole, study: str) -> None:
    """Print the tables, the answer in words, and the notes."""
    for table in tables(replace(comparison, arms=comparison.arms.head(MAX_ROWS))):
        console.print(f"\nstudy {study}: {table.title}", style="bold")
        if table.below:
            console.print(table.below)
        console.print(_drawn(table))
    hidden = len(comparison.arms) - MAX_ROWS
    if hidden > 0:
        console.print(f"And {hidden} more arms; --out DIR writes all of them.\n")
    for answer in headline(comparison.arms, comparison.metric):
        console.print(f"{answer}\n", style="bold")
    for note in [LEGEND, *comparison.notes]:
        console.print(f"- {note}")


def markdown(comparison: Comparison, study: str, most: int | None = None) -> str:
    """The answer in words, the tables and the notes; of so many arms, or of all."""
    hidden = len(comparison.arms) - len(comparison.arms.head(most or len(comparison.arms)))
    lines = [text for answer in headline(comparison.arms, comparison.metric) for text in (line(answer), "")]
    for table in tables(replace(comparison, arms=comparison.arms.head(len(comparison.arms) - hidden))):
        lines += [line(f"**study {study}: {table.title}**"), "", *([line(table.below), ""] if table.below else [])]
        lines += [f"| {' | '.join(map(cell, table.header))} |", f"|{' --- |' * len(table.header)}"]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in table.rows]
        lines.append("")
    lines += [f"And {hidden} more arms.", ""] if hidden else []
    return safe("\n".join([*lines, *(line(f"- {note}") for note in [LEGEND, *comparison.notes]), ""]))


def _drawn(table: TextTable) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in table.header:
        words = name in (table.header[0], COMPARED_WITH, "verdict")
        minimum = len("distinguishable") if name == "verdict" else None
        drawn.add_column(
            name, justify="left" if words else "right", no_wrap=not words, overflow="fold", min_width=minimum
        )
    for row in table.rows:
        drawn.add_row(*(Text(text, style=STYLES.get(text, "")) for text in row))
    return drawn


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
    return _table(
        f"{title}, mean ± sample sd over n; gain over the same student alone, paired",
        "; ".join(below[:MAX_BESIDE]) + more,
        columns | {f"to_baseline_{name}": called for name, called in GAIN.items()},
        cells,
    )


def _to_kd(comparison: Comparison, head: str, cells: Cells) -> TextTable:
    kd_arms = comparison.arms.loc[comparison.arms["to_kd_pairs"] > 0, "kd_arm"].unique()
    several = len(kd_arms) > 1
    columns = {"arm": head} | ({"kd_arm": COMPARED_WITH} if several else {}) | {"to_kd_pairs": "n"}
    return _table(
        "gain over plain kd, paired",
        "" if several else f"compared with {', '.join(kd_arms)}",
        columns | {f"to_kd_{name}": called for name, called in GAIN.items()},
        [arm for arm in cells if arm["to_kd_pairs"].value],
    )


def _rest(comparison: Comparison, head: str, cells: Cells) -> TextTable:
    shown = known_costs(comparison.arms)
    return _table(
        "fidelity, calibration, cost (means)",
        "gap: share of the way from alone to the teacher; KL and NLL in nats; ms: latency of one sample, median",
        {"arm": head} | {cost.key: cost.short for cost in shown},
        cells if shown else [],
    )


def _table(title: str, below: str, columns: dict[str, str], cells: Cells) -> TextTable:
    """The texts of these cells, below what they are called."""
    return TextTable(title, below, list(columns.values()), [[arm[name].text for name in columns] for arm in cells])
