"""What a run has to say and the store may not have yet; and how it is said, one request at a time."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kd_lab.outside.paths import regular
from kd_lab.store.client import client, is_away

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MAX_POINTS = 800  # one log_batch of MLflow takes 100 parameters, 100 tags and 1000 things in all
MAX_PARAMS = 100
MAX_TAGS = 100
MAX_FLOAT = 1.7976931348623157e308  # what MLflow stores for an infinite value


class Point(NamedTuple):
    """One metric of one step; the time is in milliseconds since 1970, as MLflow counts."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class End(NamedTuple):
    """How and when a run ended: FINISHED, FAILED or KILLED."""

    status: str
    time_ms: int


class Input(NamedTuple):
    """A dataset that a run reads, as MLflow has it: content is told by name and digest, which has up to 36 characters.

    source, schema, profile: JSON. tags: what the run reads it for, `mlflow.data.context`.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: dict[str, str]

    @classmethod
    def of(cls, stored: "DatasetInput") -> "Input":
        """As a store has it."""
        data, tags = stored.dataset, {tag.key: tag.value for tag in stored.tags}
        return cls(data.name, data.digest, data.source_type, data.source, data.schema, data.profile, tags)


@dataclass
class Entries:
    """Things to write. Artifacts are paths inside the run; their content is in the folder of the kept run."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    end: End | None = None
    inputs: list[Input] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.params or self.tags or self.points or self.inputs or self.artifacts or self.end)

    def add(self, more: "Entries") -> None:
        """Take in what came later."""
        self.params.update(more.params)
        self.tags.update(more.tags)
        self.points.extend(more.points)
        self.artifacts.extend(more.artifacts)
        self.inputs.extend(more.inputs)
        self.end = more.end or self.end

    def first(self) -> "Entries":
        """What one request can write: a batch, the inputs, an artifact, and the end when nothing else is left."""
        if self.params or self.tags or self.points:
            params, tags = list(self.params.items())[:MAX_PARAMS], list(self.tags.items())[:MAX_TAGS]
            return Entries(dict(params), dict(tags), self.points[:MAX_POINTS])
        if self.inputs:
            return Entries(inputs=self.inputs[:])
        if self.artifacts:
            return Entries(artifacts=self.artifacts[:1])
        return Entries(end=self.end)

    def discard(self, sent: "Entries") -> None:
        """Drop what `first` gave out; a tag that has another value by now stays."""
        for ours, theirs in ((self.params, sent.params), (self.tags, sent.tags)):
            for key, value in theirs.items():
                if ours.get(key) == value:
                    del ours[key]
        del self.points[: len(sent.points)]
        del self.artifacts[: len(sent.artifacts)]
        del self.inputs[: len(sent.inputs)]
        if self.end == sent.end:
            self.end = None

    def to_line(self) -> str:
        """One line of JSON; NaN and infinity as Python writes them."""
        return json.dumps({name: value for name, value in vars(self).items() if value}) + "\n"

    @classmethod
    def of_line(cls, line: str) -> "Entries":
        """The other way round.

        Raises:
            ValueError: the line is not whole (the machine went down while it was written), or not one of ours.
        """
        try:
            record = json.loads(line)
            record["points"] = [Point(str(k), float(v), int(t), int(s)) for k, v, t, s in record.get("points", [])]
            record["inputs"] = [Input(*one) for one in record.get("inputs", [])]
            record["end"] = End(*record["end"]) if "end" in record else None
            return cls(**record)
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no line of a run: {error}") from error


def send(uri: str, run_id: str, part: Entries, files: Path, *, doubtful: bool = False) -> None:
    """Write what `first` gave out.

    Args:
        uri: the store.
        run_id: a run that is there.
        part: what is written.
        files: the folder that holds the artifacts.
        doubtful: whether the store may have some of the points already; those are left out.

    Raises:
        UserError: an artifact is no file of its own in that folder.
    """
    from mlflow.entities import Metric, Param, RunTag

    mlflow = client(uri)
    for artifact in part.artifacts:
        file = regular(files, artifact)
        mlflow.log_artifact(run_id, str(file), str(Path(artifact).parent) if "/" in artifact else None)
    points = unwritten(uri, run_id, part.points) if doubtful else part.points
    if points or part.params or part.tags:
        mlflow.log_batch(
            run_id,
            metrics=[Metric(*point) for point in points],
            params=[Param(key, value) for key, value in part.params.items()],
            tags=[RunTag(key, value) for key, value in part.tags.items()],
        )
    if part.inputs:
        _send_inputs(uri, run_id, part.inputs)
    if part.end is not None:
        mlflow.set_terminated(run_id, part.end.status, part.end.time_ms)


def _send_inputs(uri: str, run_id: str, inputs: list[Input]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    datasets = [
        DatasetInput(Dataset(*one[:-1]), [InputTag(key, value) for key, value in one.tags.items()]) for one in inputs
    ]
    try:
        client(uri).log_inputs(run_id, datasets=datasets)  # those that the run has already are left as they are
    except MlflowException as error:
        if is_away(error):
            raise
        # Another job of the study made the same dataset at this moment (MLflow 3.17); now it is found.
        client(uri).log_inputs(run_id, datasets=datasets)


def unwritten(uri: str, run_id: str, points: list[Point]) -> list[Point]:
    """The points that the store does not have, each once."""
    mlflow, known, keys = client(uri), set[Point](), {point.key for point in points}
    if len(keys) > 1:  # one question may spare one for each
        keys &= mlflow.get_run(run_id).data.metrics.keys()
    for key in keys:
        history = mlflow.get_metric_history(run_id, key)
        known.update(_as_stored(Point(key, found.value, found.timestamp, found.step)) for found in history)
    missing = []
    for point in points:
        stored = _as_stored(point)
        if stored not in known:
            known.add(stored)
            missing.append(point)
    return missing


def _as_stored(point: Point) -> Point:
    # NaN is not equal to itself; this one is found in a set because it is the same object.
    value = math.nan if math.isnan(point.value) else min(max(point.value, -MAX_FLOAT), MAX_FLOAT)
    return point._replace(value=value)
