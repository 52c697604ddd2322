"""What a temperature does to the teacher's answers: pictures beside bars, and entropy against temperature."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from kd_lab.analysis.figures.style import COLOURS, MARKERS
from kd_lab.analysis.studies.softening import entropy_nats, probabilities, softened
from kd_lab.names import SAMPLE_TARGET, TEACHER

QUANTILES = (0.1, 0.9)


def softened_answers(images: np.ndarray, frame: pd.DataFrame, temperatures: Sequence[float]) -> Figure:
    """One row per sample: its picture, and what the network answers to it at each temperature.

    Args:
        images: [N, height, width], of the rows of `frame`.
        frame: rows of `kd_lab.analysis.predictions.predictions`.
        temperatures: one column each.
    """
    kept, targets = probabilities(frame), frame[SAMPLE_TARGET].to_numpy()
    rows, columns = len(frame), len(temperatures) + 1
    figure = Figure(figsize=(1.2 + 2.0 * len(temperatures), 0.4 + 1.35 * rows), layout="constrained")
    ratios = [0.7] + [1.0] * len(temperatures)
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    classes = np.arange(kept.shape[1])
    for row, panels in enumerate(grid):
        panels[0].imshow(images[row], cmap="gray_r")
        panels[0].set(xticks=[], yticks=[], ylabel=f"label {targets[row]}")
        for axes, temperature in zip(panels[1:], temperatures, strict=True):
            answers = softened(kept[row : row + 1], temperature)[0]
            colours = [COLOURS[TEACHER] if k == targets[row] else "#777777" for k in classes]
            axes.bar(classes, answers, color=colours)
            axes.set(ylim=(0, 1), yticks=[0, 0.5, 1], xticks=classes)
            axes.tick_params(labelsize=7, labelleft=axes is panels[1], labelbottom=row == rows - 1)
            if row == 0:
                axes.set_title(f"T = {temperature:g}", fontsize=10)
    grid[0, 1].set_ylabel("probability", fontsize=8)
    figure.supxlabel("class (orange: the label)", fontsize=9)
    return figure


def entropy_against_temperature(frame: pd.DataFrame, temperatures: Sequence[float]) -> Figure:
    """How much uncertainty the answers show at each temperature: the mean over all samples, and most of them.

    Args:
        frame: what `kd_lab.analysis.predictions.predictions` returned.
        temperatures: rising, all above 0.
    """
    kept = probabilities(frame)
    found = np.array([entropy_nats(softened(kept, temperature)) for temperature in temperatures])
    low, high = np.quantile(found, QUANTILES, axis=1)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(temperatures, low, high, color=COLOURS[TEACHER], alpha=0.25, label="four of five samples")
    colour, marker = COLOURS[TEACHER], MARKERS[TEACHER]
    axes.plot(temperatures, found.mean(axis=1), color=colour, marker=marker, label="mean")
    classes = kept.shape[1]
    axes.axhline(np.log(classes), color="black", linestyle="--", linewidth=1, label=f"ln {classes}: all classes alike")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(temperatures)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="temperature", ylabel="entropy of the answer (nats)", ylim=(0, 1.08 * np.log(classes)))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure
