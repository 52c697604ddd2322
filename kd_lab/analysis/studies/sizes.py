"""Which networks are worth their size: what distilling gains at each, and which are beaten in accuracy and cost."""

import numpy as np
import pandas as pd

from kd_lab.analysis.columns import column, each_run, of_role
from kd_lab.analysis.statistics import difference, spread
from kd_lab.errors import UserError
from kd_lab.names import BASELINE, COST_PARAMS_TOTAL, STUDENT, TEACHER, TEST_ACCURACY_TOP1

COLUMNS = ["network", "cost", "alone", "alone_sd", "taught", "taught_sd", "gain", "gain_low", "gain_high", "pairs"]


def by_size(students: pd.DataFrame, cost: str = COST_PARAMS_TOTAL) -> pd.DataFrame:
    """One row per loss and student network, the cheapest first: accuracy alone and distilled in %, gain in points.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.
        cost: a metric.

    Returns:
        arm, loss, and COLUMNS; the gain is paired by seed, its interval the 95% t interval, within what can be.

    Raises:
        UserError: there are not several sizes.
    """
    rows = []
    for arm, own in students.groupby("arm", sort=False):
        costs, taught, alone = (
            of_role(own, role, key)
            for role, key in ((STUDENT, cost), (STUDENT, TEST_ACCURACY_TOP1), (BASELINE, TEST_ACCURACY_TOP1))
        )
        gain = difference(100 * (taught - alone))
        without, with_it = spread(100 * alone), spread(100 * taught)
        told = [own["network"].iloc[0], float(np.mean(costs)), without.mean, without.sd, with_it.mean, with_it.sd]
        told += [gain.mean, *np.clip([gain.low, gain.high], -100, 100), gain.pairs]
        rows.append({"arm": arm, "loss": own["loss"].iloc[0], **dict(zip(COLUMNS, told, strict=True))})
    found = pd.DataFrame(rows).sort_values("cost", kind="stable").reset_index(drop=True)
    if found["cost"].nunique() < 2:
        raise UserError(
            "These students are all of one size; expected several, such as from kd-lab -m sweep=student_sizes"
        )
    return found


def dominated(students: pd.DataFrame, cost: str = COST_PARAMS_TOTAL) -> pd.DataFrame:
    """Every kind of network, the cheapest first, and which one costs no more and is more accurate on average.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs` with the column `arm`.
        cost: a metric.

    Returns:
        network, cost, accuracy (mean, in %), beaten_by: the most accurate one that costs no more, empty if there is
        none.
    """
    rows = []
    for role, name in ((TEACHER, "teacher_network"), (BASELINE, "network"), (STUDENT, "arm")):
        form = {TEACHER: "teacher {}", BASELINE: "{} alone", STUDENT: "{}"}[role]
        own = each_run(students, role)
        for label, group in own.groupby(name, sort=False):
            told = {
                "cost": float(group[column(role, cost)].mean()),
                "accuracy": 100 * float(group[column(role, TEST_ACCURACY_TOP1)].mean()),
            }
            rows.append({"network": form.format(_full(str(label), group) if role == STUDENT else label), **told})
    found = pd.DataFrame(rows).sort_values(["cost", "accuracy"], kind="stable").reset_index(drop=True)
    found["beaten_by"] = [_beaten_by(row, found) for _, row in found.iterrows()]
    return found


def _full(arm: str, group: pd.DataFrame) -> str:
    network = str(group["network"].iloc[0])
    return arm if arm.startswith(network) else f"{network} {arm}"


def _beaten_by(row: pd.Series, every: pd.DataFrame) -> str:
    better = every[(every["cost"] <= row["cost"]) & (every["accuracy"] > row["accuracy"])]
    return "" if better.empty else str(better.loc[better["accuracy"].idxmax(), "network"])


def gains_in_words(found: pd.DataFrame) -> list[str]:
    """Where the gain is largest, and what the smallest student reaches, in sentences.

    Args:
        found: what `by_size` returned.
    """
    gained = found[found["gain"].notna()]
    if gained.empty:
        return ["No student has a baseline of its size: nobody knows what distilling gained."]
    best, small = gained.loc[gained["gain"].idxmax()], gained.iloc[0]
    ends = "" if np.isnan(best["gain_low"]) else f" [{best['gain_low']:+.2f}, {best['gain_high']:+.2f}]"
    more = gained[gained["alone"] > small["taught"]]
    beside = (
        f"Alone, {more['network'].iloc[0]} is the smallest that reaches more."
        if len(more)
        else "No student alone, of whatever size, reaches more."
    )
    return [
        f"The largest gain is that of {best['network']}: {best['gain']:+.2f} points{ends}.",
        f"{small['network']}, distilled, reaches {small['taught']:.2f}%. {beside}",
    ]
