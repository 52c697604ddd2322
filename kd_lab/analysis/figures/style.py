"""How figures look, the same in all of them.

Colours: Okabe and Ito (2008), told apart by the colour-blind; whatever has a colour also has its own marker.
"""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from kd_lab.analysis.columns import of_role
from kd_lab.names import BASELINE, STUDENT, TEACHER, TEST_ACCURACY_TOP1
from kd_lab.outside.text import visible

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Style(NamedTuple):
    """How the dots of one group look."""

    color: str
    marker: str


COLOURS = {TEACHER: "#E69F00", BASELINE: "#777777", STUDENT: "#0072B2"}
MARKERS = {TEACHER: "s", BASELINE: "o", STUDENT: "D"}
ROLE_STYLES = {role: Style(COLOURS[role], MARKERS[role]) for role in COLOURS}
SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"]  # students
SERIES_MARKERS = ["D", "^", "v", "P", "X", "*"]
ON_LIGHT, ON_DARK = "#111111", "#ffffff"
"""Ink on a filled cell. Not pure black: that a page on a dark screen turns light."""
LABEL_WIDTH = 34
SHOWN = 12
OTHERS = Style("#BBBBBB", ".")
OTHERS_LABEL = "other students"


def series_style(number: int) -> Style:
    """The look of the n-th series; 36 differ in colour or marker."""
    size = len(SERIES)
    return Style(SERIES[number % size], SERIES_MARKERS[(number + number // size) % size])


def arm_styles(students: pd.DataFrame) -> dict[str, Style]:
    """The look of each arm, the same in every figure: the SHOWN most accurate have their own, the others are dots."""
    accuracy = pd.Series(of_role(students, STUDENT, TEST_ACCURACY_TOP1), students.index)
    ranked = accuracy.groupby(students["arm"]).mean().sort_values(ascending=False, kind="stable").index
    return {arm: series_style(n) if n < SHOWN or len(ranked) <= SHOWN else OTHERS for n, arm in enumerate(ranked)}


def label_of(arm: str, style: Style) -> str:
    """What the legend calls an arm."""
    return OTHERS_LABEL if style is OTHERS else plain(arm)


def plain(text: object, width: int = LABEL_WIDTH) -> str:
    """A text from a user as a label: no mathematics, no line longer than `width`, never ignored by a legend."""
    lines = textwrap.wrap(visible(str(text)), width, break_long_words=True) or [" "]
    told = "\n".join(lines).replace("$", r"\$")
    return f" {told}" if told.startswith("_") else told


def mean_and_sd(found: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation of what is not NaN; the latter 0 for a single value, both NaN for none."""
    found = found[~np.isnan(found)]
    if not found.size:
        return float("nan"), float("nan")
    return float(found.mean()), float(found.std(ddof=1)) if found.size > 1 else 0.0


def legend_below(figure: "Figure", axes: Iterable["Axes"], columns: int = 3) -> None:
    """One legend under all panels, each label once."""
    found: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def dots(axes: "Axes", position: float, found: np.ndarray, style: Style) -> None:
    """All values at one place, their mean as a bar beside them."""
    found = found[~np.isnan(found)]
    if not found.size:
        return
    axes.scatter(np.full(found.size, position), found, s=30, alpha=0.8, zorder=2, **style._asdict())
    mean = found.mean()
    axes.plot([position + 0.1, position + 0.3], [mean, mean], color="black", linewidth=2, zorder=3)
