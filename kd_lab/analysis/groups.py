"""Students put into groups of those that are comparable: what `kd_lab.analysis.protocol` refuses is told apart."""

import shlex
from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from kd_lab.analysis.protocol import (
    NONE,
    differences,
    newest,
    of_several_codes,
    one_of,
    shares_a_split,
    split_of,
    tally,
)

PARTED = ["data", "split", "teacher", "budget", "code"]
"""What is told apart, in this order; of a machine only costs depend."""
AGE = "code_age"
"""A column: of arms that were made by several codes, which of them, the newest or an older one."""


class Group(NamedTuple):
    """Students that are comparable, and what tells them from other groups; no name where there is one group."""

    name: str
    students: pd.DataFrame


def comparable(students: pd.DataFrame, mix: Collection[str]) -> tuple[list[Group], str]:
    """The groups, the largest first, and in a sentence why there are several.

    Students without a teacher are comparable with those of every teacher, and so are in each of their groups.

    Args:
        students: with the columns of `with_protocol` and `kd_lab.analysis.arms.with_arms`, the oldest first.
        mix: words of MIXABLE: what does not tell apart.
    """
    found = [students.assign(**{AGE: ""})]
    keys = {key for key, _ in differences(students)} - {"code"}
    for key in PARTED:
        if key == "code":
            found = [_with_age(newest(rows)) for rows in found]
        parts = found if key in mix else [part for rows in found for part in _parts(rows, key)]
        keys |= {key} if len(parts) > len(found) else set()
        found = parts
    groups = sorted({tuple(rows.index): rows for rows in found}.values(), key=len, reverse=True)
    if len(groups) == 1:
        return [Group("", groups[0])], ""
    told = [{key: _called(rows, key) for key in PARTED if key in keys and key not in mix} for rows in groups]
    differing = [key for key in told[0] if len({one[key] for one in told}) > 1]
    names = [", ".join(filter(None, (one[key] for key in differing))) for one in told]
    return list(map(Group, names, groups)), _why(groups, differing, mix)


def _parts(rows: pd.DataFrame, key: str) -> list[pd.DataFrame]:
    """The rows by what they are in it; those that go with all of them are in every part."""
    labels = _labels(rows, key)
    several = [label for label in labels.unique() if label]
    return [rows[labels.isin([label, ""])] for label in several] if len(several) > 1 else [rows]


def _labels(rows: pd.DataFrame, key: str) -> pd.Series:
    """What tells the rows apart; empty where it does not."""
    if key == "data":
        return rows["data"]
    if key == "split":
        return pd.concat([_common_split(part) for _, part in rows.groupby("data")]).reindex(rows.index)
    labels = rows[AGE if key == "code" else key].replace(NONE, "")
    several = labels.where(labels != "").groupby(rows["data"]).transform("nunique") > 1
    return labels.where(several, "")


def _common_split(rows: pd.DataFrame) -> pd.Series:
    """For each arm a split that as many others as possible have too; empty where one is that of all arms."""
    labels = pd.Series("", rows.index)
    if shares_a_split(rows):
        return labels
    split, left = split_of(rows), rows["arm"]
    while not left.empty:
        arms = left.groupby(split[left.index]).unique()
        most = arms.map(len).idxmax()
        labels[rows["arm"].isin(arms[most])] = most
        left = left[~left.isin(arms[most])]
    return labels


def _with_age(rows: pd.DataFrame) -> pd.DataFrame:
    """How old the code of each is, in an arm that has several."""
    several = of_several_codes(rows)
    if several.empty:
        return rows
    arm = [several["arm"], several["teacher"], several["data"]]
    last = several.groupby([*arm, several["code"]])["start_time"].transform("max")
    age = last.groupby(arm).rank(method="dense", ascending=False)
    ages = {1.0: "newest code", 2.0: "older code"}
    told = pd.Series("newest code", rows.index)
    told[several.index] = age.map(lambda number: ages.get(number, f"older code {number - 1:.0f}"))
    return rows.assign(**{AGE: told})


def _called(rows: pd.DataFrame, key: str) -> str:
    """What a group is in one of PARTED."""
    if key == "split":
        return "dataset.seed=" + ",".join(sorted(split_of(rows).unique()))
    found = [str(value) for value in rows[AGE if key == "code" else key].unique() if value not in (NONE, "")]
    if key == "teacher":
        return f"teacher {', '.join(found)}" if found else "no teacher"
    return ", ".join(found)


def _why(groups: list[pd.DataFrame], keys: list[str], mix: Collection[str]) -> str:
    """The sentence; a student that is in several groups counts once."""
    every = pd.concat(groups)
    every = every[~every.index.duplicated()].sort_index()
    columns = {key: every[key] for key in keys if key in ("data", "teacher", "budget")}
    columns |= {"code": every[AGE], "split": "dataset.seed=" + split_of(every)}
    told = " and in ".join(f"{key} ({tally(columns[key][~columns[key].isin([NONE, ''])])})" for key in keys)
    where = "dataset.seed" if keys[0] == "split" else keys[0]
    keep = shlex.quote(f"where={where}={one_of(every, keys[0])}")
    return (
        f"These students differ in {told}: those that are comparable have tables of their own, {len(groups)} in all. "
        f"{keep} keeps one, mix={','.join([*mix, *keys])} puts all into one."
    )
