"""What a network's answers cost, and what agreeing with the teacher is worth: accuracy against another number."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kd_lab.analysis.columns import each_run, of_role
from kd_lab.analysis.figures.style import (
    OTHERS,
    ROLE_STYLES,
    Style,
    arm_styles,
    label_of,
    legend_below,
    mean_and_sd,
    plain,
)
from kd_lab.errors import UserError
from kd_lab.names import (
    BASELINE,
    COST_LATENCY_MS_P50,
    COST_MACS,
    COST_PARAMS_TOTAL,
    STUDENT,
    TEACHER,
    TEST_ACCURACY_TOP1,
    TEST_AGREEMENT_TOP1,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = {
    COST_PARAMS_TOTAL: "parameters",
    COST_MACS: "multiply-accumulates per sample",
    COST_LATENCY_MS_P50: "latency of one sample, median (ms)",
}
LOG_FROM_RATIO = 4
MANY_DECADES = 1e3


Group = tuple[str, str, Style, pd.DataFrame]
"""Networks of one kind: role, label, look, and the rows of the table of `pairs` that have them."""


class Point(NamedTuple):
    """One kind of network: mean and sample sd over its runs of a number (x) and of accuracy in % (y)."""

    role: str
    label: str
    style: Style
    x: float
    x_sd: float
    y: float
    y_sd: float


def accuracy_against(students: pd.DataFrame, cost: str = COST_PARAMS_TOTAL) -> Figure:
    """Test accuracy against a cost, one panel per dataset; a line joins the networks that none beats in both.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.
        cost: a key of COSTS.

    Raises:
        UserError: all students cost the same, so that there is nothing to trade.
    """
    panels = {dataset: _points(rows, cost) for dataset, rows in students.groupby("dataset")}
    panels = {dataset: points for dataset, points in panels.items() if _num_places(points) > 1}
    if not panels:
        raise UserError(f"These students do not differ in {cost}; expected students of several sizes.")
    figure = Figure(figsize=(0.6 + 6.0 * len(panels), 5.2), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (dataset, points) in zip(row, panels.items(), strict=True):
        _draw(axes, points)
        best = front(np.array([point.x for point in points]), np.array([point.y for point in points]))
        x = [point.x for point in points]
        # To the right the front goes on: who may spend more still has the best of them.
        steps = [*(points[i].x for i in best), max(x)], [*(points[i].y for i in best), points[best[-1]].y]
        look: dict[str, Any] = {"where": "post", "color": "black", "linewidth": 1, "linestyle": ":", "zorder": 1}
        axes.step(*steps, **look, label="Pareto front of the means")
        if max(x) > LOG_FROM_RATIO * min(x) > 0:
            log_axis(axes, max(x) / min(x))
        axes.set(xlabel=COSTS[cost], title=plain(dataset))
    row[0].set_ylabel("test accuracy (%)")
    legend_below(figure, row)
    return figure


def accuracy_against_agreement(students: pd.DataFrame) -> Figure:
    """Does agreeing with the teacher go with being right? One panel per dataset; the line is the teacher's accuracy.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.

    Raises:
        UserError: there are not two networks that have a teacher.
    """
    panels = {dataset: _points(rows, TEST_AGREEMENT_TOP1, 100) for dataset, rows in students.groupby("dataset")}
    panels = {dataset: points for dataset, points in panels.items() if _num_places(points) > 1}
    if not panels:
        raise UserError("There are not two networks among these runs that were compared with a teacher.")
    figure = Figure(figsize=(0.6 + 6.0 * len(panels), 5.2), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (dataset, points) in zip(row, panels.items(), strict=True):
        _draw(axes, points)
        teacher = of_role(each_run(students[students["dataset"] == dataset], TEACHER), TEACHER, TEST_ACCURACY_TOP1)
        if np.isfinite(teacher).any():
            colour = ROLE_STYLES[TEACHER].color
            axes.axhline(100 * np.nanmean(teacher), color=colour, linestyle="--", label="the teacher's accuracy")
        axes.set(xlabel="agreement with the teacher (% of test samples)", title=plain(dataset))
    row[0].set_ylabel("test accuracy (%)")
    legend_below(figure, row)
    return figure


def _num_places(points: list[Point]) -> int:
    """How many places along x there are beside the teacher's."""
    return len({point.x for point in points if point.role != TEACHER})


def front(cost: np.ndarray, accuracy: np.ndarray) -> list[int]:
    """The places of those that no other beats or equals in both, cheapest first; of equals, the first."""
    order = np.lexsort((-accuracy, cost))
    best, found = -np.inf, []
    for place in order:
        if accuracy[place] > best:
            best = accuracy[place]
            found.append(int(place))
    return found


def _points(students: pd.DataFrame, key: str, scale: float = 1) -> list[Point]:
    """Teachers, baselines and arms that have the number; each teacher and baseline run counts once."""
    groups: list[Group] = [
        (TEACHER, plain(f"teacher {name}"), ROLE_STYLES[TEACHER], rows)
        for name, rows in each_run(students, TEACHER).groupby("teacher_network")
    ]
    groups += [
        (BASELINE, "student alone", ROLE_STYLES[BASELINE], rows)
        for name, rows in each_run(students, BASELINE, key).groupby("network")
    ]
    groups += [
        (STUDENT, label_of(arm, style), style, students[students["arm"] == arm])
        for arm, style in arm_styles(students).items()
    ]
    pooled = _same_size(groups, key)
    points = []
    for place, (role, label, style, rows) in enumerate(groups):
        x, x_sd = mean_and_sd(scale * pooled[place])
        y, y_sd = mean_and_sd(100 * of_role(rows, role, TEST_ACCURACY_TOP1))
        if np.isfinite([x, y]).all():
            points.append(Point(role, label, style, x, x_sd, y, y_sd))
    return points


def _same_size(groups: list[Group], key: str) -> list[np.ndarray]:
    """Each group's values of `key`; latencies are those of all networks of that size, which differ only by noise."""
    found = [of_role(rows, role, key) for role, _, _, rows in groups]
    if key != COST_LATENCY_MS_P50:
        return found
    sizes = [
        tuple(mean_and_sd(of_role(rows, role, size))[0] for size in (COST_PARAMS_TOTAL, COST_MACS))
        for role, _, _, rows in groups
    ]
    return [
        np.concatenate([found[j] for j in range(len(groups)) if sizes[j] == size or j == i])
        for i, size in enumerate(sizes)
    ]


def log_axis(axes: "Axes", ratio: float) -> None:
    """A logarithmic axis with numbers that can be read aloud: 2k, 0.05."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < MANY_DECADES else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _draw(axes: "Axes", points: list[Point]) -> None:
    told = set()
    for point in points:
        behind = point.style is OTHERS
        # Pooled latencies are one measurement, however many arms share it: one bar tells its spread.
        x_sd = None if (point.x, point.x_sd) in told else point.x_sd or None
        told.add((point.x, point.x_sd))
        color, place = point.style.color, (point.x, point.y)
        bars: dict[str, Any] = {"elinewidth": 1, "capsize": 2, "fmt": "none", "zorder": 2}
        axes.errorbar(*place, point.y_sd or None, x_sd, ecolor=color, **bars)
        axes.scatter(*place, s=50, c=color, marker=point.style.marker, label=point.label, zorder=2 if behind else 3)
    axes.grid(alpha=0.3)
    axes.margins(0.08)
