"""Questions to a store, as MLflow's client asks them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kd_lab.names import TAG_LOCAL_ID, TAG_REASON
from kd_lab.outside.ids import is_run_id
from kd_lab.store.client import client

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

SWEEP = "sweep"
KILLED = "the process ended without closing this run (kill -9, out of memory, or the machine went down)"
"""The reason of a run that was found by another process."""

UNMEASURED = "everything"
"""The tag kd_lab.unmeasured of a run whose network is saved and was not measured."""


def studies(uri: str) -> dict[str, str]:
    """The name of each study (MLflow: experiment) by its id."""
    mlflow, names, token = client(uri), dict[str, str](), None
    while True:
        page = mlflow.search_experiments(page_token=token)
        names.update({study.experiment_id: study.name for study in page})
        token = page.token
        if not token:
            return names


def tag_is(tag: str, value: str) -> str:
    """The filter for runs with this tag."""
    quote = '"' if "'" in value else "'"
    return f"tags.`{tag}` = {quote}{value}{quote}"


def search(uri: str, rule: str, study_ids: list[str] | None = None) -> list["MlflowRun"]:
    """The runs of these studies, all by default, that a filter finds; oldest first."""
    mlflow, found, token = client(uri), list["MlflowRun"](), None
    where = list(studies(uri)) if study_ids is None else study_ids
    while True:
        page = mlflow.search_runs(
            where, filter_string=rule, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return found


def by_local_id(uri: str, local_id: str) -> "MlflowRun | None":
    """The run that was made for this id of its own machine."""
    found = search(uri, tag_is(TAG_LOCAL_ID, local_id)) if is_run_id(local_id) else []
    return found[0] if found else None


def last_time_ms(uri: str, run: "MlflowRun") -> int:
    """When the run wrote its last metric; when it began, if it wrote none."""
    mlflow = client(uri)
    times = [point.timestamp for key in run.data.metrics for point in mlflow.get_metric_history(run.info.run_id, key)]
    return max([int(run.info.start_time), *map(int, times)])


def run_again(uri: str, run: "MlflowRun", tags: Mapping[str, str]) -> None:
    """Make a run that has ended RUNNING again, with these tags and none that speak of its end."""
    mlflow, run_id = client(uri), run.info.run_id
    if TAG_REASON in run.data.tags:
        mlflow.delete_tag(run_id, TAG_REASON)
    for tag, value in tags.items():
        mlflow.set_tag(run_id, tag, value)
    mlflow.update_run(run_id, status="RUNNING")
