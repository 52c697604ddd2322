"""Figures of single networks: which classes are confused, and how far a confidence can be trusted."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import COLOURS, ON_DARK, ON_LIGHT, legend_below, plain
from kd_lab.analysis.predictions import Bins, bins
from kd_lab.errors import UserError
from kd_lab.names import STUDENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NUMBERED = 20  # from this many classes on, numbers in the cells of a confusion matrix cannot be read
MAX_COLUMNS = 3
AT_MEAN = "#D55E00"


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
    axes.set(title=plain(title), xlabel="predicted class", ylabel="true class")
    if classes <= MAX_NUMBERED:
        axes.set(xticks=range(classes), yticks=range(classes))
        for (row, col), count in np.ndenumerate(counts):
            if count:
                ink = ON_DARK if share[row, col] > 0.5 else ON_LIGHT
                axes.text(col, row, str(int(count)), ha="center", va="center", color=ink, fontsize=8)
    return figure


def pictures(samples: np.ndarray, title: str) -> Figure:
    """Samples in rows of eight, all on one scale.

    Args:
        samples: [N, height, width, channels]; of three channels in colour, else the first.
        title: above the figure.
    """
    rows = -(-len(samples) // 8)
    figure = Figure(figsize=(6, 0.72 * rows + 0.5), layout="constrained")
    low, high = float(samples.min()), float(samples.max())
    shown = (samples - low) / max(high - low, 1e-12)
    for axes, sample in zip(figure.subplots(rows, 8, squeeze=False).flat, shown, strict=False):
        axes.imshow(sample if sample.shape[-1] == 3 else sample[..., 0], cmap="gray", vmin=0, vmax=1)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.suptitle(plain(title), fontsize=10)
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
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw(upper, lower, Bins(counts, confidence, accuracy), COLOURS[STUDENT])
    upper.set(title=f"{plain(title)}\nECE {ece:.3f} ({len(counts)} bins)", ylabel="accuracy")
    upper.legend(loc="upper left", frameon=False)
    lower.set(xlabel="confidence (largest predicted probability)", ylabel="share")
    return figure


def reliability_diagrams(
    networks: Mapping[str, Sequence[pd.DataFrame]], colours: Mapping[str, str] | None = None
) -> Figure:
    """Reliability diagrams side by side; the seeds of one network are pooled in the bars, their ECE is averaged.

    Args:
        networks: by label, the predictions of each seed, see `kd_lab.analysis.predictions.predictions`.
        colours: by label; the others have the student's colour.

    Raises:
        UserError: there are no predictions.
    """
    panels = {label: seeds for label, seeds in networks.items() if len(seeds)}
    if not panels:
        raise UserError("None of these runs kept predictions; expected runs made by this version of kd-lab.")
    columns = min(len(panels), MAX_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.1 * columns + 0.4, 4.0 * rows + 0.4), layout="constrained")
    ratios = [3, 1] * rows
    grid = figure.subplots(2 * rows, columns, sharex=True, height_ratios=ratios, squeeze=False)
    for place, (label, seeds) in enumerate(panels.items()):
        row, col = divmod(place, columns)
        upper, lower = grid[2 * row, col], grid[2 * row + 1, col]
        _draw(upper, lower, bins(pd.concat(seeds)), (colours or {}).get(label, COLOURS[STUDENT]))
        ece = np.mean([bins(seed).ece for seed in seeds])
        over = f", mean of {len(seeds)}" if len(seeds) > 1 else ""
        upper.set_title(f"{plain(label, 30)}\nECE {100 * ece:.2f}%{over}", fontsize=9)
        lower.set_xlabel("confidence", fontsize=9)
        lower.tick_params(labelbottom=True)
        if col == 0:
            upper.set_ylabel("accuracy")
            lower.set_ylabel("share of\nsamples")
    for place in range(len(panels), rows * columns):
        row, col = divmod(place, columns)
        grid[2 * row, col].remove()
        grid[2 * row + 1, col].remove()
    legend_below(figure, [grid[0, 0]])
    return figure


def _draw(upper: "Axes", lower: "Axes", found: Bins, colour: str) -> None:
    """Accuracy in each bin that is not empty, above how full the bins are."""
    filled = found.counts > 0
    edges = np.linspace(0, 1, len(found.counts) + 1)
    width, left = edges[1], edges[:-1][filled]
    style: dict[str, Any] = {"align": "edge", "edgecolor": "white", "color": colour}
    upper.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfectly calibrated")
    upper.bar(left, found.accuracy[filled], width, label="accuracy in the bin", **style)
    mean_confidence, accuracy = found.confidence[filled], found.accuracy[filled]
    upper.plot(mean_confidence, accuracy, "o", color=AT_MEAN, markersize=5, label="at the mean confidence")
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    lower.bar(left, found.counts[filled] / max(found.counts.sum(), 1), width, **style)
