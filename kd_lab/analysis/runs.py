"""Runs as tables: one row per trained network, one row per student beside its teacher and baseline."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from kd_lab.analysis.columns import IDENTITY, LINKS, OMITTED, PARAMS, PROTOCOL, SHARED, column
from kd_lab.errors import UserError, choices
from kd_lab.names import (
    BASELINE,
    OF_ALONE,
    ROLES,
    STUDENT,
    TAG_BASELINE_RUN,
    TAG_CODE,
    TAG_CONFIGURATIONS_TRIED,
    TAG_CPU,
    TAG_DATA_FINGERPRINT,
    TAG_DEVICE,
    TAG_EXPERIMENT,
    TAG_EXPERIMENT_CHANGED,
    TAG_EXPERIMENT_LOSS,
    TAG_JOBS_AT_ONCE,
    TAG_PROCESSES,
    TAG_REMARKS,
    TAG_ROLE,
    TAG_SWEEP,
    TAG_TEACHER_RUN,
    TAG_TEACHER_WEIGHTS_SHA256,
    TAG_TEST_SAMPLES,
    TAG_THREADS,
    TEACHER,
)
from kd_lab.store.location import LOCAL
from kd_lab.store.reading import Reader, reading
from kd_lab.store.records import Record

COUNT = re.compile("[1-9][0-9]{0,11}")
SKIPPED = ("seed", "network", "loss_name")
"""Parameters that are columns of their own, or say in short what others say."""


def studies(uri: str = LOCAL) -> list[str]:
    """The studies of a store that have a student, by name, the newest first.

    Raises:
        UserError: there is no such store.
    """
    with reading(uri) as reader:
        names = reader.studies()
        return [names[key] for key in names if reader.has_role(key, STUDENT)]


def runs(study: str | Sequence[str] | None = None, uri: str = LOCAL) -> pd.DataFrame:
    """One row per trained network, the newest first.

    Args:
        study: only this study, or these, and the teachers and baselines of others that their students refer to.
        uri: the store; it is read, never made.

    Returns:
        The columns of IDENTITY, LINKS and PROTOCOL (the data's fingerprint, the sha256 of the teacher's weights, what
        the cost was measured on, the sha256 of the source, the size of the test part), every metric, and those
        parameters that differ between runs of one role, or that only some runs with the same loss have, and OMITTED.

    Raises:
        UserError: there is no such store or study, or it has no runs yet.
    """
    asked = [study] if isinstance(study, str) else study
    with reading(uri) as reader:
        names = reader.studies()
        for one in asked or []:
            if one not in names.values():
                raise UserError(f"study={one}: {uri} has no such study; {choices(one, sorted(names.values()))}.")
        wanted = [key for key, name in names.items() if asked is None or name in asked]
        found = [record for record in reader.of_studies(wanted) if record.tags.get(TAG_ROLE) in ROLES]
        found += _referred(reader, found)
        sizes = _test_samples(reader, found)
    if not found:
        where = f"study={','.join(asked)}" if asked is not None else f"tracking.uri={uri}"
        raise UserError(f"{where}: there are no runs of trained networks yet; run kd-lab first.")
    frame = pd.DataFrame([_identity(record, names.get(record.study_id, "")) | record.metrics for record in found])
    frame["seed"] = pd.to_numeric(frame["seed"], errors="coerce").astype("Int64")
    frame["test_samples"] = frame["fingerprint"].map(sizes).astype("Int64")
    known = [*IDENTITY, *LINKS, *PROTOCOL]
    return pd.concat(
        [frame[[*known, *sorted(set(frame.columns) - {*known})]], _differing_params(found)], axis="columns"
    )


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per student, beside the teacher and the baseline that its run names.

    Args:
        frame: what `runs` returned.

    Returns:
        The student's identity, LINKS, PROTOCOL and parameters, `student_run`, `teacher_network`, and each metric once
        per role; empty (NaN) where a student has no teacher or no baseline. A baseline's fidelity is to the teacher of
        the student beside it, and empty where nobody measured that.

    Raises:
        UserError: there is no student.
    """
    students = frame[frame["role"] == STUDENT].reset_index(drop=True)
    if students.empty:
        raise UserError("There is no run with role=student among these; run kd-lab with a loss first.")
    params = [name for name in frame.columns if name.startswith(PARAMS)]
    apart = {*IDENTITY, *LINKS, *PROTOCOL, *params, *OF_ALONE.values()}
    metrics = [name for name in frame.columns if name not in apart]
    by_id = frame.drop_duplicates("run_id").set_index("run_id")
    others = {TEACHER: students["teacher_run"], BASELINE: students["baseline_run"], STUDENT: students["run_id"]}
    parts = [
        students[[*IDENTITY, *LINKS, *PROTOCOL, *params]].drop(columns="role").rename(columns={"run_id": "student_run"})
    ]
    for role, ids in others.items():
        part = by_id.reindex(ids)
        part.index = students.index
        if role == BASELINE:
            part = part.assign(**_fidelity_alone(students, part))
        parts.append(part[metrics].rename(columns={key: column(role, key) for key in metrics}))
        if role == TEACHER:
            parts.append(part[["network"]].rename(columns={"network": "teacher_network"}))
    return pd.concat(parts, axis="columns")


