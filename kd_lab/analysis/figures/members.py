"""What the members of a population were trained with, and what they reached, over the steps of the training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import legend_below, plain, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FROM_RATIO = 5
BEST = "the network of the best member"


def members_figure(table: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """A panel for each column: a thin line for each member, a thick one for the network that is best in the end.

    Args:
        table: one row per member and round, with `round`, `member`, `until_step` and `of_best`.
        columns: what is drawn; all but the last are what a member was trained with in a round, the last one is what it
            had reached at the end of it.
    """
    figure = Figure(figsize=(7, 2.2 * len(columns) + 0.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0])
    for column, axes in zip(columns, panels, strict=True):
        held = column != columns[-1]
        for number, (member, rows) in enumerate(table.groupby("member")):
            style = series_style(number)
            _line(axes, rows, column, held=held, color=style.color, linewidth=1, alpha=0.7, label=f"member {member}")
        best = table[table["of_best"]]
        if len(best):
            _line(axes, best, column, held=held, color="black", linewidth=3, alpha=0.6, label=BEST)
        axes.set_ylabel(plain(column, 24), fontsize=8)
        axes.grid(alpha=0.3)
        if held and 0 < table[column].min() * LOG_FROM_RATIO < table[column].max():
            axes.set_yscale("log")
    panels[-1].set_xlabel("optimizer step")
    legend_below(figure, panels, columns=4)
    return figure


def _line(
    axes: "Axes", rows: pd.DataFrame, column: str, *, held: bool, color: str, linewidth: float, alpha: float, label: str
) -> None:
    rows = rows.sort_values("round")
    steps, values = list(rows["until_step"]), list(rows[column])
    if held:  # from the end of the round before on
        axes.step([0, *steps], [values[0], *values], where="pre", color=color, lw=linewidth, alpha=alpha, label=label)
    else:
        axes.plot(steps, values, color=color, lw=linewidth, alpha=alpha, label=label, marker="o", markersize=3)
