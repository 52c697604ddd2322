"""Which students are repetitions of each other, and what to call them.

An arm is a student network, a loss and their settings: every parameter below `student` and `loss`, the layers that are
compared, the strategy, the augmentation, and how a teacher's answers are kept where that changes them. What an arm is
repeated over is the unit: the seed and the split (`dataset.seed`). Data, teacher and budget are no settings of an arm,
see `kd_lab.analysis.protocol`.
"""

import json
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kd_lab.analysis.columns import PARAMS

SPLIT = f"{PARAMS}dataset.seed"
UNIT = ["seed", "split"]
OF_LOSS = f"{PARAMS}loss."
OF_NETWORK = f"{PARAMS}student."
OF_RECIPE = f"{PARAMS}student.recipe."
KEPT = tuple(f"{PARAMS}teacher.cache_{what}" for what in ("dtype", "top_k", "recovery"))
OTHERS = (f"{PARAMS}dataset.augment.", f"{PARAMS}strategy.", f"{PARAMS}teacher.layers", *KEPT)
NO_SETTING = ("._partial_", ".reuse", ".weights", ".seed", f"{PARAMS}strategy._target_")  # the loss's name has the last
MISSING = ("", "null")
HARD_WEIGHT = f"{OF_LOSS}hard_weight"
ALWAYS = ".standardize"
"""Told wherever it is given: it makes another loss of the one that is named."""
SHORT = {"temperature": "T"}
TARGET = "._target_"
FACTORS = ".factors"
"""How the name ends of what `kd_lab.schedules.piecewise` multiplies a value by, one for each further piece."""
MILESTONES = ".milestones"
SCHEDULED = {f"{OF_LOSS}hard_schedule": HARD_WEIGHT, f"{OF_RECIPE}schedule": f"{OF_RECIPE}optimizer.lr"}
"""What a schedule is of; one that is not here is `schedules.NAME` beside the value NAME."""
CLASS = re.compile(r"[A-Za-z_]\w*(?:\.\w+){2,}")
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?(?![\w.])")


def settings(students: pd.DataFrame) -> list[str]:
    """The columns that are settings of an arm, in the order in which labels tell them."""
    own = (OF_LOSS, OF_NETWORK, *OTHERS)
    return sorted(name for name in students.columns if name.startswith(own) and not name.endswith(NO_SETTING))


