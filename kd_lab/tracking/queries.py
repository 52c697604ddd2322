"""Questions to a store, as MLflow's client asks them."""

from typing import TYPE_CHECKING

from kd_lab.names import TAG_LOCAL_ID, TAG_ROLE, TAG_SWEEP
from kd_lab.tracking.client import client

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

SWEEP = "sweep"


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
    found = search(uri, tag_is(TAG_LOCAL_ID, local_id)) if local_id else []
    return found[0] if found else None


def sweep_run(uri: str, study_id: str, sweep_id: str) -> "MlflowRun | None":
    """The parent run of a sweep."""
    found = search(uri, f"{tag_is(TAG_SWEEP, sweep_id)} and {tag_is(TAG_ROLE, SWEEP)}", [study_id])
    return found[0] if found else None


def last_time_ms(uri: str, run: "MlflowRun") -> int:
    """When the run wrote its last metric; when it began, if it wrote none."""
    mlflow = client(uri)
    times = [point.timestamp for key in run.data.metrics for point in mlflow.get_metric_history(run.info.run_id, key)]
    return max([int(run.info.start_time), *map(int, times)])
