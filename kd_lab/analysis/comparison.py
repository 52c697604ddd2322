"""The students of one or more studies compared: arms side by side, what they differ by, and whether that is real.

Rows of `pairs` become arms (`kd_lab.analysis.arms`), are checked to be comparable (`kd_lab.analysis.protocol`), and are
compared twice, paired by seed and split: with the same student alone, which is each run's own baseline, and with plain
kd. Everything is corrected over the arms of a group.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kd_lab import names
from kd_lab.analysis import remarks
from kd_lab.analysis.arms import UNIT, as_text, with_arms
from kd_lab.analysis.columns import PARAMS, SHARED, column, of_role
from kd_lab.analysis.protocol import check, check_mix, mixed, newest, with_protocol
from kd_lab.analysis.references import references
from kd_lab.analysis.statistics import Difference, difference, gap_recovered, holm, spread, verdict
from kd_lab.errors import UserError, choices
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
"""Columns of `arms` that are means over its students; the second kind depends on the machine."""

COLUMNS = [*MEANS, *ON_A_MACHINE, "accuracy_per_hour"]


@dataclass(frozen=True)
class Comparison:
    """What is to be told.

    students: the rows of `pairs` that count, the newest FINISHED one of each arm, seed and split, with the columns
        `arm` (a short label), `group` (what is comparable), `student`, `split`, and names for `data`, `teacher`,
        `budget` and `code`.
    arms: one row per arm, the best first: arm, group, network, loss, n, mean, sd, low, high of `metric`; the baselines'
        mean and sd, the teachers' mean; `to_baseline_` and `to_kd_` mean, low, high, p_t, p_wilcoxon, wins, pairs,
        p_holm, verdict; `kd_arm`, the arm that `to_kd_` compares with; gap_recovered; MEANS and ON_A_MACHINE;
        `accuracy_per_hour` of training. NaN, or an empty text, where there is none.
    notes: what a reader must know, a sentence each.
    """

    students: pd.DataFrame
    arms: pd.DataFrame
    notes: list[str]
    metric: str = ACCURACY


def compare(
    pairs: pd.DataFrame,
    metric: str = ACCURACY,
    *,
    against: str | None = None,
    mix: Collection[str] = (),
    where: Mapping[str, Collection[str]] | None = None,
) -> Comparison:
    """Compare the arms of these students.

    Args:
        pairs: what `kd_lab.analysis.runs.pairs` returned.
        metric: what is compared, a key of kd_lab.names.
        against: the arm, or the loss, that stands in the place of plain kd.
        mix: words of `kd_lab.analysis.protocol.MIXABLE`: what may differ.
        where: by column (or parameter, without `params.`), the values to keep.

    Raises:
        UserError: no student is finished or has the metric; they are not comparable; a word that is not known.
    """
    check_mix(mix)
    asked = _chosen(with_protocol(pairs), where or {})
    done = _finished(asked, metric)
    every = _with_arms(with_protocol(done), mix).sort_values("start_time", kind="stable")
    check(every, mix)
    students = newest(every)
    students = _apart(students.assign(group=students["data"]).reset_index(drop=True))
    alone = not students["machine"].str.contains(SHARED, regex=False, na=False).any()
    timed = (students["machine"].nunique() <= 1 and alone) or "machine" in mix
    reference = references(students, against)
    higher = metric in names.HIGHER_IS_BETTER
    arms = _arms(students, metric, timed=timed)
    arms = arms.assign(kd_arm=lambda found: found["arm"].map(reference.chosen).astype(object).fillna(""))
    arms = _with_differences(arms, students, metric, higher_is_better=higher)
    arms = arms.sort_values(["group", "mean"], ascending=[True, not higher], kind="stable").reset_index(drop=True)
    notes = [
        *remarks.chosen(students),
        *remarks.left_out(asked, done, students),
        *mixed(students, mix),
        *([] if timed else [remarks.machines(students)]),
        *remarks.sizes(students, arms),
        *remarks.one_split(students, arms, metric),
        *reference.notes,
        *remarks.baselines(students),
    ]
    return Comparison(students, arms, notes, metric)


def _chosen(students: pd.DataFrame, where: Mapping[str, Collection[str]]) -> pd.DataFrame:
    for key, values in where.items():
        names_of_it = [name for name in students.columns if _is_called(name, key)]
        if not names_of_it:
            known = [n.removeprefix(PARAMS) for n in students.columns if n.startswith(PARAMS) or "/" not in n]
            raise UserError(f"where={key}=...: nothing that differs has this name; {choices(key, sorted(known))}.")
        found = students[names_of_it].fillna("").map(as_text)
        kept = found.isin({as_text(value) for value in values}).any(axis="columns")
        if not kept.any():
            there = sorted({value for name in names_of_it for value in found[name]} - {""})
            value = next(iter(values), "")
            raise UserError(f"where={key}={value}: no student has it; {choices(value, there)}.")
        students = students[kept]
    return students


def _is_called(name: str, key: str) -> bool:
    """Whether a column is meant: by its name, or a parameter by its last parts (`temperature`, `recipe.batch_size`)."""
    return name == key or (name.startswith(PARAMS) and f".{name}".endswith(f".{key}"))


def _finished(students: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The students that ended well and have the metric."""
    of_student = column(STUDENT, metric)
    if of_student not in students:
        start = f"{STUDENT}."
        known = [name.removeprefix(start) for name in students.columns if name.startswith(start)]
        raise UserError(f"metric={metric}: no run has it; {choices(metric, known)}.")
    done = students[(students["status"] == "FINISHED") & students[of_student].notna()]
    if done.empty:
        raise UserError(f"metric={metric}: no finished student has it; wait for the first one, or see why they failed.")
    return done


def _with_arms(students: pd.DataFrame, mix: Collection[str]) -> pd.DataFrame:
    """The arms; a mixed teacher tells them apart, and a mixed budget where nothing else does."""
    more = ["teacher"] if "teacher" in mix and students["teacher"].nunique() > 1 else []
    found = with_arms(students, more)
    if "budget" in mix and (found.groupby(["data", "arm"])["budget"].nunique() > 1).any():
        return with_arms(students, [*more, "budget"])
    return found


def _apart(students: pd.DataFrame) -> pd.DataFrame:
    """The group's name behind labels that another group has too."""
    twice = students.groupby("arm")["group"].transform("nunique") > 1
    return students.assign(arm=students["arm"].where(~twice, students["arm"] + ", " + students["group"]))


def _arms(students: pd.DataFrame, metric: str, *, timed: bool) -> pd.DataFrame:
    """One row per arm, without the differences."""
    reached = {role: of_role(students, role, metric) for role in ROLES}
    accuracy = {role: of_role(students, role, ACCURACY) for role in ROLES}
    shown = MEANS | (ON_A_MACHINE if timed else {})
    own = {name: of_role(students, STUDENT, key) for name, key in shown.items()}
    if timed:
        own["accuracy_per_hour"] = accuracy[STUDENT] / own["train_wall_s"] * 3600
    first = students.drop_duplicates("arm").set_index("arm")[["group", "network", "loss"]]
    rows = []
    for arm, at in students.groupby("arm", sort=False).indices.items():
        student, alone, taught = (spread(reached[role][at]) for role in (STUDENT, BASELINE, TEACHER))
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


def _with_differences(
    arms: pd.DataFrame, students: pd.DataFrame, metric: str, *, higher_is_better: bool
) -> pd.DataFrame:
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
    return arms


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