def _fidelity_alone(students: pd.DataFrame, alone: pd.DataFrame) -> dict[str, pd.Series]:
    """Of the student alone, to the teacher of the student beside it.

    The student's run has it. Runs made before had it on the baseline's, to the teacher of whichever student came first:
    that counts where it is the same one.

    Args:
        students: rows of `runs`.
        alone: the baseline of each, with the same index.
    """
    same = alone["teacher_weights"].notna() & (alone["teacher_weights"] == students["teacher_weights"])
    nothing = pd.Series(float("nan"), students.index)
    return {
        key: students.get(of_alone, nothing).fillna(alone[key].where(same))
        for key, of_alone in OF_ALONE.items()
        if key in alone
    }


def _identity(record: Record, study: str) -> dict[str, object]:
    """The columns of IDENTITY, LINKS and PROTOCOL of one run."""
    tags, params = record.tags, record.params
    role = tags[TAG_ROLE]
    return {
        "study": study,
        "run_id": record.run_id,
        "name": record.name,
        "role": role,
        "status": record.status,
        "seed": params.get("teacher.seed", params.get("seed")) if role == TEACHER else params.get("seed"),
        "dataset": _node(params, "dataset"),
        "network": params.get("network") or _node(params, TEACHER if role == TEACHER else STUDENT),
        "loss": _loss(params) if role == STUDENT else "none",
        "teacher_run": tags.get(TAG_TEACHER_RUN),
        "baseline_run": tags.get(TAG_BASELINE_RUN),
        "sweep": tags.get(TAG_SWEEP),
        "tried": tags.get(TAG_CONFIGURATIONS_TRIED),
        "start_time": pd.Timestamp(record.start_time_ms, unit="ms"),
        "remarks": tags.get(TAG_REMARKS),
        "experiment": tags.get(TAG_EXPERIMENT),
        "experiment_loss": tags.get(TAG_EXPERIMENT_LOSS),
        "experiment_changed": tags.get(TAG_EXPERIMENT_CHANGED),
        "fingerprint": tags.get(TAG_DATA_FINGERPRINT),
        "teacher_weights": tags.get(TAG_TEACHER_WEIGHTS_SHA256),
        "machine": _machine(tags),
        "code": tags.get(TAG_CODE),
    }


def _machine(tags: Mapping[str, str]) -> str:
    """What times and memory depend on: `AMD EPYC, threads=2, processes=1`, `NVIDIA H100, processes=1`.

    Jobs that shared the machine, in a sweep with `sweep.jobs=2`, are told by SHARED behind it.
    """
    device = tags.get(TAG_DEVICE, "unknown")
    if device == "cpu":
        device = f"{tags.get(TAG_CPU, device)}, threads={tags.get(TAG_THREADS)}"
    at_once = tags.get(TAG_JOBS_AT_ONCE, "1")
    return f"{device}, processes={tags.get(TAG_PROCESSES)}" + ("" if at_once == "1" else f"{SHARED}{at_once}")


def _loss(params: Mapping[str, str]) -> str:
    """`kd`, `kd+at`, `none`."""
    terms = dict.fromkeys(key.split(".")[2] for key in params if key.startswith("loss.terms."))
    return params.get("loss_name") or "+".join(terms) or "none"


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


def _referred(reader: Reader, found: Sequence[Record]) -> list[Record]:
    """The teachers and baselines that students name and that are not there yet: reused ones of other studies.

    One that was deleted since is left out: the student's own row is still true.
    """
    known = {record.run_id for record in found}
    named = {record.tags.get(tag): None for record in found for tag in (TAG_TEACHER_RUN, TAG_BASELINE_RUN)}
    others = [run_id for run_id in named if run_id is not None and run_id not in known]
    return [record for record in reader.of_ids(others) if record.tags.get(TAG_ROLE) in ROLES] if others else []


def _test_samples(reader: Reader, found: Sequence[Record]) -> dict[str, int]:
    """The size of the test part by fingerprint, which covers it. Runs made before it was a tag have it as a dataset."""
    sizes, asked = dict[str, int](), dict[str, str]()
    for record in found:
        fingerprint, told = record.tags.get(TAG_DATA_FINGERPRINT), record.tags.get(TAG_TEST_SAMPLES, "")
        if fingerprint is not None and COUNT.fullmatch(told):
            sizes[fingerprint] = int(told)
        elif fingerprint is not None and record.tags[TAG_ROLE] == STUDENT:
            asked.setdefault(fingerprint, record.run_id)
    missing = {run_id: fingerprint for fingerprint, run_id in asked.items() if fingerprint not in sizes}
    found_there = reader.test_samples(list(missing)) if missing else {}
    return sizes | {missing[run_id]: samples for run_id, samples in found_there.items()}


def _differing_params(found: Sequence[Record]) -> pd.DataFrame:
    """Those with several values in one role; and those that some runs of one role and loss have and others lack."""
    params = pd.DataFrame([record.params for record in found]).drop(columns=[*SKIPPED], errors="ignore")
    role = [record.tags[TAG_ROLE] for record in found]
    loss = [_loss(record.params) for record in found]
    several = (params.groupby(role).nunique() > 1).any()
    lacked = (params.isna().groupby([role, loss]).nunique() > 1).any()
    always = params.columns == OMITTED.removeprefix(PARAMS)
    return params[sorted(params.columns[several | lacked | always])].add_prefix(PARAMS)
