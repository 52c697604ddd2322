"""What must be the same before two numbers may stand in one column, and the refusal where it is not.

- `data`: the fingerprint, which covers every part of the data. A sweep over `dataset.seed` is one dataset cut several
  times: there each seed has one fingerprint, and all else below `dataset` (augmentation apart) agrees.
- `split`: arms may lack a seed or a split that another has, and are paired over those that both have; arms that have
  no split in common are not comparable.
- `teacher`: the sha256 of its weights, one for each split. Students without a teacher are comparable with all others.
- `budget`: the optimizer steps that the student took, a first stage of its loss included. Arms whose steps differ are
  comparable where they saw the same number of samples (other batch sizes over the same epochs).
- `code`: the sha256 of the source that a student follows from. Other losses and networks are other classes, so arms
  differ in it; within an arm (and one teacher, whose class counts too) it must be one, or some of its seeds were made
  before something was changed. Runs that do not tell it are of one code, `unknown`, which is none of the others.
- `machine`: device, threads, processes, and jobs that ran beside. Times and memory depend on it, nothing else does:
  where it differs, or was shared, they are left out, and the rest is compared.

Which weights are measured (best or last) is not among them: kd-lab measures every network after its last step.
Precision is a setting of the student's recipe, so of an arm; latency is measured in float32 whatever it is.

What is allowed by `mix` is compared all the same, and said. Only data stay apart: each is a group of its own, with its
own references and its own correction, because no difference between datasets is one between arms.
"""

import shlex
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from kd_lab.analysis.arms import SPLIT, UNIT
from kd_lab.analysis.columns import PARAMS, of_role
from kd_lab.errors import UserError, choices
from kd_lab.names import COST_TRAIN_SAMPLES_PER_S, COST_TRAIN_STEPS, COST_TRAIN_WALL_S, STUDENT

MIXABLE = ["data", "split", "teacher", "budget", "code", "machine"]
NONE = "none"
UNKNOWN = "unknown"
SHORT = 8
"""So many digits of a hash are told."""
SAME_SAMPLES = 0.005
"""Samples seen come from a rate times a time; this much rounding is none."""

OF_DATA = f"{PARAMS}dataset."
OF_TEACHER = f"{PARAMS}teacher."
NOT_OF_DATA = (f"{OF_DATA}seed", f"{OF_DATA}augment")
NOT_OF_TEACHER = (f"{OF_TEACHER}weights", f"{OF_TEACHER}reuse", f"{OF_TEACHER}layers")


def check_mix(mix: Collection[str]) -> None:
    """Raise a UserError for a word that cannot be mixed."""
    for key in mix:
        if key not in MIXABLE:
            raise UserError(f"mix={key}: {choices(key, MIXABLE)}.")


def with_protocol(students: pd.DataFrame) -> pd.DataFrame:
    """The students with the columns `data`, `teacher`, `budget` and `code` as names that are equal where these are.

    Args:
        students: rows of `kd_lab.analysis.runs.pairs`.
    """
    split = students[SPLIT] if SPLIT in students else pd.Series("", students.index)
    data = _named(students, students["dataset"], (OF_DATA, NOT_OF_DATA), students["fingerprint"], split)
    network = students["teacher_network"].fillna("teacher")
    unit = data + split.fillna("")
    teacher = _named(students, network, (OF_TEACHER, NOT_OF_TEACHER), students["teacher_weights"], unit)
    teacher = teacher.where(students["teacher_weights"].notna(), NONE)
    code = students["code"].fillna(UNKNOWN).str[:SHORT]
    return students.assign(data=data, teacher=teacher, budget=_budget(students, data), code=code)


def newest(students: pd.DataFrame) -> pd.DataFrame:
    """Those that count: of each arm, seed and split the last one."""
    return students.drop_duplicates(["data", "arm", *UNIT], keep="last")


def check(students: pd.DataFrame, mix: Collection[str]) -> None:
    """Refuse what is not comparable and not allowed by `mix`.

    Args:
        students: with the columns of `with_protocol` and `kd_lab.analysis.arms.with_arms`, the oldest first.
        mix: words of MIXABLE.

    Raises:
        UserError: says what differs, and the two ways out.
    """
    found = [(key, told) for key, told in differences(students) if key not in mix]
    if not found:
        return
    differ = " and in ".join(f"{key} ({told})" for key, told in found)
    first = str(found[0][0])
    one = one_of(students, first)
    key = "dataset.seed" if first == "split" else first
    choose = shlex.quote(f"where={key}={one}")
    allow = ",".join([*mix, *(key for key, _ in found)])
    again = ", train those of older code again (the same command does)" if first == "code" else ""
    raise UserError(
        f"These students are not comparable: they differ in {differ}. Choose one, such as {choose}{again}, "
        f"or allow it with mix={allow}."
    )


