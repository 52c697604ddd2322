"""A run of the store while it is read."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_lab.errors import UserError
from kd_lab.names import ARTIFACT_CONFIG
from kd_lab.tracking.client import client, one_sentence

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun


@dataclass(frozen=True)
class StoredRun:
    """A run of the store, as it was when it was read."""

    uri: str
    run_id: str
    study: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def of(cls, uri: str, run: "MlflowRun", study: str) -> "StoredRun":
        """What MLflow's client returned, without MLflow's types."""
        data = run.data
        return cls(uri, run.info.run_id, study, dict(data.metrics), dict(data.params), dict(data.tags))

    def download(self, artifact: str) -> Path:
        """A copy of one artifact, in a folder that is removed when the process ends.

        Raises:
            UserError: the run has no such artifact.
            TrainingFailedError: the store does not answer.
        """
        from mlflow.exceptions import MlflowException

        folder = tempfile.mkdtemp(dir=_downloads())
        with one_sentence(self.uri):
            try:
                return Path(client(self.uri).download_artifacts(self.run_id, artifact, folder))
            except (MlflowException, OSError) as error:
                if not _is_missing(error):
                    raise
                raise UserError(
                    f"run:{self.run_id}: this run has no artifact {artifact}; choose another run."
                ) from error

    def config(self) -> dict[str, Any]:
        """The resolved config that this run was made with, see `download` for errors."""
        import yaml

        loaded = yaml.safe_load(self.download(ARTIFACT_CONFIG).read_text(encoding="utf-8"))
        return dict(loaded)


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
    folder = tempfile.mkdtemp(prefix="kd_lab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
