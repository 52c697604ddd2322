"""Runs in the local SQLite file that are meant for a server which was away (`tracking.offline=fallback`)."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kd_lab.names import REFERENCES, TAG_LOCAL_ID, TAG_ROLE, TAG_SYNC_TO, TAG_SYNCED_RUN
from kd_lab.outside.paths import regular_files
from kd_lab.store.client import client
from kd_lab.store.deliver import Parcel
from kd_lab.store.journal import Header
from kd_lab.store.pending import End, Input, Pending, Point
from kd_lab.store.queries import SWEEP, search

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

OWN_TAGS = (TAG_SYNC_TO, TAG_SYNCED_RUN)


class LocalRun(NamedTuple):
    """A run of the file that a server does not have."""

    started_ms: int
    run_id: str
    local_id: str
    name: str
    target: str
    is_sweep: bool


def waiting(local_uri: str, uri: str | None) -> list[LocalRun]:
    """The runs meant for a server, and those that they refer to, which may have been there before; once each.

    Args:
        local_uri: the file.
        uri: the server, if it is not the one they were meant for.
    """
    found: dict[str, tuple[MlflowRun, str]] = {}
    for run in search(local_uri, f"tags.`{TAG_SYNC_TO}` LIKE '%'"):
        target = uri or run.data.tags[TAG_SYNC_TO]
        for one in [*_referred_to(local_uri, run), run]:
            if TAG_SYNCED_RUN not in one.data.tags and target != local_uri:
                found.setdefault(one.info.run_id, (one, target))
    return [
        LocalRun(
            *(run.info.start_time, run_id, run.data.tags.get(TAG_LOCAL_ID, run_id), run.info.run_name, target),
            is_sweep=run.data.tags.get(TAG_ROLE) == SWEEP,
        )
        for run_id, (run, target) in found.items()
    ]


def local_parcel(local_uri: str, run_id: str, scratch: Path) -> Parcel:
    """Everything of a run; artifacts that do not lie on this machine are copied into the scratch folder."""
    mlflow = client(local_uri)
    run = mlflow.get_run(run_id)
    tags = {key: value for key, value in run.data.tags.items() if key not in OWN_TAGS}
    own_id = tags.setdefault(TAG_LOCAL_ID, run_id)
    points = [
        Point(key, point.value, point.timestamp, point.step)
        for key in run.data.metrics
        for point in mlflow.get_metric_history(run_id, key)
    ]
    root = mlflow.local_root(run_id) or Path(mlflow.download_artifacts(run_id, "", str(scratch)))
    artifacts = regular_files(root)
    inputs = [Input.of(one) for one in (run.inputs.dataset_inputs if run.inputs else ())]
    end = None if run.info.status == "RUNNING" else End(run.info.status, run.info.end_time)
    is_sweep = tags.get(TAG_ROLE) == SWEEP  # its list of jobs may name any run of the study
    named = search(local_uri, "", [run.info.experiment_id]) if is_sweep else _referred_to(local_uri, run)
    others = {other.info.run_id: other.data.tags.get(TAG_LOCAL_ID, other.info.run_id) for other in named}
    study = mlflow.get_experiment(run.info.experiment_id).name
    return Parcel(
        Header(local_uri, None, own_id, study, run.info.run_name, run.info.start_time, run.data.params, tags),
        Pending(points=points, artifacts=artifacts, end=end, inputs=inputs),
        root,
        {**others, run_id: own_id},
    )


def mark_synced(local_uri: str, run_id: str, new_id: str) -> None:
    """Say that a server has this run, under that id."""
    client(local_uri).set_tag(run_id, TAG_SYNCED_RUN, new_id)


def _referred_to(local_uri: str, run: "MlflowRun") -> "list[MlflowRun]":
    from mlflow.exceptions import MlflowException

    found = []
    for tag in REFERENCES:
        if tag in run.data.tags:
            try:
                found.append(client(local_uri).get_run(run.data.tags[tag]))
            except MlflowException:  # it is elsewhere, or was deleted
                continue
    return found
