"""A comparison as text: three tables for a terminal of 120 columns, and the same in Markdown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from kd_lab import names
from kd_lab.analysis.columns import column, each_run
from kd_lab.analysis.comparison import Comparison
from kd_lab.analysis.headline import headline
from kd_lab.analysis.statistics import BETTER, WORSE, spread
from kd_lab.analysis.wording import DASH, fixed, number, p_value, percent
from kd_lab.names import BASELINE, TEACHER
from kd_lab.outside.console import PlainConsole
from kd_lab.outside.text import cell, line
from kd_lab.outside.text import markdown as safe

Format = Callable[[Any], str]
MAX_ROWS = 40
"""So many arms are printed; files have all of them."""

FRACTIONS = {
    names.VAL_ACCURACY_TOP1,
    names.TEST_ACCURACY_TOP1,
    names.TEST_ACCURACY_TOP5,
    names.TEST_AGREEMENT_TOP1,
    names.TEST_AGREEMENT_TEACHER_WRONG,
    names.TEST_ECE,
}
"""Told in percent, and their differences in points."""

DIFFERENCE = ["gain", "95% interval", "p", "W", "wins", "verdict"]
COMPARED_WITH = "plain kd"
TITLES = {names.TEST_ACCURACY_TOP1: "accuracy on the test part"}
STYLES = {BETTER: "green", WORSE: "red"}


LEGEND = (
    "Intervals: t for a mean, bootstrap for a paired gain. p: paired t-test, corrected after Holm over the arms; W: "
    "Wilcoxon, not corrected; a verdict is p < 0.05."
)


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
    found = [_results(comparison, head, arms), _to_kd(comparison, head, arms), _rest(head, arms)]
    return [table for table in found if table is not None]


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
    lines = [told for answer in headline(comparison.arms, comparison.metric) for told in (line(answer), "")]
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
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return drawn


def _results(comparison: Comparison, head: str, arms: pd.DataFrame) -> TextTable:
    form, unit = _form(comparison.metric)
    rows = []
    for _, arm in arms.iterrows():
        mean = form(arm["mean"]) + ("" if pd.isna(arm["sd"]) else f" ± {form(arm['sd'])}")
        row = [arm["short"], str(arm["n"]), mean, _interval(arm["low"], arm["high"], form)]
        rows.append([*row, *_difference(arm, "to_baseline", form)])
    title = TITLES.get(comparison.metric, comparison.metric)
    described = "mean ± sample sd over n; gain over the same student alone, paired"
    header = [head, "n", unit, "95% interval", *DIFFERENCE]
    return TextTable(f"{title}, {described}", _references(comparison, form), header, rows)


def _to_kd(comparison: Comparison, head: str, arms: pd.DataFrame) -> TextTable | None:
    form, _ = _form(comparison.metric)
    compared = arms[arms["to_kd_pairs"] > 0]
    if compared.empty:
        return None
    several = compared["kd_arm"].nunique() > 1
    rows = []
    for _, arm in compared.iterrows():
        row = [arm["short"], *([arm["kd_short"]] if several else []), str(int(arm["to_kd_pairs"]))]
        rows.append([*row, *_difference(arm, "to_kd", form)])
    below = "" if several else f"compared with {compared['kd_arm'].iloc[0]}"
    header = [head, *([COMPARED_WITH] if several else []), "n", *DIFFERENCE]
    return TextTable("gain over plain kd, paired", below, header, rows)


def _short(arms: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The heading of the arms, and the arms with short labels: without the network where there is only one."""
    start = f"{arms['network'].iloc[0]} "
    if not arms["arm"].str.startswith(start).all():
        return "arm", arms.assign(short=arms["arm"], kd_short=arms["kd_arm"])
    without = {name: arms[name].str.removeprefix(start) for name in ("arm", "kd_arm")}
    return start.strip(), arms.assign(short=without["arm"], kd_short=without["kd_arm"])


REST: dict[str, tuple[str, Format]] = {
    "gap_recovered": ("gap", fixed),
    "agreement": ("agree, %", percent),
    "kl": ("KL", lambda v: fixed(v, 3)),
    "nll": ("NLL", lambda v: fixed(v, 3)),
    "ece": ("ECE, %", percent),
    "params": ("params", lambda v: fixed(v, 0)),
    "macs": ("MACs", lambda v: fixed(v, 0)),
    "latency": ("ms", lambda v: fixed(v, 3)),
    "train_wall_s": ("train s", lambda v: fixed(v, 1)),
    "samples_per_s": ("samples/s", lambda v: fixed(v, 0)),
    "peak_memory_bytes": ("MiB", lambda v: fixed(v, 0, 2.0**-20)),
    "accuracy_per_hour": ("%/hour", lambda v: fixed(v, 0, 100)),
}
"""By column of `Comparison.arms`: what the last table calls it, and how it writes it."""


def _rest(head: str, arms: pd.DataFrame) -> TextTable | None:
    shown = {name: told for name, told in REST.items() if arms[name].notna().any()}
    if not shown:
        return None
    rows = [[arm["short"], *(form(arm[name]) for name, (_, form) in shown.items())] for _, arm in arms.iterrows()]
    below = "gap: share of the way from alone to the teacher; KL and NLL in nats; ms: latency of one sample, median"
    return TextTable("fidelity, calibration, cost (means)", below, [head, *(told for told, _ in shown.values())], rows)


def _references(comparison: Comparison, form: Format) -> str:
    """The teachers and the students alone, each run once (`each_run`)."""
    told = []
    for role, name in ((TEACHER, "teacher_network"), (BASELINE, "network")):
        key = column(role, comparison.metric)
        known = each_run(comparison.students, role, comparison.metric)
        known = known[known[key].notna()] if key in known else known.iloc[:0]
        for network, rows in known.groupby(name):
            found = spread(rows[key].to_numpy(dtype=float))
            who = f"teacher {network}" if role == TEACHER else f"{str(network).removesuffix(names.PROJECTOR)} alone"
            told.append(f"{who} {form(found.mean)}" + (f" ± {form(found.sd)} ({found.n})" if found.n > 1 else ""))
    return "; ".join(told[:6]) + (f"; and {len(told) - 6} more" if len(told) > 6 else "")


def _difference(arm: pd.Series, prefix: str, form: Format) -> Iterator[str]:
    """Mean, interval, p of the t-test after Holm, p of Wilcoxon, wins of pairs, verdict."""
    pairs = int(arm[f"{prefix}_pairs"])
    yield _signed(arm[f"{prefix}_mean"], form)
    yield _interval(arm[f"{prefix}_low"], arm[f"{prefix}_high"], lambda value: _signed(value, form))
    yield p_value(arm[f"{prefix}_p_holm"])
    yield p_value(arm[f"{prefix}_p_wilcoxon"])
    yield f"{arm[f'{prefix}_wins']}/{pairs}" if pairs else DASH
    yield arm[f"{prefix}_verdict"] or DASH


def _form(metric: str) -> tuple[Format, str]:
    """How a metric is written, and its unit."""
    if metric in FRACTIONS:
        return percent, "%"
    return (lambda value: DASH if pd.isna(value) else f"{value:.4g}"), metric.rsplit("/", 1)[-1]


def _signed(value: Any, form: Format) -> str:
    return form(value) if pd.isna(value) or number(value) < 0 else f"+{form(value)}"


def _interval(low: Any, high: Any, form: Format) -> str:
    return DASH if pd.isna(low) else f"[{form(low)}, {form(high)}]"