def with_arms(students: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """The students with the columns `student` (which network it is), `split` and `arm` (a short label).

    The label has the network, the loss, those settings that differ among arms of this network and loss, and those in
    which the arm is not like most others of its network.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs`.
        more: further columns that tell arms apart, each a text that goes into the label as it is.
    """
    found = students.assign(student=_networks(students), split=students.get(SPLIT, ""), arm="")
    names = settings(students)
    values = found[names].fillna("").map(as_text)
    keys = pd.concat([found[["dataset", "student", "network", "loss", *more]], values], axis="columns").fillna("")
    unique = keys.drop_duplicates()
    labels = pd.Series("", unique.index)
    for _, rows in unique.groupby(["dataset", "network"], sort=False):
        most = {name: rows[name].mode().iloc[0] for name in names if not name.startswith(OF_LOSS)}
        for _, same in rows.groupby("loss", sort=False):
            labels[same.index] = _labels(same, names, most, more)
    codes = keys.groupby(list(keys.columns), sort=False).ngroup()
    return found.assign(arm=codes.map(dict(zip(codes[unique.index], labels, strict=True))))


def _networks(students: pd.DataFrame) -> pd.Series:
    """What makes two students the same network."""
    shape = [n for n in settings(students) if n.startswith(OF_NETWORK) and not n.startswith(OF_RECIPE)]
    shape = [name for name in shape if not name.endswith(".layers")]
    network = students["network"].astype(str)
    for name in shape:
        network = network + " " + students[name].fillna("")
    return network


def _labels(rows: pd.DataFrame, names: Sequence[str], most: dict[str, str], more: Sequence[str]) -> list[str]:
    """The labels of arms of one network and loss; one row is one arm."""
    rows = _in_pieces(rows, names)
    differing = [name for name in names if rows[name].nunique() > 1]
    shown = [n for n in differing if n.endswith(ALWAYS) or rows.loc[~rows[n].isin(MISSING), n].nunique() > 1]
    shown = [name for name in shown if not _is_rest(rows, name, shown)]
    rest = [name for name in differing if name not in shown]
    # Settings that come and go with another one, such as those of a schedule, are told only where nothing else is.
    for name in sorted(rest, key=lambda n: (not n.endswith(TARGET), n)):
        if _count(rows, [*shown, name]) > _count(rows, shown):
            shown.append(name)
    unlike = [name for name in most if name not in differing and rows[name].iloc[0] != most[name]]
    short = _short([*shown, *unlike])
    labels = []
    for row in rows.to_dict(orient="records"):
        parts = [str(row["network"]), str(row["loss"])]
        parts += [f"{short[name]}={_value(row[name])}" for name in shown if row[name] not in MISSING]
        parts += [f"{short[name]}={_value(row[name]) or 'null'}" for name in unlike]
        labels.append(" ".join([*parts, *(str(row[name]) for name in more if row[name])]))
    return labels


def _in_pieces(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Values that change in the middle of a training, as `sweep=pbt` learns them, in a row: 16.9>20>16.

    When they change is told only where an arm could not be told from another one by the values.
    """
    told, moments = rows.copy(), []
    for name in (name for name in names if name.endswith(FACTORS)):
        schedule = name.removesuffix(FACTORS)
        base, under = SCHEDULED.get(schedule) or schedule.replace(".schedules.", "."), f"{schedule}.under{TARGET}"
        changed = rows[name].str.startswith("[")
        if base not in names or not changed.any():
            continue
        pairs = zip(rows.loc[changed, base], rows.loc[changed, name], strict=True)
        told.loc[changed, base] = [_pieces(float(first), json.loads(factors)) for first, factors in pairs]
        told.loc[changed, name] = ""
        if f"{schedule}{TARGET}" in names:
            told.loc[changed, f"{schedule}{TARGET}"] = rows.loc[changed, under] if under in names else ""
        if f"{schedule}{MILESTONES}" in names:
            moments.append((changed, f"{schedule}{MILESTONES}"))
    timeless = told.copy()
    for changed, name in moments:
        timeless.loc[changed, name] = ""
    return timeless if _count(timeless, names) == _count(told, names) else told


def _pieces(first: float, factors: Sequence[float]) -> str:
    return ">".join(f"{first * factor:.3g}" for factor in (1, *factors))


def _is_rest(rows: pd.DataFrame, name: str, shown: Sequence[str]) -> bool:
    """Whether these are the hard labels' weights, and in every arm what the loss's own weight leaves of 1."""
    weights = [one for one in shown if one.endswith(".weight")]
    if name != HARD_WEIGHT or len(weights) != 1:
        return False
    sums = sum(pd.to_numeric(rows[one], errors="coerce") for one in (name, weights[0]))
    return bool(np.isclose(sums, 1.0).all())


def _count(rows: pd.DataFrame, names: Sequence[str]) -> int:
    return len(rows[[*names]].drop_duplicates()) if names else 1


def _short(names: Sequence[str]) -> dict[str, str]:
    """The last part of each name, or as many as tell it from the others."""
    parts = {name: name.removeprefix(PARAMS).removesuffix(TARGET).split(".") for name in names}
    short = {}
    for name, path in parts.items():
        lengths = range(1, len(path) + 1)
        # A name that goes deeper tells more itself: T stays T beside schedules.temperature.
        near = [other for other in parts.values() if len(other) <= len(path)]
        alone = [n for n in lengths if sum(other[-n:] == path[-n:] for other in near) == 1]
        length = alone[0] if alone else len(path)
        short[name] = SHORT.get(path[-1], path[-1]) if length == 1 else ".".join(path[-length:])
    return short


def as_text(value: object) -> str:
    """One way to write one value: `4.0` is 4."""
    try:
        return f"{float(str(value)):.12g}"
    except ValueError:
        return str(value)


def _value(value: str) -> str:
    """A class by its last name, a list without spaces and its numbers to four digits."""
    if CLASS.fullmatch(value):
        return value.rpartition(".")[2]
    short = value.replace(" ", "")
    return NUMBER.sub(lambda found: f"{float(found[0]):.4g}", short) if short.startswith("[") else short
