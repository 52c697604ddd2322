"""The students of one or more studies compared: arms side by side, what they differ by, and whether that is real.

Rows of `pairs` become arms (`kd_lab.analysis.arms`), are checked to be comparable (`kd_lab.analysis.protocol`) or put
into groups that are (`kd_lab.analysis.groups`), and are compared twice, paired by seed and split: with the same student
alone, which is each run's own baseline, and with plain kd. Everything is corrected over the arms of a group.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from kd_lab import names
from kd_lab.analysis import published, remarks
from kd_lab.analysis.arms import as_text, with_arms
from kd_lab.analysis.columns import PARAMS, SHARED, column
from kd_lab.analysis.groups import comparable
from kd_lab.analysis.protocol import check, check_mix, mixed, newest, with_protocol
from kd_lab.analysis.reached import reached, with_differences
from kd_lab.analysis.references import PLAIN_KD, check_against, references
from kd_lab.errors import UserError, choices
from kd_lab.names import STUDENT

ACCURACY = names.TEST_ACCURACY_TOP1


@dataclass(frozen=True)
class Comparison:
    """What is to be told.

    students: the rows of `pairs` that count, the newest FINISHED one of each arm, seed and split, with the columns
        `arm` (a short label), `group` (what is comparable), `student`, `split`, and names for `data`, `teacher`,
        `budget` and `code`.
    arms: one row per arm, the best first: arm, group, network, loss, n, mean, sd, low, high of `metric`; the baselines'
        mean and sd, the teachers' mean; `to_baseline_` and `to_kd_` mean, low, high, p_t, p_wilcoxon, wins, pairs,
        p_holm, verdict; `kd_arm`, the arm that `to_kd_` compares with; gap_recovered; MEANS and ON_A_MACHINE of
        `kd_lab.analysis.reached`; where figures of a paper are known, `published` and what
        `kd_lab.analysis.published.with_published` tells of it. NaN, or an empty text, where there is none.
    notes: what a reader must know, a sentence each.
    reference: what `to_kd_` compares with: plain kd, or what `against` names.
    name: what tells these students from those of other groups; empty where there are no others.
    """

    students: pd.DataFrame
    arms: pd.DataFrame
    notes: list[str]
    metric: str = ACCURACY
    reference: str = PLAIN_KD
    name: str = ""


@dataclass(frozen=True)
class Comparisons:
    """One for each group of students that are comparable, the largest first, and what is to be said of all of them."""

    each: list[Comparison]
    notes: list[str] = field(default_factory=list)


def compare(
    pairs: pd.DataFrame,
    metric: str = ACCURACY,
    *,
    against: str | None = None,
    mix: Collection[str] = (),
    where: Mapping[str, Collection[str]] | None = None,
) -> Comparison:
    """Compare the arms of these students in one table.

    Args:
        pairs: what `kd_lab.analysis.runs.pairs` returned.
        metric: what is compared, a key of kd_lab.names.
        against: the arm, or the loss, that stands in the place of plain kd.
        mix: words of `kd_lab.analysis.protocol.MIXABLE`: what may differ.
        where: by column (or parameter, without `params.`), the values to keep.

    Raises:
        UserError: no student is finished or has the metric; they are not comparable; a word that is not known.
    """
    asked, done = _asked_and_done(pairs, metric, mix, where)
    every = _with_arms(done, mix)
    check(every, mix)
    students = _counting(every, mix)
    check_against([students], against)
    return _compared(students, metric, against, mix, left_out=remarks.left_out(asked, done, len(students)))


def compare_each(
    pairs: pd.DataFrame,
    metric: str = ACCURACY,
    *,
    against: str | None = None,
    mix: Collection[str] = (),
    where: Mapping[str, Collection[str]] | None = None,
) -> Comparisons:
    """Compare the arms of these students, in as many tables as there are groups that are comparable.

    Args:
        pairs: see `compare`, as all others.
        metric: what is compared.
        against: an arm of one group, or a loss.
        mix: what does not tell groups apart.
        where: what to keep.

    Raises:
        UserError: no student is finished or has the metric; a word that is not known.
    """
    asked, done = _asked_and_done(pairs, metric, mix, where)
    groups, why = comparable(_with_arms(done, mix), mix)
    each = [_counting(group.students, mix, group.name) for group in groups]
    check_against(each, against)
    counting = pd.concat(each)["student_run"].nunique()
    left_out = list(remarks.left_out(asked, done, counting))
    if not why:
        return Comparisons([_compared(each[0], metric, against, mix, left_out=left_out)])
    found = [
        _compared(students, metric, against, mix, name=group.name) for group, students in zip(groups, each, strict=True)
    ]
    return Comparisons(found, [why, *left_out])


def _asked_and_done(
    pairs: pd.DataFrame, metric: str, mix: Collection[str], where: Mapping[str, Collection[str]] | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The students that are asked for, and those of them that count, the oldest first."""
    check_mix(mix)
    asked = _chosen(with_protocol(pairs), where or {})
    return asked, with_protocol(_finished(asked, metric)).sort_values("start_time", kind="stable")


def _counting(every: pd.DataFrame, mix: Collection[str], name: str = "") -> pd.DataFrame:
    """The newest of each arm, seed and split, with labels that tell the arms of this group apart, and its name."""
    students = newest(_with_arms(every, mix))
    data = students["data"]
    group = data if not name else f"{name}, " + data if data.nunique() > 1 else name
    return _apart(students.assign(group=group).reset_index(drop=True))


def _compared(
    students: pd.DataFrame,
    metric: str,
    against: str | None,
    mix: Collection[str],
    *,
    left_out: Iterable[str] = (),
    name: str = "",
) -> Comparison:
    alone = not students["machine"].str.contains(SHARED, regex=False, na=False).any()
    timed = (students["machine"].nunique() <= 1 and alone) or "machine" in mix
    reference = references(students, against)
    higher = metric in names.HIGHER_IS_BETTER
    arms = reached(students, metric, timed=timed)
    arms = arms.assign(kd_arm=lambda found: found["arm"].map(reference.chosen).astype(object).fillna(""))
    arms = with_differences(arms, students, metric, higher_is_better=higher)
    arms = published.with_published(arms, students, metric)
    arms = arms.sort_values(["group", "mean"], ascending=[True, not higher], kind="stable").reset_index(drop=True)
    notes = [
        *remarks.amiss(students),
        *remarks.chosen(students),
        *left_out,
        *remarks.tried(students),
        *mixed(students, mix),
        *([] if timed else [remarks.machines(students)]),
        *remarks.sizes(students, arms),
        *remarks.corrected(arms, reference.called),
        *remarks.one_split(students, arms, metric),
        *reference.notes,
        *remarks.baselines(students),
        *published.notes(arms),
    ]
    return Comparison(students, arms, notes, metric, reference.called, name)


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
