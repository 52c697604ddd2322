"""Paired differences of all arms, each with its interval and its verdict."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.columns import values
from kd_lab.analysis.figures.style import plain
from kd_lab.analysis.references import PLAIN_KD
from kd_lab.analysis.statistics import BETTER, WORSE
from kd_lab.analysis.unit import Unit
from kd_lab.analysis.wording import number, p_in_words
from kd_lab.errors import UserError
from kd_lab.names import HIGHER_IS_BETTER, TEST_ACCURACY_TOP1

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALONE = "the student alone"
LOOKS = {BETTER: ("#0072B2", "D", "full"), WORSE: ("#D55E00", "v", "full")}
UNKNOWN = ("#777777", "o", "none")
MAX_ARMS = 60


def forest(
    arms: pd.DataFrame, to: str = "baseline", metric: str = TEST_ACCURACY_TOP1, reference: str = PLAIN_KD
) -> Figure:
    """Mean paired difference to the student alone or to plain kd with its 95% interval, the best arm at the top.

    Filled signs are differences that the test found, hollow ones those that it could not tell from none.

    Args:
        arms: `Comparison.arms`.
        to: `baseline` or `kd`.
        metric: `Comparison.metric`.
        reference: `Comparison.reference`.

    Raises:
        UserError: no arm can be compared with it.
    """
    start, unit, other = f"to_{to}_", Unit(metric), reference if to == "kd" else ALONE
    known = arms[np.isfinite(values(arms, f"{start}mean"))]
    if known.empty:
        raise UserError(f"No arm can be compared with {other}; expected runs of the same seeds.")
    known = known.sort_values(f"{start}mean", ascending=metric in HIGHER_IS_BETTER, kind="stable")
    table = known.tail(MAX_ARMS)
    names = [plain(arm, 30) for arm in table["arm"]]
    lines = np.array([max(2, name.count("\n") + 1) for name in names])
    places = lines.cumsum() - lines / 2  # each arm has as much height as its name
    figure = Figure(figsize=(7.4, 1.2 + 0.2 * lines.sum()), layout="constrained")
    axes = figure.subplots()
    for place, (_, row) in zip(places, table.iterrows(), strict=True):
        _draw(axes, place, row, start, unit.scale)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(0, lines.sum())
    label = plain(f"{unit.name}: difference to {other}", 80)
    axes.set_xlabel(label + (" (points)" if unit.of_difference else ""))
    if len(table) < len(known):
        axes.set_title(f"the best {len(table)} of {len(known)} arms")
    axes.grid(axis="x", alpha=0.3)
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, [verdict_label(row, start) for _, row in table.iterrows()], fontsize=8)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw(axes: "Axes", place: float, row: pd.Series, start: str, scale: float) -> None:
    """The sign and the interval of one arm."""
    colour, marker, fill = LOOKS.get(row[f"{start}verdict"], UNKNOWN)
    mean, low, high = (scale * number(row[start + part]) for part in ("mean", "low", "high"))
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot(mean, place, marker, color=colour, fillstyle=fill, markersize=8, markeredgewidth=1.5)


def verdict_label(row: pd.Series, start: str) -> str:
    """`better`, and below it `p 0.004, 5/5`."""
    wins, pairs = (number(row[start + name]) for name in ("wins", "pairs"))
    return f"{row[f'{start}verdict']}\n{p_in_words(row[f'{start}p_holm'])}, {wins:.0f}/{pairs:.0f}"
