"""Who is right where a student and its teacher differ: bars over seeds, and pictures of the samples."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kd_lab.analysis.figures.style import ROLE_STYLES, plain
from kd_lab.analysis.studies.disagreement import BOTH_RIGHT, OUTCOMES
from kd_lab.analysis.studies.quality import CALLED
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, STUDENT

COLUMNS = 8


def who_is_right(found: pd.DataFrame, arm: str) -> Figure:
    """How often each outcome but `both right` happens, alone and distilled: means as bars, seeds as dots.

    Args:
        found: what `kd_lab.analysis.studies.disagreement.shares` returned.
        arm: one of its arms.
    """
    shown = [name for name in OUTCOMES if name != BOTH_RIGHT]
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    for side, role in ((-0.2, BASELINE), (0.2, STUDENT)):
        rows = found[(found["arm"] == arm) & (found["role"] == role)]
        each = rows[shown].to_numpy(dtype=np.float64)
        at = np.arange(len(shown)) + side
        style = ROLE_STYLES[role]
        axes.bar(at, each.mean(axis=0), 0.38, color=style.color, alpha=0.45, label=CALLED[role])
        for seed in each:
            axes.scatter(at, seed, s=14, c=style.color, marker=style.marker, zorder=3)
    axes.set_xticks(range(len(shown)), [name.replace(", ", ",\n").replace("only the ", "only the\n") for name in shown])
    axes.set(ylabel="% of the test samples", title=plain(arm))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    return figure


def disputed_samples(images: np.ndarray, found: pd.DataFrame) -> Figure:
    """The pictures of disputed samples, each with its label and what teacher and student say; the right one is bold.

    Args:
        images: [N, height, width], of the rows of `found`.
        found: rows of what `kd_lab.analysis.studies.disagreement.disputed` returned.

    Raises:
        UserError: there are none.
    """
    if found.empty:
        raise UserError("There is no sample on which most students answer otherwise than their teacher.")
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(1.5 * columns, 2.3 * rows), layout=ConstrainedLayoutEngine(h_pad=0.12))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, (_, row) in zip(grid.flat, images, found.iterrows(), strict=False):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(f"label {row['target']:.0f}", fontsize=9)
        for height, who in ((-0.12, "teacher"), (-0.28, "student")):
            right = row[who] == row["target"]
            axes.text(
                0.5,
                height,
                f"{who} {row[who]:.0f} ({100 * row[f'{who}_confidence']:.0f}%)",
                transform=axes.transAxes,
                ha="center",
                fontsize=8,
                weight="bold" if right else "normal",
                color="#006837" if right else "#A50026",
            )
    return figure
