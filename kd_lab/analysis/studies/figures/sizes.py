"""Students of several sizes beside the same ones alone, and what distilling gained at each size."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.columns import of_role
from kd_lab.analysis.figures.style import ROLE_STYLES, legend_below, mean_and_sd, plain, series_style
from kd_lab.analysis.figures.trade_off import COSTS, log_axis
from kd_lab.analysis.studies.sizes import by_size
from kd_lab.names import BASELINE, COST_PARAMS_TOTAL, TEACHER, TEST_ACCURACY_TOP1


def gain_by_size(students: pd.DataFrame, cost: str = COST_PARAMS_TOTAL) -> Figure:
    """Left: accuracy alone and distilled, the teacher as a line. Right: the paired gain with its 95% interval.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.
        cost: a key of `kd_lab.analysis.figures.trade_off.COSTS`.

    Raises:
        UserError: the students are all of one size.
    """
    found = by_size(students, cost)
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    bars: dict[str, Any] = {"capsize": 3, "elinewidth": 1, "linewidth": 1.5}
    alone = found.drop_duplicates("network")
    style = ROLE_STYLES[BASELINE]
    look: dict[str, Any] = {"color": style.color, "marker": style.marker}
    left.errorbar(alone["cost"], alone["alone"], alone["alone_sd"].fillna(0), label="student alone", **look, **bars)
    for number, (loss, rows) in enumerate(found.groupby("loss")):
        style = series_style(number)
        look = {"color": style.color, "marker": style.marker, "label": plain(loss)}
        left.errorbar(rows["cost"], rows["taught"], rows["taught_sd"].fillna(0), **look, **bars)
        ends = np.array([rows["gain"] - rows["gain_low"], rows["gain_high"] - rows["gain"]])
        right.errorbar(rows["cost"], rows["gain"], np.nan_to_num(ends), **look, **bars)
    taught = of_role(students.drop_duplicates("teacher_run"), TEACHER, TEST_ACCURACY_TOP1)
    teacher = 100 * mean_and_sd(taught)[0]
    if np.isfinite(teacher):
        left.axhline(teacher, color=ROLE_STYLES[TEACHER].color, linestyle="--", label="the teacher's accuracy")
    right.axhline(0, color="black", linewidth=1)
    left.set(title="Accuracy", ylabel="test accuracy (%)")
    right.set(title="Gain over the same student alone", ylabel="points, mean over seeds")
    for axes in (left, right):
        log_axis(axes, found["cost"].max() / found["cost"].min())
        axes.set_xlabel(COSTS[cost])
        axes.grid(alpha=0.3)
    legend_below(figure, [left], 4)
    return figure
