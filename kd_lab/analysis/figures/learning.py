"""The course of training: mean and range over the seeds of each arm."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import ROLE_STYLES, arm_styles, legend_below, plain
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, TRAIN_LOSS_TOTAL, VAL_ACCURACY_TOP1, VAL_NLL_NATS

LABELS = {
    VAL_ACCURACY_TOP1: ("validation accuracy (%)", 100.0),
    VAL_NLL_NATS: ("validation NLL (nats)", 1.0),
    TRAIN_LOSS_TOTAL: ("training loss, all terms", 1.0),
}
MAX_LINES = 6
LOG_FROM_RATIO = 5


def learning_curves(curves: pd.DataFrame, students: pd.DataFrame, key: str = VAL_ACCURACY_TOP1) -> Figure:
    """A metric over the optimizer steps; the line is the mean over seeds, the band goes from the lowest to the highest.

    Of many arms the six most accurate on the test part are drawn, and the student alone where all are one network.

    Args:
        curves: what `kd_lab.analysis.curves.curves` returned for this metric.
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.
        key: which metric `curves` holds.

    Raises:
        UserError: none of these students has two points.
    """
    shown = shown_students(students)
    styles = {arm: style for arm, style in arm_styles(students).items() if arm in set(shown["arm"])}
    lines = {arm: _over_seeds(curves, shown.loc[shown["arm"] == arm, "student_run"]) for arm in styles}
    lines = {arm: line for arm, line in lines.items() if len(line) > 1}
    if not lines:
        raise UserError(f"No student among these runs has logged {key} twice; there is no curve to draw.")
    label, scale = LABELS.get(key, (key, 1.0))
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.subplots()
    looks = [(plain(arm), styles[arm], line) for arm, line in lines.items()]
    if key != TRAIN_LOSS_TOTAL and shown["network"].nunique() == 1:  # the baseline's loss is a sum of other terms
        alone = _over_seeds(curves, shown["baseline_run"].dropna())
        looks += [("student alone", ROLE_STYLES[BASELINE], alone)] if len(alone) else []
    for name, style, line in looks:
        steps, low, mean, high = (line.index, *(scale * line[part] for part in ("min", "mean", "max")))
        axes.fill_between(steps, low, high, color=style.color, alpha=0.15, linewidth=0)
        every = max(1, len(steps) // 8)
        axes.plot(steps, mean, color=style.color, marker=style.marker, markevery=every, markersize=5, label=name)
    axes.set(xlabel="optimizer step", ylabel=label)
    axes.grid(alpha=0.3)
    if key == TRAIN_LOSS_TOTAL and _spans(lines) > LOG_FROM_RATIO:
        axes.set_yscale("log")
    legend_below(figure, [axes], columns=2)
    return figure


def shown_students(students: pd.DataFrame) -> pd.DataFrame:
    """The students of the arms that `learning_curves` draws: only their curves are worth reading."""
    return students[students["arm"].isin(list(arm_styles(students))[:MAX_LINES])]


def _spans(lines: Mapping[str, pd.DataFrame]) -> float:
    """How many times larger the last mean of one line is than that of another; 1 where one is not above zero."""
    ends = [float(line["mean"].iloc[-1]) for line in lines.values()]
    return max(ends) / min(ends) if min(float(line["min"].min()) for line in lines.values()) > 0 else 1.0


def _over_seeds(curves: pd.DataFrame, run_ids: pd.Series) -> pd.DataFrame:
    """Min, mean and max at each step that all of these runs reached; a mean over other seeds would jump."""
    rows = curves[curves["run_id"].isin(run_ids) & np.isfinite(curves["value"])]
    found = rows.groupby("step")["value"].agg(["min", "mean", "max", "count"])
    return found[found["count"] == rows["run_id"].nunique()]
