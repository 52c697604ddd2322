"""Runs as tables: one row per trained network, one row per student beside its teacher and baseline, one per setting.

Column names: a metric has its key (`test/accuracy_top1`), in `pairs` with the role before it
(`student.test/accuracy_top1`); a parameter is `params.` and its dotted name.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kd_lab.analysis.reading import connected, search, studies
from kd_lab.errors import UserError, choices
from kd_lab.names import (
    BASELINE,
    ROLES,
    STUDENT,
    TAG_BASELINE_RUN,
    TAG_ROLE,
    TAG_SWEEP,
    TAG_TEACHER_RUN,
    TEACHER,
    TEST_ACCURACY_TOP1,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

IDENTITY = ["study", "run_id", "name", "role", "status", "seed", "dataset", "network", "loss"]
LINKS = ["teacher_run", "baseline_run", "sweep", "start_time"]
SETTING = ["dataset", "network", "loss"]
PARAMS = "params."
UNIT_ENDINGS = ("seed", "weights")
RESAMPLES = 10_000


def runs(study: str | None = None, uri: str = "sqlite:///mlflow.db") -> pd.DataFrame:
    """One row per trained network, the newest first.

    Args:
        study: only this study, and the teachers and baselines of other studies that its students refer to.
        uri: the store; it is read, never made.

    Returns:
        The columns of IDENTITY and LINKS, every metric, and those parameters that differ between runs of one role,
        or that only some runs with the same loss have.

    Raises:
        UserError: there is no such store or study, or it has no runs yet.
    """
    with connected(uri) as client:
        names = studies(client)
        wanted = [key for key, name in names.items() if study in (None, name)]
        if not wanted:
            raise UserError(f"study={study}: {uri} has no such study; {choices(study, sorted(names.values()))}.")
        found = [run for run in search(client, wanted) if run.data.tags.get(TAG_ROLE) in ROLES]
        found += _referred(client, found)
    if not found:
        where = f"study={study}" if study is not None else f"tracking.uri={uri}"
        raise UserError(f"{where}: there are no runs of trained networks yet; run kd-lab first.")
    rows = [_identity(run, names.get(run.info.experiment_id, "")) | dict(run.data.metrics) for run in found]
    frame = pd.DataFrame(rows)
    frame["seed"] = pd.to_numeric(frame["seed"], errors="coerce").astype("Int64")
    metrics = sorted(set(frame.columns) - {*IDENTITY, *LINKS})
    return pd.concat([frame[[*IDENTITY, *LINKS, *metrics]], _differing_params(found, frame["loss"])], axis="columns")


def column(role: str, key: str) -> str:
    """The name of one role's metric in the table of `pairs`."""
    return f"{role}.{key}"


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per student, beside the teacher and the baseline that its run names.

    Args:
        frame: what `runs` returned.

    Returns:
        The student's identity, LINKS and parameters, `student_run`, `teacher_network`, and each metric once per role;
        empty (NaN) where a student has no teacher or no baseline.

    Raises:
        UserError: there is no student.
    """
    students = frame[frame["role"] == STUDENT].reset_index(drop=True)
    if students.empty:
        raise UserError("There is no run with role=student among these; run kd-lab with a loss first.")
    params = [name for name in frame.columns if name.startswith(PARAMS)]
    metrics = [name for name in frame.columns if name not in {*IDENTITY, *LINKS, *params}]
    by_id = frame.drop_duplicates("run_id").set_index("run_id")
    others = {TEACHER: students["teacher_run"], BASELINE: students["baseline_run"], STUDENT: students["run_id"]}
    parts = [students[[*IDENTITY, *LINKS, *params]].drop(columns="role").rename(columns={"run_id": "student_run"})]
    for role, ids in others.items():
        part = by_id.reindex(ids)
        part.index = students.index
        parts.append(part[metrics].rename(columns={key: column(role, key) for key in metrics}))
        if role == TEACHER:
            parts.append(part[["network"]].rename(columns={"network": "teacher_network"}))
    return pd.concat(parts, axis="columns")


def sweep_summary(
    pairs: pd.DataFrame,
    metric: str = TEST_ACCURACY_TOP1,
    by: Sequence[str] | None = None,
    *,
    higher_is_better: bool = True,
    bootstrap_seed: int = 0,
) -> pd.DataFrame:
    """What each setting reached over its seeds, and what the student gained over its own baseline.

    Only FINISHED students count; of two runs of one setting and seed, the newer. The interval is the percentile
    bootstrap over the paired differences (Efron and Tibshirani, 1993, section 13.3; 10000 resamples). With few seeds
    it is too narrow: take 10 and more for a claim.

    Args:
        pairs: what `pairs` returned.
        metric: a key of kd_lab.names.
        by: the columns that make a setting; by default the dataset, the network, the loss, and every parameter that
            differs among runs that agree in these (seeds and where weights come from do not).
        higher_is_better: what counts as a win.
        bootstrap_seed: fixes the resamples.

    Returns:
        One row per setting: the columns of `by`; `n` students; per role mean and sample sd (`student_mean`, ...);
        `n_pairs` students with a baseline; the mean difference student - baseline with its 95% interval
        (`difference_mean`, `difference_low`, `difference_high`); `wins` of n_pairs.

    Raises:
        UserError: no student is finished, or none has this metric.
    """
    done = _finished(pairs, metric)
    setting = list(by) if by is not None else _setting(done)
    groups = _newest(done, setting).groupby(setting, dropna=False, sort=True)
    return pd.DataFrame(
        dict(zip(setting, values, strict=True)) | _summary(group, metric, higher_is_better, bootstrap_seed)
        for values, group in groups
    )


def _identity(run: "Run", study: str) -> dict[str, object]:
    """The columns of IDENTITY and LINKS of one run."""
    tags, params = run.data.tags, run.data.params
    role = tags[TAG_ROLE]
    losses = dict.fromkeys(key.split(".")[2] for key in params if key.startswith("loss.terms."))
    return {
        "study": study,
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "role": role,
        "status": run.info.status,
        "seed": params.get("teacher.seed", params.get("seed")) if role == TEACHER else params.get("seed"),
        "dataset": _node(params, "dataset"),
        "network": _node(params, TEACHER if role == TEACHER else STUDENT),
        "loss": ("+".join(losses) or "none") if role == STUDENT else "none",
        "teacher_run": tags.get(TAG_TEACHER_RUN),
        "baseline_run": tags.get(TAG_BASELINE_RUN),
        "sweep": tags.get(TAG_SWEEP),
        "start_time": pd.Timestamp(run.info.start_time, unit="ms"),
    }


def _node(params: Mapping[str, str], node: str) -> str:
    """A short name for what a node of the config builds: `mlp`, `timm resnet18`, `3 x cnn`."""
    target = params.get(f"{node}._target_")
    if target is None:
        return "none"
    if f"{node}.member._target_" in params:
        return f"{params.get(f'{node}.size', '?')} x {_node(params, f'{node}.member')}"
    parts = target.split(".")
    # Ours are one per module, so the module is the name that the user typed; elsewhere the class is.
    short = parts[-2] if target.startswith("kd_lab.") and len(parts) > 2 else parts[-1]
    return f"{short} {params[f'{node}.name']}" if f"{node}.name" in params else short


def _referred(client: "MlflowClient", found: list["Run"]) -> list["Run"]:
    """The teachers and baselines that students name and that are not there yet: reused ones of other studies."""
    from mlflow.exceptions import MlflowException

    known = {run.info.run_id for run in found}
    others = []
    for run in found:
        for tag in (TAG_TEACHER_RUN, TAG_BASELINE_RUN):
            other = run.data.tags.get(tag)
            if other is None or other in known:
                continue
            known.add(other)
            try:
                others.append(client.get_run(other))
            except MlflowException:  # deleted for good since: the student's own row is still true
                continue
    return [run for run in others if run.data.tags.get(TAG_ROLE) in ROLES]


def _differing_params(found: list["Run"], loss: pd.Series) -> pd.DataFrame:
    params = pd.DataFrame([dict(run.data.params) for run in found]).drop(columns="seed", errors="ignore")
    role = [run.data.tags[TAG_ROLE] for run in found]
    several = (params.groupby(role).nunique() > 1).any()
    # A setting that one arm was given and another was not (z-scored logits) has one value, or none.
    some = (params.groupby([role, loss.to_numpy()]).nunique(dropna=False) > 1).any()
    differing = sorted(params.columns[several | some])
    return params[differing].add_prefix(PARAMS)


def _params(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith(PARAMS)]


def _metrics(pairs: pd.DataFrame) -> list[str]:
    start = f"{STUDENT}."
    return [name.removeprefix(start) for name in pairs.columns if name.startswith(start)]


def _setting(done: pd.DataFrame) -> list[str]:
    own = [name for name in _params(done) if not name.endswith(UNIT_ENDINGS)]
    counts = done.groupby(SETTING, dropna=False)[own].nunique(dropna=False)
    return SETTING + [name for name in own if (counts[name] > 1).any()]


def _finished(pairs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The students that ended well and have the metric."""
    of_student = column(STUDENT, metric)
    if of_student not in pairs:
        raise UserError(f"No run has the metric {metric}; {choices(metric, _metrics(pairs))}.")
    done = pairs[(pairs["status"] == "FINISHED") & pairs[of_student].notna()]
    if done.empty:
        raise UserError(f"No finished student has the metric {metric}.")
    return done


