"""A class that the student never saw: what it knows of it, raw and after the correction, and how that depends on b."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.figures.style import COLOURS, ROLE_STYLES, Style, dots, legend_below, plain, series_style
from kd_lab.analysis.studies.omitted import bias_for_rate, recall_against_bias
from kd_lab.analysis.studies.softening import probabilities, softened
from kd_lab.names import BASELINE, SAMPLE_TARGET, STUDENT, TEACHER


def recall_by_arm(found: pd.DataFrame, number: int) -> Figure:
    """The recall of the class, raw and corrected: the student alone, each distilled one, the teacher; seeds as dots.

    Args:
        found: what `kd_lab.analysis.studies.omitted.recalls` returned.
        number: the class.
    """
    arms = list(dict.fromkeys(found.loc[found["role"] != TEACHER, "arm"]))
    figure = Figure(figsize=(2.2 + 1.3 * len(arms), 4.2), layout="constrained")
    axes = figure.subplots()
    for column, label, side, style in (
        ("raw_recall", "as it answers", -0.2, Style("#56B4E9", "o")),
        ("recall", "bias corrected", 0.15, Style(COLOURS[STUDENT], "D")),
    ):
        for place, arm in enumerate(arms):
            dots(axes, place + side, 100 * found.loc[found["arm"] == arm, column].to_numpy(), style)
        axes.scatter([], [], label=label, **style._asdict())
    teacher = 100 * found.loc[found["role"] == TEACHER, "raw_recall"].mean()
    if np.isfinite(teacher):
        axes.axhline(teacher, color=COLOURS[TEACHER], linestyle="--", label="the teacher, as it answers")
    axes.plot([], [], "_", color="black", markersize=12, label="mean")
    axes.set_xticks(range(len(arms)), [plain(arm, 13) for arm in arms])
    axes.set(ylim=(-4, 104), xlim=(-0.5, len(arms) - 0.4), ylabel=f"recall of class {number} (%)")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def recall_by_bias(networks: Mapping[str, pd.DataFrame], number: int, biases: Sequence[float]) -> Figure:
    """The recall of the class against the bias that is added to its logit; the mark: where the rate is the prior.

    Args:
        networks: predictions of one seed, by label; the first is drawn in grey.
        number: the class.
        biases: where the curves are drawn.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for place, (label, frame) in enumerate(networks.items()):
        style = ROLE_STYLES[BASELINE] if place == 0 else series_style(place - 1)
        axes.plot(biases, 100 * recall_against_bias(frame, number, biases), color=style.color, label=plain(label))
        rate = float((frame[SAMPLE_TARGET] == number).mean())
        chosen = bias_for_rate(probabilities(frame), number, rate)
        reached = 100 * recall_against_bias(frame, number, [chosen])
        axes.scatter([chosen], reached, s=60, c=style.color, marker=style.marker, zorder=3)
    axes.scatter([], [], s=60, c="white", edgecolors="black", label="here it is predicted as often as it occurs")
    axes.set(xlabel=f"b, added to the logit of class {number}", ylabel=f"recall of class {number} (%)")
    axes.grid(alpha=0.3)
    legend_below(figure, [axes])
    return figure


def lookalikes(images: np.ndarray, frame: pd.DataFrame, number: int, temperature: float, most: int = 8) -> Figure:
    """The samples of other classes that the network finds most like the class, with its probability at 1 and at T.

    Args:
        images: [N, height, width], of the rows of `frame`.
        frame: what `kd_lab.analysis.predictions.predictions` returned.
        number: the class.
        temperature: T.
        most: how many are shown.
    """
    kept = probabilities(frame)
    soft = softened(kept, temperature)[:, number]
    others = (frame[SAMPLE_TARGET] != number).to_numpy() & (kept.argmax(axis=1) != number)
    places = np.argsort(np.where(others, -soft, np.inf), kind="stable")[: min(most, int(others.sum()))]
    figure = Figure(figsize=(1.5 * len(places), 2.2), layout="constrained")
    for axes, place in zip(figure.subplots(1, len(places), squeeze=False)[0], places, strict=True):
        axes.imshow(images[place], cmap="gray_r")
        axes.axis("off")
        axes.set_title(f"label {frame[SAMPLE_TARGET].iloc[place]}", fontsize=9)
        told = f"{number} at T=1: {100 * kept[place, number]:.2g}%\nat T={temperature:g}: {100 * soft[place]:.2g}%"
        axes.text(0.5, -0.08, told, transform=axes.transAxes, ha="center", va="top", fontsize=8)
    return figure
