"""The figures of a comparison: those that can be drawn, each with a title and a caption."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from kd_lab.analysis.columns import each_run, values
from kd_lab.analysis.figures.forest import forest
from kd_lab.analysis.figures.heat_map import temperature_and_weight
from kd_lab.analysis.figures.learned import learned_curves
from kd_lab.analysis.figures.learning import MAX_LINES, learning_curves
from kd_lab.analysis.figures.networks import reliability_diagrams
from kd_lab.analysis.figures.style import COLOURS, arm_styles
from kd_lab.analysis.figures.trade_off import accuracy_against, accuracy_against_agreement
from kd_lab.analysis.inline_svg import settle
from kd_lab.analysis.learned import NOTHING, Learned
from kd_lab.analysis.references import PLAIN_KD
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, COST_LATENCY_MS_P50, COST_PARAMS_TOTAL, TEACHER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RELIABLE_ARMS = 4
FOREST = (
    "Paired differences with 95% t intervals, of each arm by itself. Filled: the paired test, corrected for the number "
    "of arms, found a difference; hollow: it did not. Beside each arm its verdict, p after Holm, and in how many pairs "
    "it was ahead."
)
LEARNED = (
    "Learned during the training: {told}. No number of the test part has a say in it, which is read once, at the end. "
    "Lines are means over seeds; bands are one sample standard deviation."
)
BARS = "Means over seeds; bars are one sample standard deviation. The line joins the networks that none beats in both"


class Material(NamedTuple):
    """What the figures are drawn of, see `kd_lab.analysis.page.write_page`."""

    students: pd.DataFrame
    arms: pd.DataFrame
    metric: str
    curves: pd.DataFrame
    curves_key: str
    predictions: Mapping[str, pd.DataFrame]
    reference: str = PLAIN_KD
    learned: Learned = NOTHING


class Exhibit(NamedTuple):
    """A figure, the name of its files, and what is said above and below it."""

    name: str
    title: str
    caption: str
    figure: "Figure"


def gallery(material: Material) -> list[Exhibit]:
    """All figures that these runs allow."""
    shown = []
    for name, title, caption, draw in WANTED:
        with suppress(UserError):  # these runs have nothing to show in it
            shown.append(Exhibit(name, title.format(reference=material.reference), caption, draw(material)))
    shown += _learned(material)
    for exhibit in shown:
        settle(exhibit.figure)
    return shown


def _learned(material: Material) -> list[Exhibit]:
    """A figure for each arm that learned something beside its students, however it did."""
    shown = []
    students = material.students[material.students["student_run"].isin(list(material.learned.told))]
    for number, (arm, rows) in enumerate(students.groupby("arm", sort=False), start=1):
        runs = list(rows["student_run"])
        told = "; ".join(dict.fromkeys(material.learned.told[run] for run in runs))
        of_arm = material.learned.curves[material.learned.curves["run_id"].isin(runs)]
        with suppress(UserError):  # it was not logged
            figure = learned_curves(of_arm)
            caption = LEARNED.format(told=told)
            shown.append(Exhibit(f"learned_{number}", f"Learned by {arm}", caption, figure))
    return shown


def _reliability(material: Material) -> "Figure":
    networks = seeds_of(material.students, material.predictions)
    return reliability_diagrams(networks, _colours(material.students, networks))


def _latency(material: Material) -> "Figure":
    """Where the tables leave it out, because other machines or jobs beside it say nothing, so does the figure."""
    if not np.isfinite(values(material.arms, "latency")).any():
        raise UserError("Latency is left out.")
    return accuracy_against(material.students, COST_LATENCY_MS_P50)


WANTED: list[tuple[str, str, str, Callable[[Material], "Figure"]]] = [
    ("forest_to_baseline", "Gain over the student alone", FOREST, lambda of: forest(of.arms, "baseline", of.metric)),
    (
        "forest_to_kd",
        "Difference to {reference}",
        FOREST,
        lambda of: forest(of.arms, "kd", of.metric, of.reference),
    ),
    (
        "temperature_weight",
        "Temperature and weight",
        "Mean accuracy over seeds ± sample sd; in brackets the mean gain over the student alone, in points.",
        lambda of: temperature_and_weight(of.students),
    ),
    (
        "accuracy_parameters",
        "Accuracy and size",
        f"{BARS}.",
        lambda of: accuracy_against(of.students, COST_PARAMS_TOTAL),
    ),
    (
        "accuracy_latency",
        "Accuracy and latency",
        f"{BARS}. Measured one sample at a time; networks of one size share the latency of all their runs.",
        _latency,
    ),
    (
        "accuracy_agreement",
        "Accuracy and agreement with the teacher",
        "Means over seeds; bars are one sample standard deviation. A student that agrees more without being more "
        "accurate has copied errors; one that is more accurate without agreeing more has gained otherwise.",
        lambda of: accuracy_against_agreement(of.students),
    ),
    (
        "reliability",
        "How far confidence can be trusted",
        "Bars below the dashed line: surer than right. The test samples of all seeds are pooled in the bars.",
        _reliability,
    ),
    (
        "learning_curves",
        "Training",
        f"Mean over seeds; bands reach from the lowest to the highest seed. Of many arms the best {MAX_LINES}.",
        lambda of: learning_curves(of.curves, of.students, of.curves_key),
    ),
]
"""Name, title, caption, and how it is drawn."""


def reliable_runs(students: pd.DataFrame) -> dict[str, list[str]]:
    """By label, the runs whose reliability is shown: the most accurate arms, their teachers, their networks alone."""
    found: dict[str, list[str]] = {}
    arms = list(arm_styles(students))[:RELIABLE_ARMS]
    students = students[students["arm"].isin(arms)]
    for role, name, form in ((TEACHER, "teacher_network", "teacher {}"), (BASELINE, "network", "{} alone")):
        rows = each_run(students, role)
        found |= {form.format(network): list(part[f"{role}_run"]) for network, part in rows.groupby(name)}
    for arm in arms:
        found[arm] = list(students.loc[students["arm"] == arm, "student_run"])
    return found


def seeds_of(students: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    """The predictions of `reliable_runs` that there are, by label."""
    runs = {label: [predictions[i] for i in ids if i in predictions] for label, ids in reliable_runs(students).items()}
    return {label: seeds for label, seeds in runs.items() if seeds}


def _colours(students: pd.DataFrame, networks: Mapping[str, object]) -> dict[str, str]:
    arms = {arm: style.color for arm, style in arm_styles(students).items()}
    roles = {f"teacher {n}": COLOURS[TEACHER] for n in students["teacher_network"].dropna().unique()}
    roles |= {f"{n} alone": COLOURS[BASELINE] for n in students["network"].unique()}
    return {label: colour for label, colour in (arms | roles).items() if label in networks}
