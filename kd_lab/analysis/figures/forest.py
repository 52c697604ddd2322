"""Paired differences of all arms, each with its interval and its verdict."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import plain, values
from kd_lab.analysis.statistics import BETTER, WORSE
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import number, told_p
from kd_lab.errors import UserError
from kd_lab.names import HIGHER_IS_BETTER, TEST_ACCURACY_TOP1

TO = {"baseline": "the student alone", "kd": "plain kd"}
LOOKS = {BETTER: ("#0072B2", "D", "full"), WORSE: ("#D55E00", "v", "full")}
UNKNOWN = ("#777777", "o", "none")


def forest(arms: pd.DataFrame, to: str = "baseline", metric: str = TEST_ACCURACY_TOP1) -> Figure:
    """Mean paired difference to the student alone or to plain kd with its 95% interval, the best arm at the top.

    Filled signs are differences that the test found, hollow ones those that it could not tell from none.

    Args:
        arms: `Comparison.arms`.
        to: `baseline` or `kd`.
        metric: `Comparison.metric`.

    Raises:
        UserError: no arm can be compared with it.
    """
    start = f"to_{to}_"
    table = arms[np.isfinite(values(arms, f"{start}mean"))]
    if table.empty:
        raise UserError(f"No arm can be compared with {TO[to]}; expected runs of the same seeds.")
    unit = Unit(metric)
    table = table.sort_values(f"{start}mean", ascending=metric in HIGHER_IS_BETTER, kind="stable")
    names = [plain(arm, 30) for arm in table["arm"]]
    lines = sum(max(2, name.count("\n") + 1) for name in names)
    figure = Figure(figsize=(7.4, 1.2 + 0.21 * lines), layout="constrained")
    axes = figure.subplots()
    for place, (_, row) in enumerate(table.iterrows()):
        colour, marker, fill = LOOKS.get(row[f"{start}verdict"], UNKNOWN)
        mean, low, high = (unit.scale * float(row[start + part]) for part in ("mean", "low", "high"))
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(mean, place, marker, color=colour, fillstyle=fill, markersize=8, markeredgewidth=1.5)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(table)), names, fontsize=8)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xlabel(f"{unit.name}: difference to {TO[to]}" + (" (points)" if unit.of_difference else ""))
    axes.grid(axis="x", alpha=0.3)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(table)), [told(row, start) for _, row in table.iterrows()], fontsize=8)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def told(row: pd.Series, start: str) -> str:
    """`better`, and below it `p 0.004, 5/5`."""
    wins, pairs = (number(row[start + name]) for name in ("wins", "pairs"))
    return f"{row[f'{start}verdict']}\n{told_p(row[f'{start}p_holm'])}, {wins:.0f}/{pairs:.0f}"
