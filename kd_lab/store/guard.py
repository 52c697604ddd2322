"""MLflow's client as kd-lab uses it: what a store answers is looked at before it is believed.

Ids of runs become names of folders, so they are ids and nothing else. Where a run's artifacts lie a store says too: a
server may not name a folder of this machine, a SQLite file none that is not below its own; of a file that was moved
with its artifacts they are looked for beside it. Artifacts go through a repository of the address that was looked at,
because MLflow's client would ask the store for it once more.
"""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.entities import PagedList

from kd_lab.errors import UserError
from kd_lab.outside.address import with_login
from kd_lab.outside.ids import is_run_id, run_id
from kd_lab.outside.nodes import is_trusted_folder
from kd_lab.outside.paths import regular

HOMES = ("mlartifacts", "mlruns")
"""What kd-lab and MLflow call the folder of a store's artifacts."""


class GuardedClient(MlflowClient):
    """The client of one store.

    Args:
        uri: its address, without a login.
        home: the folder that artifacts on this machine lie in; None for a server, whose artifacts never do.
    """

    def __init__(self, uri: str, home: Path | None) -> None:
        super().__init__(tracking_uri=with_login(uri))
        self._uri = uri
        self._home = home
        self._places: dict[str, tuple[str, Path | None]] = {}

    def create_run(self, *args: Any, **kwargs: Any) -> Run:
        """As MLflow's.

        Raises:
            UserError: the answer is no run, or its artifacts would go to a folder that the store may not name.
            MlflowException: it was not a server of MLflow's that answered, as while a proxy stands in its place.
        """
        made = super().create_run(*args, **kwargs)
        if not made.info.run_id:
            raise MlflowException("it answers, but not of the run", error_code=TEMPORARILY_UNAVAILABLE)
        self._checked(made)
        self._places[made.info.run_id] = self._place(made)  # its artifacts need not ask for it again
        return made

    def get_run(self, run_id: str) -> Run:
        """As MLflow's; raises a UserError where the answer is no run."""
        return self._checked(super().get_run(run_id))

    def search_runs(self, *args: Any, **kwargs: Any) -> "PagedList[Run]":
        """As MLflow's, less what has no id of a run: one bad row does not keep the others from being read."""
        page = super().search_runs(*args, **kwargs)
        return PagedList([run for run in page if is_run_id(run.info.run_id)], page.token)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        """As MLflow's, for a file; raises a UserError where the run's artifacts may not be written."""
        self._repository(run_id).log_artifact(local_path, artifact_path)

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        """As MLflow's; of a folder of this machine one regular file, and no link.

        Raises:
            UserError: the run's artifacts may not be read, or the file is none.
            FileNotFoundError: there is no such file.
        """
        assert dst_path is not None, "a copy is always made in a folder of ours"
        root = self.local_root(run_id)
        if root is None:
            return str(self._repository(run_id).download_artifacts(path, dst_path))
        return str(shutil.copyfile(regular(root, path), Path(dst_path) / Path(path).name))

    def local_root(self, run_id: str) -> Path | None:
        """The folder of this machine that a run's artifacts lie in; None where they lie elsewhere.

        Raises:
            UserError: the store may not name it.
        """
        return self._placed(run_id)[1]

    def _repository(self, run_id: str) -> Any:
        address, _ = self._placed(run_id)
        return get_artifact_repository(address, tracking_uri=with_login(self._uri))

    def _placed(self, run_id: str) -> tuple[str, Path | None]:
        if run_id not in self._places:
            self._places[run_id] = self._place(self.get_run(run_id))
        return self._places[run_id]

    def _place(self, run: Run) -> tuple[str, Path | None]:
        """The address of a run's artifacts, and the folder if it is one of this machine."""
        address = str(run.info.artifact_uri)
        parts = urlsplit(address)
        if parts.scheme not in ("", "file"):
            return address, None
        folder = Path(unquote(parts.path))
        inside = self._is_inside(folder)
        if not inside and not is_trusted_folder(folder) and (moved := self._moved(folder, run.info.run_id)) is not None:
            return moved.as_uri(), moved
        if not folder.is_absolute() or ".." in folder.parts or not (inside or is_trusted_folder(folder)):
            expected = f"below {self._home}, where the store lies" if self._home else "on the server"
            told = _of_all(folder, run.info.run_id)
            raise UserError(
                f"tracking.uri={self._uri}: the store says that artifacts of its runs lie in {told} on this machine, "
                f"expected them {expected}; if you know that folder, add trust={told}"
            )
        return address, folder

    def _is_inside(self, folder: Path) -> bool:
        return self._home is not None and folder.resolve().is_relative_to(self._home.resolve())

    def _moved(self, folder: Path, run_id: str) -> Path | None:
        """Where a run's artifacts lie beside a SQLite file that was moved or copied together with them."""
        if self._home is None or folder.parts[-2:] != (run_id, "artifacts") or len(folder.parts) < 5:
            return None
        study = self._home.absolute().joinpath(*folder.parts[-4:-2])
        if study.parent.name not in HOMES or not study.is_dir() or not self._is_inside(study):
            return None
        return study / run_id / "artifacts"

    def _checked(self, run: Run) -> Run:
        run_id(run.info.run_id, f"tracking.uri={self._uri}")
        return run


def _of_all(folder: Path, run_id: str) -> Path:
    """The folder of a store's artifacts, of a run's in it (`mlartifacts/STUDY/RUN/artifacts`); any other as it is."""
    if folder.parts[-2:] != (run_id, "artifacts"):
        return folder
    study = folder.parents[1]
    return study.parent if study.parent.name in HOMES else study
