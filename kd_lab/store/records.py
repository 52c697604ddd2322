"""Runs as they are read, thousands at once: a comparison wants every run of a study.

MLflow's client takes 45 s for 10,000 runs of a SQLite file, whose four tables alone are read in 2 s: a file is read
with SQL, never written. A server's pages are asked for side by side and taken as the JSON that they come as, because
the client spends a third of the time on objects that become columns anyway.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kd_lab.names import ROLES, TAG_DATA_CONTEXT, TAG_ROLE
from kd_lab.outside.address import with_login
from kd_lab.outside.database import BUSY_TIMEOUT_S
from kd_lab.outside.ids import is_run_id
from kd_lab.store.client import client, http_status
from kd_lab.store.queries import studies, tag_is

PAGE = 200
WORKERS = 4  # as many as an MLflow server has unless told otherwise
WINDOWS = 32
TEST = "test"
"""What the test part is read for, see kd_lab.job.inputs."""
MOST_SAMPLES = 10**12
SEARCH = "/api/2.0/mlflow/runs/search"


@dataclass
class Record:
    """One run: who it is, and the last value of each metric, every parameter and tag."""

    run_id: str
    study_id: str
    name: str
    status: str
    start_time_ms: int
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class SqliteReader:
    """The runs of a SQLite file that MLflow made."""

    def __init__(self, database: Path) -> None:
        self._uri = f"{database.as_uri()}?mode=ro"

    def studies(self) -> dict[str, str]:
        """The name of each study (MLflow: experiment) by its id; deleted ones are left out."""
        with closing(self._connect()) as connection:
            active = "FROM experiments WHERE lifecycle_stage = 'active' ORDER BY creation_time DESC"
            return {str(key): name for key, name in connection.execute(f"SELECT experiment_id, name {active}")}

    def has_role(self, study_id: str, role: str) -> bool:
        """Whether a run of this role is in the study."""
        rule = "SELECT 1 FROM runs JOIN tags USING (run_uuid) WHERE experiment_id = ? AND key = ? AND value = ? "
        with closing(self._connect()) as connection:
            asked = (int(study_id), TAG_ROLE, role)
            return connection.execute(f"{rule} AND lifecycle_stage = 'active' LIMIT 1", asked).fetchone() is not None

    def of_studies(self, study_ids: Sequence[str]) -> list[Record]:
        """All runs of these studies that were not deleted, the newest first."""
        return self._read("experiment_id IN (SELECT CAST(value AS INTEGER) FROM json_each(?))", study_ids)

    def of_ids(self, run_ids: Sequence[str]) -> list[Record]:
        """The runs with these ids, those that are still there."""
        return self._read("run_uuid IN (SELECT value FROM json_each(?))", run_ids)

    def newest_networks(self, most: int) -> list[str]:
        """The ids of the networks that were trained last."""
        rule = "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE key = ? AND lifecycle_stage = 'active'"
        these = f"{rule} AND value IN (SELECT value FROM json_each(?)) ORDER BY start_time DESC LIMIT ?"
        with closing(self._connect()) as connection:
            found = connection.execute(these, (TAG_ROLE, json.dumps(ROLES), most))
            return [run_id for (run_id,) in found if is_run_id(run_id)]

    def test_samples(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The size of the test part of those runs that name it among their datasets."""
        inputs = "inputs i JOIN datasets d ON d.dataset_uuid = i.source_id JOIN input_tags t USING (input_uuid)"
        of_test = f"SELECT i.destination_id, d.dataset_profile FROM {inputs} WHERE t.name = ? AND t.value = ?"
        these = f"{of_test} AND i.destination_id IN (SELECT value FROM json_each(?))"
        with closing(self._connect()) as connection:
            return _known(connection.execute(these, (TAG_DATA_CONTEXT, TEST, json.dumps(list(run_ids)))))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._uri, uri=True, timeout=BUSY_TIMEOUT_S)

    def _read(self, which: str, values: Sequence[str]) -> list[Record]:
        chosen = f"FROM runs WHERE lifecycle_stage = 'active' AND {which}"
        asked = (json.dumps(list(values)),)
        with closing(self._connect()) as connection:
            connection.execute("BEGIN")  # the four tables as they were at one moment
            heads = connection.execute(
                f"SELECT run_uuid, experiment_id, name, status, start_time {chosen} ORDER BY start_time DESC, run_uuid",
                asked,
            )
            # One bad row in a file that others write does not keep the others from being read.
            found = {row[0]: Record(row[0], str(row[1]), row[2] or "", *row[3:]) for row in heads if is_run_id(row[0])}
            of_these = f"WHERE run_uuid IN (SELECT run_uuid {chosen})"
            none = Record("", "", "", "", 0)
            for run, key, value in connection.execute(f"SELECT run_uuid, key, value FROM params {of_these}", asked):
                found.get(run, none).params[key] = value
            for run, key, value in connection.execute(f"SELECT run_uuid, key, value FROM tags {of_these}", asked):
                found.get(run, none).tags[key] = value
            metrics = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics {of_these}"
            for run, key, value, is_nan in connection.execute(metrics, asked):
                found.get(run, none).metrics[key] = float("nan") if is_nan else value
        return list(found.values())


