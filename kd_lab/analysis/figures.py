"""Figures of finished runs. Each function returns a matplotlib Figure and touches no global state of pyplot.

Colours: Okabe and Ito (2008), told apart by the colour-blind; every role also has its own marker.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.runs import column
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, STUDENT, TEACHER, TEST_ACCURACY_TOP1, TEST_AGREEMENT_TOP1, TEST_ECE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Style(NamedTuple):
    """How the dots of one group look."""

    color: str
    marker: str


COLOURS = {TEACHER: "#E69F00", BASELINE: "#666666", STUDENT: "#0072B2"}
MARKERS = {TEACHER: "s", BASELINE: "o", STUDENT: "D"}
SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"]  # students, by loss
SERIES_MARKERS = ["D", "^", "v", "P", "X", "*"]
CLIMB = (BASELINE, STUDENT, TEACHER)  # the order on the axis: what the student gained, and what was left to gain
MAX_NUMBERED = 20  # from this many classes on, numbers in the cells of a confusion matrix cannot be read


def confusion_matrix(counts: np.ndarray, title: str) -> Figure:
    """How often each true class was predicted as which; colour is the share of the true class, numbers are counts.

    Args:
        counts: [K, K] int, rows true, columns predicted.
        title: above the figure.
    """
    classes = len(counts)
    totals = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(totals, 1)
    size = min(10.0, max(4.0, 0.48 * classes + 1.5))
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    if classes <= MAX_NUMBERED:
        axes.set(xticks=range(classes), yticks=range(classes))
        for (row, col), count in np.ndenumerate(counts):
            if count:
                ink = "white" if share[row, col] > 0.5 else "black"
                axes.text(col, row, str(int(count)), ha="center", va="center", color=ink, fontsize=8)
    return figure


def reliability(counts: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, ece: float, title: str) -> Figure:
    """Is a network right as often as it says? Accuracy in each bin of confidence, and how full the bins are.

    Args:
        counts: [bins] samples; the bins are of equal width over 0..1.
        confidence: [bins] mean confidence, a fraction; not looked at where a bin is empty.
        accuracy: [bins] share of right answers, a fraction; not looked at where a bin is empty.
        ece: the expected calibration error, a fraction.
        title: above the figure.
    """
    edges = np.linspace(0, 1, len(counts) + 1)
    filled = counts > 0
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfectly calibrated")
    width = edges[1] - edges[0]
    left = edges[:-1][filled]
    style = {"align": "edge", "edgecolor": "white", "color": COLOURS[STUDENT]}
    upper.bar(left, accuracy[filled], width, label="accuracy in the bin", **style)
    upper.plot(confidence[filled], accuracy[filled], "o", color="#D55E00", markersize=5, label="at the mean confidence")
    upper.set(title=f"{title}\nECE {ece:.3f} ({len(counts)} bins)", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="upper left", frameon=False)
    lower.bar(left, counts[filled] / max(counts.sum(), 1), width, **style)
    lower.set(xlabel="confidence (largest predicted probability)", ylabel="share")
    return figure


def accuracy_by_role(pairs: pd.DataFrame) -> Figure:
    """Test accuracy of baseline, student and teacher, one panel per loss; a line joins the networks of one seed.

    Args:
        pairs: what `kd_lab.analysis.runs.pairs` returned.

    Raises:
        UserError: no student has an accuracy.
    """
    names = [column(role, TEST_ACCURACY_TOP1) for role in CLIMB]
    of_student = column(STUDENT, TEST_ACCURACY_TOP1)
    if of_student not in pairs or pairs[of_student].isna().all():
        raise UserError(f"No student among these runs has {TEST_ACCURACY_TOP1}; are the runs finished?")
    panels = list(pairs[pairs[of_student].notna()].groupby(["dataset", "network", "loss"], dropna=False))
    figure = Figure(figsize=(0.8 + 3.4 * len(panels), 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, ((dataset, network, loss), group) in zip(row, panels, strict=True):
        percent = 100 * group[names].to_numpy(dtype=np.float64)
        for values in percent:
            seen = ~np.isnan(values)
            axes.plot(np.arange(3)[seen], values[seen], color="#BBBBBB", linewidth=1, zorder=1)
        for position, role in enumerate(CLIMB):
            _dots(axes, position, percent[:, position], Style(COLOURS[role], MARKERS[role]))
        axes.set(title=f"{dataset}: {network}, {loss}", xlim=(-0.4, 2.5), xticks=range(3), xticklabels=CLIMB)
        axes.grid(axis="y", alpha=0.3)
    row[0].set_ylabel("test accuracy (%)")
    row[-1].plot([], [], "_", color="black", markersize=12, label="mean")
    row[-1].legend(frameon=False, loc="best")
    return figure


def fidelity_and_calibration(frame: pd.DataFrame) -> Figure:
    """Left: does agreeing with the teacher go with being right? Right: whose confidence can be trusted?

    Args:
        frame: what `kd_lab.analysis.runs.runs` returned.

    Raises:
        UserError: no run has an accuracy.
    """
    if TEST_ACCURACY_TOP1 not in frame or frame[TEST_ACCURACY_TOP1].isna().all():
        raise UserError(f"None of these runs has {TEST_ACCURACY_TOP1}; are the runs finished?")
    frame = frame[frame[TEST_ACCURACY_TOP1].notna()]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    groups = _groups(frame)
    for name, group, style in groups:
        if name != TEACHER:
            agreement, right_answers = 100 * _of(group, TEST_AGREEMENT_TOP1), 100 * _of(group, TEST_ACCURACY_TOP1)
            left.scatter(agreement, right_answers, label=name, **style._asdict())
    left.set(title="Fidelity", xlabel="agreement with the teacher (%)", ylabel="test accuracy (%)")
    left.grid(alpha=0.3)
    left.legend(frameon=False)
    for position, (_, group, style) in enumerate(groups):
        _dots(right, position, _of(group, TEST_ECE), style)
    right.set(title="Calibration", ylabel="expected calibration error (0 is best)", xticks=range(len(groups)))
    right.set_xticklabels([name.replace(": ", ":\n") for name, _, _ in groups])
    right.set_xlim(-0.5, len(groups) - 0.5)
    right.set_ylim(0, 1.05 * right.get_ylim()[1])
    right.grid(axis="y", alpha=0.3)
    return figure


def _groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame, Style]]:
    """Teachers, baselines and the students of each loss, with name and style; roles without a run are left out."""
    groups = []
    for role in (TEACHER, BASELINE):
        rows = frame[frame["role"] == role]
        if len(rows):
            groups.append((role, rows, Style(COLOURS[role], MARKERS[role])))
    for number, (loss, rows) in enumerate(frame[frame["role"] == STUDENT].groupby("loss")):
        style = Style(SERIES[number % len(SERIES)], SERIES_MARKERS[number % len(SERIES_MARKERS)])
        groups.append((f"{STUDENT}: {loss}", rows, style))
    return groups


def _of(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """The values of a metric, NaN where no run has it."""
    values: pd.Series = rows[metric] if metric in rows else pd.Series(np.nan, rows.index)
    return np.asarray(values, dtype=np.float64)


def _dots(axes: "Axes", position: int, values: np.ndarray, style: Style) -> None:
    """All values at one place, their mean as a bar beside them."""
    values = values[~np.isnan(values)]
    if not values.size:
        return
    places = np.full(values.size, position)
    axes.scatter(places, values, s=30, alpha=0.8, zorder=2, **style._asdict())
    mean = values.mean()
    axes.plot([position + 0.1, position + 0.3], [mean, mean], color="black", linewidth=2, zorder=3)
