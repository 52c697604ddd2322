"""Which layer of the student learns from which of the teacher, and how much: a map of learned gates."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import ON_DARK, ON_LIGHT, plain

DARK_BELOW = 0.55
"""Of the range of colours: from there up, dark ink is read more easily."""


def gate_map(gates: np.ndarray, own: Sequence[str], theirs: Sequence[str], title: str) -> Figure:
    """A gate for each pair of layers; the colours begin at 0, and a pair that is not compared stays white.

    Args:
        gates: [S, T], NaN where two layers are not compared.
        own: S names of the student's layers.
        theirs: T names of the teacher's.
        title: above the figure.
    """
    figure = Figure(figsize=(1.2 * len(theirs) + 4.0, 0.75 * len(own) + 2.2), layout="constrained")
    axes = figure.subplots()
    highest = max(1.0, float(np.nanmax(gates)))
    image = axes.imshow(gates, cmap="cividis", vmin=0, vmax=highest, aspect="auto")
    figure.colorbar(image, ax=axes, label="gate (mean over all pairs: 1)")
    for (row, column), gate in np.ndenumerate(gates):
        if np.isfinite(gate):
            ink = ON_DARK if gate < DARK_BELOW * highest else ON_LIGHT
            axes.text(column, row, f"{gate:.2f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set(title=plain(title, 60), xlabel="teacher's layer", ylabel="student's layer")
    axes.set_xticks(range(len(theirs)), [plain(name, 28) for name in theirs], rotation=30, ha="right")
    axes.set_yticks(range(len(own)), [plain(name, 28) for name in own])
    return figure