class ServerReader:
    """The runs of an MLflow server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def studies(self) -> dict[str, str]:
        """The name of each study (MLflow: experiment) by its id; deleted ones are left out."""
        return studies(self._uri)

    def has_role(self, study_id: str, role: str) -> bool:
        """Whether a run of this role is in the study."""
        return bool(self._page([study_id], tag_is(TAG_ROLE, role), size=1)[0])

    def of_studies(self, study_ids: Sequence[str]) -> list[Record]:
        """All runs of these studies that were not deleted, the newest first."""
        newest, token = self._page(study_ids, "")
        found = {record.run_id: record for record in newest}
        if token:
            found |= {record.run_id: record for record in self._older(study_ids, newest[-1].start_time_ms)}
        return sorted(found.values(), key=lambda record: (-record.start_time_ms, record.run_id))

    def of_ids(self, run_ids: Sequence[str]) -> list[Record]:
        """The runs with these ids, those that are still there."""
        return [_of_client(run) for run in self._get(run_ids)]

    def test_samples(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The size of the test part of those runs that name it among their datasets."""
        inputs = [(run.info.run_id, one) for run in self._get(run_ids) for one in run.inputs.dataset_inputs]
        context = [{tag.key: tag.value for tag in one.tags}.get(TAG_DATA_CONTEXT) for _, one in inputs]
        found = zip(inputs, context, strict=True)
        return _known((run_id, one.dataset.profile) for (run_id, one), read_for in found if read_for == TEST)

    def _get(self, run_ids: Sequence[str]) -> Iterator[Any]:
        """The runs with these ids as MLflow's client has them, those that are still there."""
        from mlflow.exceptions import MlflowException

        for run_id in run_ids:
            try:
                yield client(self._uri).get_run(run_id)
            except MlflowException as error:
                if http_status(error) not in (400, 404):
                    raise

    def _older(self, study_ids: Sequence[str], latest_ms: int) -> Iterable[Record]:
        """What started at this time and before, in windows of equal length that are asked for side by side."""
        oldest, _ = self._page(study_ids, "", order="ASC", size=1)
        first = oldest[0].start_time_ms
        step = (latest_ms - first) // WINDOWS + 1
        windows = [f"attributes.start_time >= {first + i * step}" for i in range(WINDOWS)]
        windows = [f"{rule} AND attributes.start_time < {first + (i + 1) * step}" for i, rule in enumerate(windows)]
        with ThreadPoolExecutor(WORKERS) as pool:
            for records in pool.map(lambda rule: self._window(study_ids, rule), windows):
                yield from records

    def _window(self, study_ids: Sequence[str], rule: str) -> list[Record]:
        found, token = self._page(study_ids, rule)
        while token:
            more, token = self._page(study_ids, rule, token)
            found += more
        return found

    def _page(
        self, study_ids: Sequence[str], rule: str, token: str = "", *, order: str = "DESC", size: int = PAGE
    ) -> tuple[list[Record], str]:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request_safe

        body = {"experiment_ids": list(study_ids), "filter": rule, "max_results": size, "page_token": token}
        body["order_by"] = [f"attributes.start_time {order}"]
        host = get_default_host_creds(with_login(self._uri))  # type: ignore[no-untyped-call]
        response: Any = http_request_safe(host, SEARCH, "POST", json={k: v for k, v in body.items() if v})  # type: ignore[no-untyped-call]
        answer = response.json()
        runs = [_of_json(run) for run in answer.get("runs", []) if is_run_id(run["info"]["run_id"])]
        return runs, answer.get("next_page_token", "")


def _known(profiles: Iterable[tuple[str, object]]) -> dict[str, int]:
    """By run, how many samples the profile of a dataset tells; what is no number of samples tells nothing."""
    found = {}
    for run_id, profile in profiles:
        try:
            samples = json.loads(str(profile))["samples"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(samples, int) and 0 < samples < MOST_SAMPLES:
            found[run_id] = samples
    return found


def _of_json(run: Mapping[str, Any]) -> Record:
    info, data = run["info"], run["data"]
    head = info["run_id"], str(info["experiment_id"]), info.get("run_name", ""), info["status"], int(info["start_time"])
    # Protobuf's JSON has "NaN" and "Infinity" as text.
    metrics = {one["key"]: float(one["value"]) for one in data.get("metrics", [])}
    params = {one["key"]: one.get("value", "") for one in data.get("params", [])}
    return Record(*head, metrics, params, {one["key"]: one.get("value", "") for one in data.get("tags", [])})


def _of_client(run: Any) -> Record:
    """What MLflow's client returned."""
    info, data = run.info, run.data
    head = info.run_id, str(info.experiment_id), info.run_name or "", info.status, info.start_time
    return Record(*head, dict(data.metrics), dict(data.params), dict(data.tags))
