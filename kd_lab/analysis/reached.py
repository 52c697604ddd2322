"""The numbers of a comparison: what each arm reached, and what it differs by from the student alone and plain kd."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kd_lab import names
from kd_lab.analysis.arms import UNIT
from kd_lab.analysis.columns import of_role
from kd_lab.analysis.statistics import Difference, difference, gap_recovered, holm, spread, verdict
from kd_lab.analysis.unit import Unit
from kd_lab.names import BASELINE, ROLES, STUDENT, TEACHER

ACCURACY = names.TEST_ACCURACY_TOP1
MEANS = {
    "agreement": names.TEST_AGREEMENT_TOP1,
    "kl": names.TEST_KL_NATS,
    "nll": names.TEST_NLL_NATS,
    "ece": names.TEST_ECE,
    "params": names.COST_PARAMS_TOTAL,
    "macs": names.COST_MACS,
    "train_steps": names.COST_TRAIN_STEPS,
}
ON_A_MACHINE = {
    "latency": names.COST_LATENCY_MS_P50,
    "train_wall_s": names.COST_TRAIN_WALL_S,
    "samples_per_s": names.COST_TRAIN_SAMPLES_PER_S,
    "peak_memory_bytes": names.COST_TRAIN_PEAK_MEMORY_BYTES,
}
OF_CHAIN = {"chain_wall_s": names.COST_CHAIN_WALL_S}
"""Columns of `arms` that are means over its students; the second kind depends on the machine. So does the third, which
is there, for all arms, where one of them has a strategy: what that costs stands beside a student whose teacher cost."""

COLUMNS = [*MEANS, *ON_A_MACHINE, *OF_CHAIN]


def reached(students: pd.DataFrame, metric: str, *, timed: bool) -> pd.DataFrame:
    """One row per arm, without the differences; what depends on the machine only where it is `timed`."""
    found = {role: of_role(students, role, metric) for role in ROLES}
    accuracy = {role: of_role(students, role, ACCURACY) for role in ROLES}
    chained = students["loss"].astype(str).str.contains(":").any()
    shown = MEANS | (ON_A_MACHINE | (OF_CHAIN if chained else {}) if timed else {})
    own = {name: of_role(students, STUDENT, key) for name, key in shown.items()}
    first = students.drop_duplicates("arm").set_index("arm")[["group", "network", "loss"]]
    rows = []
    for arm, at in students.groupby("arm", sort=False).indices.items():
        student, alone, taught = (spread(found[role][at]) for role in (STUDENT, BASELINE, TEACHER))
        rows.append(
            {
                "arm": arm,
                **{"n": student.n, "mean": student.mean, "sd": student.sd, "low": student.low, "high": student.high},
                **{"baseline_mean": alone.mean, "baseline_sd": alone.sd, "teacher_mean": taught.mean},
                "gap_recovered": gap_recovered(*(accuracy[role][at] for role in (STUDENT, BASELINE, TEACHER))),
            }
        )
    means = pd.DataFrame(own, index=students["arm"]).groupby(level=0).mean().reindex(columns=COLUMNS)
    return pd.DataFrame(rows).join(first, on="arm").join(means, on="arm")


def with_differences(
    arms: pd.DataFrame, students: pd.DataFrame, metric: str, *, higher_is_better: bool
) -> pd.DataFrame:
    """The rows of `reached`, with the differences to the student alone and to the arm that `kd_arm` names."""
    own = of_role(students, STUDENT, metric)
    gain = own - of_role(students, BASELINE, metric)
    at = students.groupby("arm", sort=False).indices
    units = students.groupby(UNIT, dropna=False).ngroup().to_numpy()
    to_baseline = [gain[at[arm]] for arm in arms["arm"]]
    to_kd = [
        _paired(own, units, at[arm], at.get(kd, at[arm][:0]))
        for arm, kd in zip(arms["arm"], arms["kd_arm"], strict=True)
    ]
    for prefix, found in (("to_baseline", to_baseline), ("to_kd", to_kd)):
        differences = [difference(one, higher_is_better=higher_is_better) for one in found]
        arms = pd.concat([arms, _judged(arms["group"], differences, prefix, higher_is_better)], axis="columns")
    return _possible(arms, metric)


def _possible(arms: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The ends of intervals, not beyond what the metric can be: few seeds would have accuracies above 100%."""
    least, most = Unit(metric).range
    bounds = {"": (least, most)} | dict.fromkeys(("to_baseline_", "to_kd_"), (least - most, most - least))
    ends = [(f"{prefix}{end}", both) for prefix, both in bounds.items() for end in ("low", "high")]
    return arms.assign(**{column: arms[column].clip(*both) for column, both in ends})


def _paired(own: np.ndarray, units: np.ndarray, these: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Differences over the seeds and splits that both arms have."""
    _, left, right = np.intersect1d(units[these], units[others], assume_unique=True, return_indices=True)
    return np.asarray(own[these][left] - own[others][right])


def _judged(groups: pd.Series, found: Sequence[Difference], prefix: str, higher_is_better: bool) -> pd.DataFrame:
    """The differences as columns, corrected over each group, and the verdicts; none where there is no pair."""
    columns = pd.DataFrame([one.columns(prefix) for one in found], index=groups.index)
    p_t = columns[f"{prefix}_p_t"]
    corrected = p_t.groupby(groups).transform(lambda p: holm(p.to_numpy(dtype=np.float64)))
    verdicts = [
        verdict(one.mean, p, higher_is_better=higher_is_better) if one.pairs else ""
        for one, p in zip(found, corrected, strict=True)
    ]
    return columns.assign(**{f"{prefix}_p_holm": corrected, f"{prefix}_verdict": verdicts})
