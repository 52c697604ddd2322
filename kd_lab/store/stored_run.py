"""A run of the store while it is read."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lab.errors import UserError
from kd_lab.names import ARTIFACT_CONFIG
from kd_lab.outside.paths import read_text, regular
from kd_lab.outside.scratch import own_folder
from kd_lab.store.client import client, one_sentence
from kd_lab.store.journal import Journal, last_values

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun


FINISHED = "FINISHED"


@dataclass(frozen=True)
class StoredRun:
    """A run of the store, as it was when it was read; or one that is kept in `folder` for a store that is away."""

    uri: str
    run_id: str
    study: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    folder: Path | None = None
    status: str = FINISHED

    @classmethod
    def of_journal(cls, journal: Journal) -> "StoredRun":
        """What a rescue folder holds."""
        header, entries = journal.header(), journal.entries()
        tags = {**header.tags, **entries.tags}
        values = last_values(entries.points)
        return cls(header.uri, journal.folder.name, header.study, values, dict(header.params), tags, journal.folder)

    @classmethod
    def of(cls, uri: str, run: "MlflowRun", study: str) -> "StoredRun":
        """What MLflow's client returned, without MLflow's types."""
        data = run.data
        facts = dict(data.metrics), dict(data.params), dict(data.tags)
        return cls(uri, run.info.run_id, study, *facts, status=str(run.info.status))

    def download(self, artifact: str) -> Path:
        """A copy of one artifact, in a folder that is removed when the process ends.

        Raises:
            UserError: the run has no such artifact.
            StoreAwayError: the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        if self.folder is not None:
            return self._copy(artifact)
        folder = tempfile.mkdtemp(dir=_downloads())
        with one_sentence(self.uri):
            try:
                found = client(self.uri).download_artifacts(self.run_id, artifact, folder)
                return regular(Path(folder), Path(found).relative_to(folder).as_posix())
            except (MlflowException, OSError) as error:
                if not _is_missing(error):
                    raise
                raise self._has_no(artifact) from error

    @contextmanager
    def opened(self, artifact: str) -> Iterator[Path]:
        """A copy of one artifact that is removed again; see `download` for errors."""
        path = self.download(artifact)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _copy(self, artifact: str) -> Path:
        """Of what waits, because the original goes when it is synced."""
        assert self.folder is not None
        copy = Path(tempfile.mkdtemp(dir=_downloads())) / Path(artifact).name
        try:
            return Path(shutil.copyfile(Journal(self.folder).there(artifact), copy))
        except FileNotFoundError as error:
            raise self._has_no(artifact) from error

    def _has_no(self, artifact: str) -> UserError:
        return UserError(f"run:{self.run_id}: this run has no artifact {artifact}; choose another run.")

    def config(self) -> dict[str, Any]:
        """The resolved config that this run was made with, see `download` for errors."""
        import yaml

        try:
            with self.opened(ARTIFACT_CONFIG) as path:
                return dict(yaml.safe_load(read_text(path)))
        except (yaml.YAMLError, OSError, ValueError, TypeError, RecursionError) as error:
            raise self._has_no(f"{ARTIFACT_CONFIG} that can be read") from error


def _is_missing(error: BaseException) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, FileNotFoundError):
        return True
    response = getattr(error, "response", None)  # of requests.HTTPError
    if response is not None:
        return bool(response.status_code == 404)
    said = ("Failed to download artifacts from path", "No such file", "No such artifact")  # MLflow 3.17
    return isinstance(error, MlflowException) and any(words in str(error) for words in said)


@cache
def _downloads() -> str:
    return tempfile.mkdtemp(prefix="runs-", dir=own_folder())
