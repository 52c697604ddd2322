"""One run of the store while it is written.

A store that goes away never costs a training: what cannot be written is kept (metrics and tags in memory, artifacts
in `kd_lab_rescue/RUN_ID`), written when the store is back, and left in that folder where it never is. Only a full disk
ends the training, because the rescue needs it too.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from kd_lab.errors import PrunedError
from kd_lab.names import TAG_REASON
from kd_lab.tracking.client import client, disk_full_error, first_line, is_away, is_disk_full

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_METRICS = 1000  # MLflow's limits of one log_batch
MAX_TAGS = 100
MAX_TAG_LENGTH = 8000
FLUSH_EVERY_S = 5.0
RETRY_AFTER_S = 30.0  # a dead server costs a few seconds each time it is asked
RESCUE = "kd_lab_rescue"

_logger = logging.getLogger(__name__)


class Point(NamedTuple):
    """One metric of one step; the time is in milliseconds since 1970, as MLflow counts."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class Run:
    """Writes one run: `with store.start_run(...) as run:` ends it with the status that is true.

    It pickles; the copy writes to the same run, with an empty buffer and a client of its own.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.run_id = run_id
        self.seconds = 0.0
        """Wall time spent in tracking calls of this process so far."""
        self._uri = uri
        self._points: list[Point] = []
        self._tags: dict[str, str] = {}
        self._next_flush = time.monotonic() + FLUSH_EVERY_S
        self._away = False
        self._finished = False
        self._rescue = Path(RESCUE).absolute() / run_id  # absolute now: the folder may change during the run

    def __reduce__(self) -> tuple[type["Run"], tuple[str, str]]:
        return type(self), (self._uri, self.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take metrics of one step; they are written together, at the latest 5 s after the last time."""
        started = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        self._points.extend([Point(key, float(value), now_ms, step) for key, value in values.items()])
        if time.monotonic() >= self._next_flush:
            self._write()
        self.seconds += time.perf_counter() - started

    def log_measurement(self, values: Mapping[str, float]) -> None:
        """Write metrics that belong to no step, at once."""
        self.log(0, values)
        self.flush()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags, at once."""
        self._tags.update({key: value[:MAX_TAG_LENGTH] for key, value in tags.items()})
        self.flush()

    def flush(self) -> None:
        """Write what was taken.

        Raises:
            TrainingFailedError: the disk is full.
        """
        with self._timed():
            self._write()

    def log_text(self, text: str, artifact: str) -> None:
        """Store a text as the artifact of this path."""
        with self._timed(), tempfile.TemporaryDirectory() as folder:
            self._upload(_written(Path(folder) / Path(artifact).name, text), artifact)

    def log_file(self, path: Path, artifact: str) -> None:
        """Store a copy of a file as the artifact of this path, whatever the file's own name.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"Expected a file to log as {artifact}, but {path} is none.")
        with self._timed(), tempfile.TemporaryDirectory() as folder:
            named = Path(folder) / Path(artifact).name
            if path.name != named.name:
                named.symlink_to(path.absolute())
            self._upload(path if path.name == named.name else named, artifact)

    def log_figure(self, figure: "Figure", artifact: str) -> None:
        """Store a figure; the artifact's suffix (.png, .svg, .pdf) is its format."""
        with self._timed(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(artifact).name
            figure.savefig(path, dpi=120)
            self._upload(path, artifact)

    def finish(self, status: str = "FINISHED", reason: str | None = None) -> None:
        """Write what is left and end the run, once; a second call does nothing.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: why it is not FINISHED; becomes the tag kd_lab.reason.

        Raises:
            TrainingFailedError: the disk is full.
        """
        if self._finished:
            return
        if reason is not None:
            self._tags[TAG_REASON] = reason[:MAX_TAG_LENGTH]
        with self._timed():
            written = self._write() and self._return_rescued()
            written = written and self._try(lambda: client(self._uri).set_terminated(self.run_id, status))
            if not written:
                self._keep_points(status)
        self._finished = True

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.finish()
            return
        killed = isinstance(error, KeyboardInterrupt | SystemExit | PrunedError)
        try:
            self.finish("KILLED" if killed else "FAILED", reason=first_line(error))
        except Exception as second:
            # The first error is the one that explains; this one is only its echo.
            _logger.warning("The end of run %s could not be recorded (%s).", self.run_id, first_line(second))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _write(self) -> bool:
        """Write points and tags; what could not be written stays. True when nothing is left."""
        from mlflow.entities import Metric, RunTag

        while self._points or self._tags:
            points = self._points[:MAX_METRICS]
            tags = [] if points else list(self._tags.items())[:MAX_TAGS]
            metrics = [Metric(*point) for point in points]
            run_tags = [RunTag(key, value) for key, value in tags]
            write = partial(client(self._uri).log_batch, self.run_id, metrics, tags=run_tags)
            if not self._try(write):
                self._next_flush = time.monotonic() + RETRY_AFTER_S
                return False
            del self._points[: len(points)]
            for key, _ in tags:
                del self._tags[key]
        self._next_flush = time.monotonic() + FLUSH_EVERY_S
        return True

    def _upload(self, path: Path, artifact: str) -> None:
        folder = str(Path(artifact).parent) if "/" in artifact else None
        if self._away or not self._try(lambda: client(self._uri).log_artifact(self.run_id, str(path), folder)):
            kept = self._rescue / artifact
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)

    def _try(self, action: Callable[[], object]) -> bool:
        """Do it. False, after one warning, when the store is away; other errors are raised."""
        try:
            action()
        except Exception as error:
            if is_disk_full(error):
                raise disk_full_error(self._uri) from error
            if not is_away(error):
                raise
            if not self._away:
                _logger.warning(
                    "tracking.uri=%s: the store does not answer (%s); the run goes on, and what cannot be written "
                    "is kept for later, artifacts in %s.",
                    *(self._uri, first_line(error), self._rescue),
                )
            self._away = True
            return False
        self._away = False
        return True

    def _return_rescued(self) -> bool:
        if not self._rescue.exists():
            return True
        if not self._try(lambda: client(self._uri).log_artifacts(self.run_id, str(self._rescue))):
            return False
        shutil.rmtree(self._rescue)
        return True

    def _keep_points(self, status: str) -> None:
        """The store never came back: leave everything where the user can find it."""
        self._rescue.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(point._asdict()) for point in self._points]
        _written(self._rescue / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
        _written(self._rescue / "end.json", json.dumps({"status": status, "tags": self._tags}))
        _logger.warning(
            "tracking.uri=%s: the store is still away; %d metrics, the status %s and artifacts of run %s are in %s.",
            *(self._uri, len(lines), status, self.run_id, self._rescue),
        )


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
