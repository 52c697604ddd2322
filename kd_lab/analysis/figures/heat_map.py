"""Temperature and weight of a loss, together: which of the two matters, and where."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.columns import PARAMS, of_role
from kd_lab.analysis.figures.style import ON_DARK, ON_LIGHT, mean_and_sd, plain
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, STUDENT, TEST_ACCURACY_TOP1

SETTING = ["dataset", "network", "loss"]
DARK_BELOW = 0.55  # of the range of colours: from there up, dark ink is read more easily


class Panel(NamedTuple):
    """One loss of one student: mean accuracy in % [weights, temperatures] and what is written into the cells."""

    title: str
    temperatures: list[float]
    weights: list[float]
    accuracy: np.ndarray
    told: dict[tuple[int, int], str]


def temperature_and_weight(students: pd.DataFrame) -> Figure:
    """Mean test accuracy for each temperature and weight of a loss, with sample sd and gain over the student alone.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.

    Raises:
        UserError: no loss was run at several temperatures and several weights.
    """
    table = students.assign(_temperature=_setting(students, "temperature"), _weight=_setting(students, "weight"))
    table = table.dropna(subset=["_temperature", "_weight"])
    panels = [_panel(names, rows) for names, rows in table.groupby(SETTING, dropna=False) if _is_grid(rows)]
    if not panels:
        raise UserError(
            "No loss among these runs was run at several temperatures and several weights; "
            "expected a sweep such as kd-lab -m loss.temperature=1,4 loss.weight=0.5,1"
        )
    wide = max(len(panel.temperatures) for panel in panels)
    high = max(len(panel.weights) for panel in panels)
    figure = Figure(figsize=((1.2 * wide + 1.4) * len(panels) + 0.8, 0.85 * high + 1.6), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    shown = np.concatenate([panel.accuracy[np.isfinite(panel.accuracy)] for panel in panels])
    low, high_value = float(shown.min()), float(shown.max())
    for axes, panel in zip(row, panels, strict=True):
        image = axes.imshow(panel.accuracy, cmap="cividis", vmin=low, vmax=high_value, origin="lower", aspect="auto")
        for (weight, temperature), told in panel.told.items():
            dark = panel.accuracy[weight, temperature] - low < DARK_BELOW * (high_value - low)
            ink = ON_DARK if dark else ON_LIGHT
            axes.text(temperature, weight, told, ha="center", va="center", color=ink, fontsize=8)
        axes.set(title=panel.title, xlabel="temperature", ylabel="weight of the loss")
        axes.set_xticks(range(len(panel.temperatures)), [f"{value:g}" for value in panel.temperatures])
        axes.set_yticks(range(len(panel.weights)), [f"{value:g}" for value in panel.weights])
    figure.colorbar(image, ax=list(row), label="mean test accuracy (%)")
    return figure


def _setting(students: pd.DataFrame, name: str) -> pd.Series:
    """A setting of each student's loss: as it was given (`loss.NAME`), else as its term has it."""
    found = pd.Series(np.nan, students.index, dtype=np.float64)
    for column in _columns(students.columns, name):
        found = found.fillna(pd.to_numeric(students[column], errors="coerce"))
    return found


def _columns(columns: Iterable[str], name: str) -> list[str]:
    """The short key before the long ones, which it overrides."""
    short = f"{PARAMS}loss.{name}"
    long = [c for c in columns if c.startswith(f"{PARAMS}loss.terms.") and c.endswith(f".{name}")]
    return [short, *long] if short in columns else long


def _is_grid(rows: pd.DataFrame) -> bool:
    """Whether both differ, and nothing else within a cell does."""
    several = rows["_temperature"].nunique() > 1 and rows["_weight"].nunique() > 1
    return several and bool((rows.groupby(["_temperature", "_weight"])["arm"].nunique() == 1).all())


def _panel(names: tuple[object, ...], rows: pd.DataFrame) -> Panel:
    dataset, network, loss = names
    temperatures, weights = (sorted(rows[name].unique()) for name in ("_temperature", "_weight"))
    accuracy = np.full((len(weights), len(temperatures)), np.nan)
    told = {}
    for (temperature, weight), cell in rows.groupby(["_temperature", "_weight"]):
        reached = 100 * of_role(cell, STUDENT, TEST_ACCURACY_TOP1)
        mean, sd = mean_and_sd(reached)
        if np.isnan(mean):
            continue
        place = weights.index(weight), temperatures.index(temperature)
        accuracy[place] = mean
        told[place] = f"{mean:.2f}" + (f" ± {sd:.2f}" if np.isfinite(reached).sum() > 1 else "")
        gain, _ = mean_and_sd(reached - 100 * of_role(cell, BASELINE, TEST_ACCURACY_TOP1))
        told[place] += "" if np.isnan(gain) else f"\n({gain:+.2f})"
    return Panel(plain(f"{dataset}: {network}, {loss}"), temperatures, weights, accuracy, told)
