"""What one arm learned beside its student: a panel for weights, one for temperatures, and so on."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import OTHERS, plain, series_style
from kd_lab.errors import UserError

KINDS = ("weight", "temperature", "gate", "probability", "share", "variance")
"""What a reading may be called; each kind has a panel, with a scale of its own."""
MAX_LINES = 9
"""So many of a panel, those that end highest, have names."""
COLUMNS = 2


def learned_curves(curves: pd.DataFrame) -> Figure:
    """Each reading over the optimizer steps; the line is the mean over runs, the band one sample standard deviation.

    Args:
        curves: the columns run_id, reading, step, value; the runs of one arm, its seeds.

    Raises:
        UserError: nothing has two points.
    """
    lines = {str(name): line for name, rows in curves.groupby("reading") if len(line := _over_seeds(rows)) > 1}
    if not lines:
        raise UserError("Nothing that these runs learned was logged twice; there is no curve to draw.")
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    for name, line in lines.items():
        panels.setdefault(_kind(name), {})[name] = line
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns + (1.4 if columns == 1 else 0), 4.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (kind, found) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, kind, found)
    return figure


def _kind(reading: str) -> str:
    words = [word for word in reading.split("_") if word in KINDS]
    return words[-1] if words else reading


def _over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample sd at each step that all of these runs reached; sd 0 of a single one."""
    rows = rows[np.isfinite(rows["value"])]
    found = rows.groupby("step")["value"].agg(["mean", "std", "count"]).fillna({"std": 0.0})
    return found[found["count"] == rows["run_id"].nunique()]


def _draw(axes: Axes, kind: str, lines: dict[str, pd.DataFrame]) -> None:
    ranked = sorted(lines, key=lambda name: -float(lines[name]["mean"].iloc[-1]))
    for number, name in enumerate(ranked):
        line, is_named = lines[name], number < MAX_LINES
        style = series_style(number) if is_named else OTHERS
        label = plain(name, 24) if is_named else f"{len(ranked) - MAX_LINES} others" if number == MAX_LINES else None
        steps, mean = line.index, line["mean"]
        axes.fill_between(steps, mean - line["std"], mean + line["std"], color=style.color, alpha=0.15, linewidth=0)
        every = max(1, len(steps) // 6)
        axes.plot(
            steps, mean, color=style.color, marker=style.marker, markevery=every, markersize=4, linewidth=1, label=label
        )
    axes.set(xlabel="optimizer step", ylabel=kind.replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, fontsize=8)