def one_of(students: pd.DataFrame, key: str) -> str:
    """The value to choose: what most have, of code the newest."""
    if key == "split":
        return str(split_of(students).iloc[0])
    return str(of_several_codes(students)["code"].iloc[-1] if key == "code" else students[key].mode().iloc[0])


def mixed(students: pd.DataFrame, mix: Collection[str]) -> list[str]:
    """What is compared although it differs, one sentence each."""
    said = {
        "data": "each is a group of its own, and accuracies of different groups say nothing about each other",
        "split": "the means of arms on different splits are not comparable",
        "teacher": "agreement and KL are to each arm's own teacher",
        "budget": "a longer training may be all that an arm is better by",
        "code": "within one arm, so a change of the source may be all that its seeds differ by",
    }
    return [f"Mixed: {key} ({told}); {said[key]}." for key, told in differences(students) if key in mix]


def split_of(students: pd.DataFrame) -> pd.Series:
    """The split of each student, a text."""
    return students["split"].fillna("").astype(str)


def differences(students: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Each key that differs, with its values and how many students have them."""
    if students["data"].nunique() > 1:
        yield "data", tally(students["data"])
    groups = [rows for _, rows in students.groupby("data")]
    apart = [rows for rows in groups if not shares_a_split(rows)]
    if apart:
        yield "split", "no split that all arms have; " + tally("dataset.seed=" + split_of(apart[0]))
    for key in ("teacher", "budget"):
        for rows in groups:
            values = rows[key][~rows[key].isin([NONE, ""])]
            if values.nunique() > 1:
                yield key, tally(values)
                break
    several = of_several_codes(students)
    if not several.empty:
        yield "code", tally(several["code"])


def of_several_codes(students: pd.DataFrame) -> pd.DataFrame:
    """Those that count of arms that were made by more than one code."""
    counting = newest(students)
    codes = counting.groupby(["data", "arm", "teacher"])["code"].transform("nunique")
    return counting[codes > 1]


def shares_a_split(rows: pd.DataFrame) -> bool:
    """Whether some split is one of every arm."""
    each = rows.assign(split=split_of(rows)).drop_duplicates(["arm", "split"])
    return bool(each["split"].value_counts().max() == each["arm"].nunique())


def tally(values: pd.Series) -> str:
    """`cnn: 100; mlp: 20 students`, the most frequent first."""
    counts = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    told = [f"{name}: {count}" for name, count in counts]
    return "; ".join(told[:5] + ([f"and {len(told) - 5} more"] if len(told) > 5 else [])) + " students"


def _named(
    students: pd.DataFrame,
    base: pd.Series,
    parameters: tuple[str, tuple[str, ...]],
    identity: pd.Series,
    unit: pd.Series,
) -> pd.Series:
    """A name from settings, the same for the same identity; with the identity where a unit has several of one name."""
    start, without = parameters
    names = [n for n in students.columns if n.startswith(start) and not n.startswith(without)]
    names = [name for name in names if not name.endswith("._partial_")]
    spec = base.astype(str)
    for _, rows in students.groupby(base):
        differing = [name for name in names if rows[name].nunique(dropna=False) > 1]
        for name in differing:
            last = rows[name].fillna("null").astype(str).str.replace(r"^\w+(\.\w+){2,}\.(?=\w+$)", "", regex=True)
            spec[rows.index] += f" {name.removeprefix(start).removesuffix('._target_')}=" + last
    spec = spec.groupby(identity.fillna(spec)).transform("first")
    several = identity.groupby([spec, unit.fillna("")]).transform("nunique") > 1
    return spec.where(~spec.isin(spec[several].unique()), spec + " " + identity.fillna("").str[:SHORT])


def _budget(students: pd.DataFrame, data: pd.Series) -> pd.Series:
    """`2,033 steps`; `131,072 samples` where the steps differ and the samples do not; empty where unknown."""
    steps = _metric(students, COST_TRAIN_STEPS)
    samples = _metric(students, COST_TRAIN_SAMPLES_PER_S) * _metric(students, COST_TRAIN_WALL_S)
    told = steps.map(lambda value: "" if np.isnan(value) else f"{value:,.0f} steps")
    for _, rows in samples.groupby(data):
        if not rows.notna().all():
            continue
        for _, close in rows.groupby(_clusters(rows)):
            if told[close.index].nunique() > 1:
                told[close.index] = f"{close.median():,.0f} samples"
    return told


def _clusters(samples: pd.Series) -> pd.Series:
    """A number for each, the same where they differ by no more than SAME_SAMPLES."""
    ordered = samples.sort_values()
    numbers, number, least = [], 0, ordered.iloc[0]
    for value in ordered:
        if value - least > SAME_SAMPLES * value:
            number, least = number + 1, value
        numbers.append(number)
    return pd.Series(numbers, ordered.index)


def _metric(students: pd.DataFrame, key: str) -> pd.Series:
    return pd.Series(of_role(students, STUDENT, key), students.index)
