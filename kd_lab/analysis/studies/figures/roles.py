"""Student, baseline and teacher side by side, seed by seed, in figures of finished runs."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kd_lab.analysis.columns import column, each_run, of_role, values
from kd_lab.analysis.figures.style import ROLE_STYLES, Style, dots, plain, series_style
from kd_lab.analysis.runs import pairs
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, STUDENT, TEACHER, TEST_ACCURACY_TOP1, TEST_AGREEMENT_TOP1, TEST_ECE

CLIMB = (BASELINE, STUDENT, TEACHER)  # the order on the axis: what the student gained, and what was left to gain


def accuracy_by_role(table: pd.DataFrame) -> Figure:
    """Test accuracy of baseline, student and teacher, one panel per loss; a line joins the networks of one seed.

    Args:
        table: what `kd_lab.analysis.runs.pairs` returned.

    Raises:
        UserError: no student has an accuracy.
    """
    names = [column(role, TEST_ACCURACY_TOP1) for role in CLIMB]
    of_student = column(STUDENT, TEST_ACCURACY_TOP1)
    if of_student not in table or table[of_student].isna().all():
        raise UserError(f"No student among these runs has {TEST_ACCURACY_TOP1}; are the runs finished?")
    panels = list(table[table[of_student].notna()].groupby(["dataset", "network", "loss"], dropna=False))
    figure = Figure(figsize=(0.8 + 3.4 * len(panels), 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, ((dataset, network, loss), group) in zip(row, panels, strict=True):
        percent = 100 * group[names].to_numpy(dtype=np.float64)
        for climb in percent:
            seen = ~np.isnan(climb)
            axes.plot(np.arange(3)[seen], climb[seen], color="#BBBBBB", linewidth=1, zorder=1)
        for position, role in enumerate(CLIMB):
            dots(axes, position, percent[:, position], ROLE_STYLES[role])
        axes.set(title=plain(f"{dataset}: {network}, {loss}"), xlim=(-0.4, 2.5), xticks=range(3), xticklabels=CLIMB)
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
        agreement, right_answers = _alone(frame) if name == BASELINE else _own(group)
        if name != TEACHER and np.isfinite(agreement).any():
            left.scatter(100 * agreement, 100 * right_answers, label=name, **style._asdict())
    left.set(title="Fidelity", xlabel="agreement with the teacher (%)", ylabel="test accuracy (%)")
    left.grid(alpha=0.3)
    left.legend(frameon=False)
    for position, (_, group, style) in enumerate(groups):
        dots(right, position, values(group, TEST_ECE), style)
    right.set(title="Calibration", ylabel="expected calibration error (0 is best)", xticks=range(len(groups)))
    right.set_xticklabels([name.replace(": ", ":\n") for name, _, _ in groups])
    right.set_xlim(-0.5, len(groups) - 0.5)
    right.set_ylim(0, 1.05 * right.get_ylim()[1])
    right.grid(axis="y", alpha=0.3)
    return figure


def _own(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Agreement with the teacher and accuracy of rows of `runs`, fractions."""
    return values(rows, TEST_AGREEMENT_TOP1), values(rows, TEST_ACCURACY_TOP1)


def _alone(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The same of the baselines, which have no teacher of their own: to those of the students beside them."""
    if not (frame["role"] == STUDENT).any():
        return _own(frame.iloc[:0])
    rows = each_run(pairs(frame), BASELINE, TEST_AGREEMENT_TOP1)
    return of_role(rows, BASELINE, TEST_AGREEMENT_TOP1), of_role(rows, BASELINE, TEST_ACCURACY_TOP1)


def _groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame, Style]]:
    """Teachers, baselines and the students of each loss, with name and style; roles without a run are left out."""
    groups = []
    for role in (TEACHER, BASELINE):
        rows = frame[frame["role"] == role]
        if len(rows):
            groups.append((role, rows, ROLE_STYLES[role]))
    for number, (loss, rows) in enumerate(frame[frame["role"] == STUDENT].groupby("loss")):
        groups.append((f"{STUDENT}: {plain(loss)}", rows, series_style(number)))
    return groups
