"""Which arm is plain kd for another one."""

import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from kd_lab.analysis.arms import MISSING, OF_LOSS, settings
from kd_lab.analysis.remarks import some
from kd_lab.errors import UserError, choices

PLAIN = "kd"
PLAIN_KD = "plain kd"
NOT_PLAIN = (".standardize", ".schedules.")
"""Endings and parts of settings that make another method of it."""

Settings = dict[str, str]


@dataclass(frozen=True)
class References:
    """By arm the arm that it is compared with, where there is one; what is to be said of it, and what it is called."""

    chosen: dict[str, str]
    notes: list[str]
    called: str = PLAIN_KD


def references(students: pd.DataFrame, against: str | None = None) -> References:
    """Choose plain kd for each arm: same data, same student, loss kd alone, and else as much like the arm as possible.

    Alike counts teacher and budget first, then the recipe, then settings of the loss of the same name. Where several
    are alike, none is chosen. `against` names another loss, or one arm, which then every arm of its group is compared
    with.

    Args:
        students: `Comparison.students`.
        against: see above; `check_against` says whether there is one.
    """
    first = students.drop_duplicates("arm").set_index("arm")
    if against not in {*first["loss"], None}:
        return _of_one(first, _named(first, str(against)), str(against))
    loss = against or PLAIN
    called = against or PLAIN_KD
    candidates = first[(first["loss"] == loss) & (_is_plain(first) | (against is not None))]
    rows_of = first[[*settings(first), "loss", "teacher", "budget"]].to_dict(orient="index")
    told = {str(arm): _settings(row) for arm, row in rows_of.items()}
    chosen, ambiguous = dict[str, str](), dict[str, tuple[str, ...]]()
    for (_, _), rows in first.groupby(["group", "student"], sort=False):
        of_these = [str(arm) for arm in rows.index if arm in candidates.index]
        for arm in map(str, rows.index):
            best = _most_alike(told[arm], {kd: told[kd] for kd in of_these}) if arm not in of_these else []
            if len(best) == 1:
                chosen[arm] = best[0]
            elif best:
                ambiguous[arm] = tuple(best)
    notes = [_chosen_note(called, chosen)] if chosen else []
    notes += [_ambiguous_note(called, list(arms), kds) for kds, arms in groupby(ambiguous, ambiguous.__getitem__)]
    notes += _unlike(called, chosen, told)
    return References(chosen, notes, called)


def check_against(groups: Sequence[pd.DataFrame], against: str | None) -> None:
    """Raise a UserError where no group has an arm or a loss that is called so."""
    firsts = [students.drop_duplicates("arm").set_index("arm") for students in groups]
    if against is None or any(against in set(first["loss"]) or _named(first, against) for first in firsts):
        return
    known = dict.fromkeys(str(name) for first in firsts for name in [*first["loss"], *first.index])
    raise UserError(f"against={against}: there is no such arm or loss; {choices(against, [*known])}.")


def _named(first: pd.DataFrame, against: str) -> str:
    """The arm that is called so, with or without its network; empty if there is none."""
    found = first.index[(first.index == against) | (first["network"] + " " + against == first.index)]
    return "" if found.empty else str(found[0])


def _of_one(first: pd.DataFrame, arm: str, against: str) -> References:
    if not arm:
        return References({}, [f"{against} is not among these arms: none is compared with it."], against)
    same = first.index[first["group"] == first.loc[arm, "group"]]
    notes = [f"In the place of {PLAIN_KD}: {arm}."]
    return References({str(other): arm for other in same if other != arm}, notes, arm)


def _is_plain(first: pd.DataFrame) -> pd.Series:
    """Whether no setting makes another method of it: standardized logits, a scheduled weight or temperature."""
    plain = pd.Series(True, first.index)
    for name in settings(first):
        if name.startswith(OF_LOSS) and any(part in name for part in NOT_PLAIN):
            plain &= first[name].fillna("").isin([*MISSING, "false"])
    return plain


def _settings(row: Mapping[Hashable, object]) -> Settings:
    """By name; those of a single loss without its name, so that a temperature is one in every loss."""
    own = f"{OF_LOSS}terms.{row['loss']}."
    return {str(n).replace(own, OF_LOSS): v for n, v in row.items() if isinstance(v, str) and v not in MISSING}


def _most_alike(own: Settings, candidates: dict[str, Settings]) -> list[str]:
    def alike(other: Settings) -> tuple[int, ...]:
        same = {name for name in own if own[name] == other.get(name)} - {"loss"}
        of_loss = sum(name.startswith(OF_LOSS) for name in same)
        protocol = len(same & {"teacher", "budget"})
        return protocol, len(same) - of_loss - protocol, of_loss

    found = {kd: alike(other) for kd, other in candidates.items()}
    most = max(found.values(), default=())
    return [kd for kd, score in found.items() if score == most]


def _chosen_note(called: str, chosen: dict[str, str]) -> str:
    counts = pd.Series(list(chosen.values())).value_counts()
    called = "Plain kd" if called == PLAIN_KD else called
    if len(counts) == 1:
        return f"{called} is the arm {counts.index[0]}."
    told = "; ".join(f"{arm} for {count}" for arm, count in counts.head(5).items())
    more = f"; and {len(counts) - 5} others" if len(counts) > 5 else ""
    return f"{called} is, for each arm, the one most like it: {told}{more} (kd_arm in arms.csv)."


def _ambiguous_note(called: str, arms: list[str], kds: tuple[str, ...]) -> str:
    choose = shlex.quote(f"against={kds[0]}")
    return f"Not compared with {called}: {some(arms)}, because {some(kds)} are equally like it; choose by {choose}."


def _unlike(called: str, chosen: dict[str, str], told: dict[str, Settings]) -> list[str]:
    """Where an arm and its kd differ in more than the loss."""
    arms: dict[str, list[str]] = {}
    for arm, kd in chosen.items():
        shared = sorted(n for n in {*told[arm], *told[kd]} - {"loss"} if not n.startswith(OF_LOSS))
        differing = [n for n in shared if told[arm].get(n) != told[kd].get(n)]
        if differing:
            arms.setdefault(", ".join(n.rsplit(".", 1)[-1] for n in differing), []).append(arm)
    return [f"Not only the loss differs from {called}, but also {what}: {some(who)}." for what, who in arms.items()]