def _newest(done: pd.DataFrame, setting: list[str]) -> pd.DataFrame:
    """One run of each setting and seed, the last."""
    unit = ["seed", *[name for name in _params(done) if name.endswith(UNIT_ENDINGS) and name not in setting]]
    return done.sort_values("start_time", ascending=False).drop_duplicates([*setting, *unit])


def _summary(group: pd.DataFrame, metric: str, higher_is_better: bool, bootstrap_seed: int) -> dict[str, float]:
    row: dict[str, float] = {"n": len(group)}
    for role in ROLES:
        values = group[column(role, metric)]
        row |= {f"{role}_mean": values.mean(), f"{role}_sd": values.std(ddof=1)}
    difference = (group[column(STUDENT, metric)] - group[column(BASELINE, metric)]).dropna().to_numpy(dtype=np.float64)
    low, high = bootstrap_interval(difference, np.random.default_rng(bootstrap_seed))
    better = difference > 0 if higher_is_better else difference < 0
    mean = float(difference.mean()) if difference.size else float("nan")
    row |= {"n_pairs": difference.size, "difference_mean": mean, "difference_low": low, "difference_high": high}
    return row | {"wins": int(better.sum())}


def bootstrap_interval(values: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """The 95% percentile interval of the mean of `values` [N]; NaN for fewer than two."""
    if values.size < 2:
        return float("nan"), float("nan")
    means = generator.choice(values, size=(RESAMPLES, values.size)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
